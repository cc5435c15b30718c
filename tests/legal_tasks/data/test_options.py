"""Options and keys of exam questions in the spellings that files have; wording of ours."""

import pytest

pytest.importorskip("cn2an")

from legal_tasks.data.exams import normalise  # noqa: E402
from legal_tasks.data.options import charges_of, letters_of, options_of, split_options  # noqa: E402

FOUR = {"A": "甲", "B": "乙", "C": "丙", "D": "丁"}


@pytest.mark.parametrize(
    "text",
    [
        "关于放灯，错误的是A:甲;B:乙;C:丙;D:丁",
        "关于放灯，错误的是\nA:甲\nB:乙\nC:丙\nD:丁",
        "关于放灯，错误的是（  ）A.甲 B.乙 C.丙 D.丁",
        "关于放灯，错误的是：(A)甲(B)乙(C)丙(D)丁",
        "关于放灯，错误的是：（A）甲；（B）乙；（C）丙；（D）丁",
        "关于放灯，错误的是\n(A) 甲\n(B) 乙\n(C) 丙\n(D) 丁",
        "关于放灯，错误的是\nＡ．甲\nＢ．乙\nＣ．丙\nＤ．丁",
        "关于放灯，错误的是Ａ：甲；Ｂ：乙；Ｃ：丙；Ｄ：丁",
        "关于放灯，错误的是\na. 甲\nb. 乙\nc. 丙\nd. 丁",
        "关于放灯，错误的是\n【A】甲\n【B】乙\n【C】丙\n【D】丁",
        "关于放灯，错误的是A、甲B、乙C、丙D、丁".replace("甲B", "甲 B").replace("乙C", "乙 C").replace("丙D", "丙 D"),
    ],
)
def test_options_are_found_on_lines_and_within_one(text):
    stem, options = split_options(text)
    assert options == FOUR and stem.startswith("关于放灯，错误的是") and "甲" not in stem


def test_names_of_people_and_companies_are_no_options():
    text = "A公司与B公司签约。下列说法正确的是？\nA. 甲\nB. 乙\nC. 丙\nD. 丁"
    assert split_options(text) == ("A公司与B公司签约。下列说法正确的是？", FOUR)
    assert split_options("A公司：B公司的股东。谁负责？")[1] == {}
    assert split_options("当事人A、B、C约定共同放灯。")[1].keys() <= {"A"}


@pytest.mark.parametrize(
    ("key", "letters"),
    [
        ("B。因为A错误", "B"),
        ("Ｂ", "B"),
        ("b", "B"),
        ("[正确答案]BD<eoa>", "BD"),
        ("A,C", "AC"),
        ("a c", "AC"),
        ("ACD。", "ACD"),
        ("答案：B", "B"),
        ("(B)", "B"),
        (["A", "c"], "AC"),
        (["A.", "（D）"], "AD"),
        (2, "C"),
        (True, ""),
        (9, ""),
        ("无", ""),
        ("不选A", ""),
        (None, ""),
    ],
)
def test_a_key_is_read_in_every_spelling_or_not_at_all(key, letters):
    assert "".join(letters_of(key, FOUR)) == letters


@pytest.mark.parametrize(
    "options",
    [
        FOUR,
        {"a": "甲", "b": "乙", "c": "丙", "d": "丁"},
        {"选项A": "甲", "选项B": "乙", "选项C": "丙", "选项D": "丁"},
        ["甲", "乙", "丙", "丁"],
        ["A. 甲", "B. 乙", "C. 丙", "D. 丁"],
        ["（A）甲", "（B）乙", "（C）丙", "（D）丁"],
        [{"key": "A", "text": "甲"}, {"key": "B", "text": "乙"}, {"key": "C", "text": "丙"}, {"key": "D", "text": "丁"}],
        "A. 甲\nB. 乙\nC. 丙\nD. 丁",
    ],
)
def test_options_come_as_lists_mappings_and_text(options):
    assert options_of(options) == FOUR
    item, why = normalise({"question": "错误的是？", "options": options, "answer": "B。因为A错误"}, "x", 1)
    assert item, why
    assert (item["options"], item["answer"]) == (FOUR, ["B"])


def test_columns_in_chinese_are_read():
    row = {"题目": "错误的是？", "选项A": "甲", "选项B": "乙", "选项C": "丙", "选项D": "丁", "答案": "ｂ"}
    item, _ = normalise(row, "x", 1)
    assert (item["question"], item["options"], item["answer"]) == ("错误的是？", FOUR, ["B"])


def test_the_lawbench_row_that_asks_for_what_is_wrong_has_its_options():
    fields = {"instruction": "请作答", "question": "关于放灯，错误的是A:甲;B:乙;C:丙;D:丁。", "answer": "[正确答案]C<eoa>"}
    item, why = normalise(fields, "x", 1)
    assert item, why
    assert (item["question"], item["options"]["A"], item["answer"]) == ("关于放灯，错误的是", "甲", ["C"])


def test_what_cannot_be_read_is_left_out_with_the_true_reason():
    item, why = normalise({"question": "错误的是？", "options": ["甲", "乙"], "answer": "说不准"}, "x", 1)
    assert item is None and "must name options, which are A, B" in why
    item, why = normalise({"instruction": "请作答", "question": "谁可以放灯？", "answer": "[正确答案]B<eoa>"}, "x", 1)
    assert item is None and "at least two options" in why


@pytest.mark.parametrize(
    ("text", "charges"),
    [
        ("盗窃;抢劫", ["盗窃罪", "抢劫罪"]),
        ("盗窃、抢劫", ["盗窃罪", "抢劫罪"]),
        ("盗窃罪、故意毁坏财物罪", ["盗窃罪", "故意毁坏财物罪"]),
        ("掩饰、隐瞒犯罪所得、犯罪所得收益", ["掩饰、隐瞒犯罪所得、犯罪所得收益罪"]),
        ("走私、贩卖、运输、制造毒品;盗窃", ["走私、贩卖、运输、制造毒品罪", "盗窃罪"]),
        ("引诱、容留、介绍卖淫罪、诈骗罪", ["引诱、容留、介绍卖淫罪", "诈骗罪"]),
        ("生产、销售有毒、有害食品", ["生产、销售有毒、有害食品罪"]),
    ],
)
def test_a_charge_that_holds_a_comma_is_one(text, charges):
    assert charges_of(text) == charges
    item, _ = normalise({"instruction": "i", "question": "被告人做了此事。", "answer": f"罪名:{text}"}, "x", 1)
    assert item["reference"]["charges"] == charges


@pytest.mark.parametrize(
    ("text", "articles"),
    [
        ("法条:刑法第234、275条", ["刑法 234", "刑法 275"]),
        ("法条:刑法第234条、第275条", ["刑法 234", "刑法 275"]),
        ("法条:刑法第234,275条", ["刑法 234", "刑法 275"]),
        ("法条：《刑法》第二百三十四条、二百七十五条", ["刑法 234", "刑法 275"]),
        ("法条:刑法第133条之一", ["刑法 133-1"]),
    ],
)
def test_a_list_of_articles_is_all_of_them(text, articles):
    item, why = normalise({"instruction": "i", "question": "被告人做了此事。", "answer": text}, "x", 1)
    assert item, why
    assert item["reference"]["articles"] == articles
