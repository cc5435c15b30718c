"""What a judgment teaches ends with its operative part; one that is too long is cut at its parts."""

import pytest

from legal_tasks.data.judgments import from_case

ITEM = {"source": "s"}
FACTS = "原告甲公司诉称，被告拖欠租金。\n被告乙公司辩称，房屋漏水。\n本院经审理查明，双方订立租赁合同，被告欠付三个月租金。\n"
REASONS = "本院认为，承租人应当按照约定支付租金。依照法律规定，判决如下：\n被告于十日内支付租金。\n本判决为终审判决。"


@pytest.mark.parametrize(
    "tail",
    [
        "\n审判长甲某某\n审判员乙某\n代理审判员丙某\n二〇二五年九月二十一日\n法官助理丁某\n书记员戊某\n",
        "\n审　判　长　　甲某某\n人民陪审员　　乙某\n二○二五年十二月××日\n（）\n书　记　员　　丙某",
        "\n审 判 员 甲某\n2025年9月1日\n本件与原本核对无异\n代理书记员 乙某",
        "\n　　审判长：甲某\n　　助理审判员：乙某\n　　二零二五年三月三日\n　　见习书记员：丙某\n（此页无正文）",
        "审判长甲某某审判员乙某审判员丙某二〇二五年九月一日法官助理丁某书记员戊某",
        "\n二〇二五年××月××日\n速录员甲某",
        "\n院长甲某\n执行员乙某\n【】",
    ],
)
def test_names_dates_and_empty_brackets_are_not_taught(tail):
    [record] = from_case(FACTS + REASONS + tail, ITEM)
    assert record.output == REASONS


@pytest.mark.parametrize(
    "line",
    [
        "审判员甲某担任审判长，由书记员乙某担任记录。",
        "2025年9月1日，被告支付了一万元。",
        "执行员乙某到场后，被告搬离房屋。",
        "（一）被告应当支付租金。",
        "院长信箱中的投诉不影响本案。",
    ],
)
def test_a_sentence_about_them_stays(line):
    text = FACTS + f"本院认为，理由充分。\n{line}\n综上，判决如下：\n驳回。"
    assert line in from_case(text, ITEM)[0].output


def long(name: str, count: int) -> str:
    return "".join(f"{name}的第{number}段事实与证据说明。\n" for number in range(count))


def test_of_long_facts_those_nearest_to_the_reasons_stay():
    claims = "原告甲公司诉称，" + long("诉称", 300) + "被告乙公司辩称，" + long("辩称", 40)
    [record] = from_case(claims + "本院经审理查明，" + long("查明", 20) + REASONS, ITEM, longest=2000)
    assert record.output == REASONS and record.input.startswith("被告乙公司辩称") and "查明的第19段" in record.input
    assert len(record.instruction + record.input + record.output) + 2 <= 2000
    [record] = from_case(claims + "本院经审理查明，" + long("查明", 300) + REASONS, ITEM, longest=2000)
    assert record.input.startswith("本院经审理查明") and record.input.endswith("。")


def test_long_reasons_are_cut_before_their_questions_and_the_ruling_is_asked_for():
    reasons = "本院认为，本案有两个问题。\n" + "".join(
        f"{number}、关于{name}的问题\n" + long(name, 60) for number, name in (("一", "租金"), ("二", "漏水"))
    )
    text = FACTS * 12 + reasons + "综上，判决如下：\n一、被告于十日内支付租金。\n二、驳回其他请求。\n审判员甲某"
    records = from_case(text, ITEM, longest=2500)
    assert all(len(one.instruction + one.input + one.output) + 2 <= 2500 for one in records) and len(records) >= 3
    assert any("关于漏水的问题" in one.instruction and "漏水的第59段" in one.output for one in records)
    assert records[-1].output == "一、被告于十日内支付租金。\n二、驳回其他请求。" and "判决如下" in records[-1].input
    taught = "\n".join(one.output for one in records)
    assert all(f"{name}的第{number}段" in taught for name in ("租金", "漏水") for number in range(60))


def test_of_a_second_instance_its_own_reasons_are_taught():
    below = "一审法院认为，" + long("一审", 30) + "上诉人乙公司上诉称，" + long("上诉", 30) + "二审查明，房屋已经修好。\n"
    [record] = from_case(FACTS * 10 + below + REASONS, ITEM, longest=1500)
    assert record.output == REASONS and "房屋已经修好" in record.input


def test_what_cannot_be_cut_stays_whole_and_falls_under_the_bound():
    [record] = from_case("甲" * 3000 + "。本院认为，" + "理" * 3000 + "。", ITEM, longest=2000)
    assert len(record.output) > 2000
