"""Each rule on a small piece of the mess that it is for."""

import datetime

import pytest

from legal_tasks.data import rules
from legal_tasks.data.statutes import Store
from legal_tasks.records import Record

DAY = datetime.date(2026, 11, 1)


def broken_rules(output, instruction="请问这样可以吗？", kind="consultation"):
    return rules.hits(Record(instruction, "", output, "s", kind), Store([]), DAY, 10, 500, 0.6)


@pytest.mark.parametrize(
    ("output", "rule"),
    [
        ("根据《民事诉讼法》第X条规定，当事人应当提供送达地址。", "placeholder"),
        ("作为一个人工智能语言模型，我不能给出法律意见。", "self_mention"),
        ("您可以先与对方协商，协商不成的，可以向人民法院起诉，并且", "truncated_no"),
        ("首先应当协商，", "truncated"),
        ("鈥�合同无效，锟斤拷锟斤拷，应当返还。", "garbled"),
        ("应当依法处理该纠纷。" * 8, "repeated"),
        ("可以。", "too_short"),
        ("很抱歉，您的问题不太清楚，请提供更多背景信息，以便依法解答。", "evasive"),
        ("从新乡坐班车到那里大约需要三个小时，建议您早点出门。", "off_domain"),
        ("租金应当按约定支付，否则可以解除合同。" + "".join(chr(0x4E00 + n) for n in range(600)) + "。", "too_long"),
        ("根据《合同法》第五十二条，该合同无效，可以起诉。", "repealed_law"),
    ],
)
def test_rule(output, rule):
    found = broken_rules(output)
    assert (rule in found) if not rule.endswith("_no") else found == []


def test_a_good_answer_passes_all():
    assert (
        broken_rules("根据《民法典》第七百二十二条，出租人可以请求承租人在合理期限内支付租金；逾期不支付的，出租人可以解除合同。")
        == []
    )


def breaking_off(sentences, end):
    return "".join(f"第{n}项，出租人可以请求承租人在合理期限内支付租金。" for n in range(sentences)) + end


@pytest.mark.parametrize(
    ("output", "cut"),
    [
        (breaking_off(14, "如果承租人仍然拒绝支付租金，那么出租人可以依法向有管辖权的人民法院提起诉讼要求承"), True),
        (breaking_off(4, "承租人拒绝支付的，可以解除合同或者"), True),
        (breaking_off(4, "如果承租人拒绝支付，出租人可以解除合同"), False),
        (
            "1. 出租人可以先催告承租人，并保留书面证据和送达凭证\n2. 催告后仍不支付的，可以解除合同并要求腾退\n" * 9
            + "3. 腾退后，可以起诉要求支付欠付的全部租金",
            False,
        ),
    ],
)
def test_a_long_answer_that_breaks_off_and_one_that_lacks_a_full_stop(output, cut):
    assert rules.truncated(output, "consultation") == cut


LONG = "您可以先催告对方，保留转账记录和聊天记录，催告后仍不归还的，向被告住所地的人民法院起诉，并申请财产保全。" * 3


@pytest.mark.parametrize(
    ("output", "history", "found"),
    [
        ("好的，可以预约。请您提供更多信息，以便我们更好地为您服务。", [["借款不还怎么办？", LONG]], []),
        ("不客气，再见！", [["借款不还怎么办？", LONG]], []),
        ("好的。", [["你好", "你好"]], ["too_short"]),
        ("如果您是律师，您需要了解更多信息，例如委托人的诉求、证据，再确定律师函的收件人。", [], []),
        ("取保候审要看有无社会危险性。保证人须有固定住处和收入；还需要提供更多的材料来证明。", [], []),
        ("作为律师，我需要更多的信息才能回答您的问题。请问您签了合同吗？", [], ["evasive"]),
        ("好的，请问您有什么需要咨询的问题吗？我会尽力为您解答。", [], ["evasive"]),
    ],
)
def test_an_answer_that_says_something_is_no_evasion(output, history, found):
    record = Record("借款合同怎么办？", "", output, "s", "consultation", history)
    assert rules.text_hits(record, 10, 5000) == found


@pytest.mark.parametrize("word", "轻伤 重伤 签证 护照 低保 补贴 贷款 征信 驾照 物业".split())
def test_words_that_people_ask_lawyers_about_are_of_the_domain(word):
    assert broken_rules("可以向当地有关部门的窗口提出，一般十天有结果。", f"我的{word}怎么办？") == []


def test_a_rule_that_is_often_wrong_flags_only():
    assert frozenset({"off_domain"}) == rules.FLAGS
    assert all(name in rules.NAMES and 0 <= right <= hits for name, (hits, right) in rules.READ.items())


def test_an_instruction_may_be_of_another_domain():
    assert broken_rules("云州有三座桥和两个集市，春天常有雾。", "云州有什么？", "instruction") == []
