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


def test_a_long_answer_that_breaks_off():
    assert "truncated" in broken_rules(
        "出租人可以请求承租人在合理期限内支付。" * 4
        + "如果承租人仍然拒绝支付租金，那么出租人可以依法向有管辖权的人民法院提起诉讼要求承租人"
    )


def test_an_instruction_may_be_of_another_domain():
    assert broken_rules("云州有三座桥和两个集市，春天常有雾。", "云州有什么？", "instruction") == []
