"""Articles are equal by law and number: several hundred labelled answers in words of ours."""

import random

import pytest

pytest.importorskip("cn2an")

from legal_tasks.data.exams import normalise  # noqa: E402
from legal_tasks.data.numerals import article_name, numeral  # noqa: E402
from legal_tasks.evaluation import articles, cases, extract  # noqa: E402

LAWS = ("刑法", "民法典", "治安管理处罚法", "民事诉讼法", "劳动合同法", "云州市经营活动管理条例")
OTHER = {"刑法": "治安管理处罚法", "劳动合同法": "劳动法", "云州市经营活动管理条例": "云州市经营活动管理暂行办法"}
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
BIG = str.maketrans("一二三四五六七八九十百千", "壹贰叁肆伍陆柒捌玖拾佰仟")


def written(law, number):
    """The same article in the ways in which people and models write it."""
    main, _, extra = number.partition("-")
    arabic = f"第{main}条" + (f"之{numeral(int(extra))}" if extra else "")
    chinese, spaced = article_name(number), f"第 {main} 条" + (f"之{extra}" if extra else "")
    return [
        f"《{law}》{chinese}",
        f"《中华人民共和国{law}》{arabic}",
        f"依照{law}{arabic}的规定，应予处罚。",
        f"根据{law}{chinese}第一款，理由成立。",
        f"本案适用《{law}》{arabic}第2款第（三）项。",
        f"{law}{arabic.translate(WIDE)}",
        f"**《{law}》** {spaced}",
        f"{law}（2020修正）{chinese}",
        f"法条：{law}{chinese.translate(BIG)}",
        f"答：{law}{arabic.removeprefix('第')}。",
        f"应当适用{chinese}。",
    ]


def drawn():
    """(law, number) of thirty articles, some of them with 之一."""
    dice = random.Random(0)
    return [
        (LAWS[turn % len(LAWS)], f"{dice.randint(2, 1200)}" + (f"-{dice.randint(1, 3)}" if turn % 5 == 0 else ""))
        for turn in range(30)
    ]


def shifted(number, by):
    main, _, extra = number.partition("-")
    return f"{int(main) + by}" + (f"-{extra}" if extra else "")


def gold(law, number):
    """The reference as the layouts give it: LawBench's `法条:`, and articles of ours."""
    item, why = normalise({"question": "适用哪一条？", "answer": f"法条:《{law}》{article_name(number)}"}, "x", 1)
    assert item, why
    return [
        item["reference"],
        {"articles": [f"{law} {number}"]},
        {"articles": [f"中华人民共和国{law}第{number.partition('-')[0]}条"]},
    ]


CASES = [(law, number, reference) for law, number in drawn() for reference in gold(law, number)[: 2 if "-" in number else 3]]


def test_every_way_of_writing_the_right_article_is_right():
    wrong = [
        (answer, reference)
        for law, number, reference in CASES
        for answer in written(law, number)
        if cases.judge(reference, answer)["correct"] != 1
    ]
    assert wrong == [] and sum(len(written(law, number)) for law, number, _ in CASES) > 800


@pytest.mark.parametrize("by", [1, -1, 10, 100])
def test_a_shifted_number_is_wrong_in_every_way_of_writing(by):
    accepted = [
        (answer, reference)
        for law, number, reference in CASES
        for answer in written(law, shifted(number, by))
        if int(shifted(number, by).partition("-")[0]) > 0 and cases.judge(reference, answer)["correct"]
    ]
    assert accepted == []


def test_another_law_is_wrong_although_the_number_is_right():
    accepted = [
        (answer, reference)
        for law, number, reference in CASES
        for answer in written(OTHER.get(law, "宪法"), number)[:-1]  # the last names no law
        if cases.judge(reference, answer)["correct"]
    ]
    assert accepted == []


def test_the_article_after_it_and_its_neighbour_are_others():
    reference = {"articles": ["刑法 133-1"]}
    assert cases.judge(reference, "刑法第一百三十三条之一第一款")["correct"] == 1
    assert [cases.judge(reference, text)["correct"] for text in ("刑法第133条", "刑法第133条之二", "刑法第134条")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("《刑法》第二百七十一条、第二百七十二条", ["刑法 271", "刑法 272"]),
        ("刑法第271、272条", ["刑法 271", "刑法 272"]),
        ("刑法第271条和272条", ["刑法 271", "刑法 272"]),
        ("刑法第二百七十一条至第二百七十三条", ["刑法 271", "刑法 272", "刑法 273"]),
        ("刑法第271-273条", ["刑法 271", "刑法 272", "刑法 273"]),
        ("《刑法》第271条定罪，第六十四条追缴", ["刑法 271", "刑法 64"]),
        ("依照《刑法》的规定，第二百七十一条适用于本案", ["刑法 271"]),
        ("依《刑法》，该法第二百七十一条", ["刑法 271"]),
        ("民法典合同编第五百条", ["民法典 500"]),
        ("民诉法第122条", ["民事诉讼法 122"]),
        ("社会保险法第五条", ["社会保险法 5"]),
        ("刑法第二〇一条", ["刑法 201"]),
        ("刑法第271條", ["刑法 271"]),
        ("《刑法》规定明确；双方合同第三条另有约定", []),
        ("某某管理条例第九条", []),
        ("《关于适用《刑法》若干问题的解释》第3条", ["关于适用刑法若干问题的解释 3"]),
        ("第二百七十一条", []),
    ],
)
def test_lists_ranges_and_what_is_no_article_of_a_named_law(text, found):
    assert sorted({f"{law} {number}" for law, number in articles.articles(text) if law}) == sorted(found)


def test_naming_every_article_is_not_naming_the_right_one():
    assert cases.judge({"articles": ["刑法 271"]}, "刑法第1条至第199条、第200条至第399条")["correct"] == 0
    assert cases.judge({"articles": ["刑法 271"]}, "刑法第270条、第271条")["correct"] == 0


def test_the_right_charge_with_a_wrong_article_is_not_right():
    reference = {"points": [], "charges": ["职务侵占罪"], "articles": ["刑法 271"]}
    answers = ("构成职务侵占罪。", "构成职务侵占罪，见刑法第二百七十一条。", "构成职务侵占罪，见刑法第272条。")
    assert [cases.judge(reference, text, ["职务侵占罪"])["correct"] for text in answers] == [1, 1, 0]


def test_a_law_without_the_article_is_not_the_article():
    for law, _, reference in CASES:
        assert not reference.get("points") and cases.judge(reference, f"适用《{law}》。")["correct"] == 0


def test_options_as_lexeval_writes_them_are_chosen_in_every_numeral():
    options = {
        "A": "中华人民共和国刑法第三百九十七条",
        "B": "中华人民共和国刑法第一十九条",
        "C": "中华人民共和国刑法第二百六十二条",
    }
    said = ("刑法第397条", "《刑法》第19条", "第２６２条", "刑法第398条", "民法典第19条")
    assert [extract.flexible(text, options) for text in said] == [["A"], ["B"], ["C"], [], []]


def test_a_citation_is_no_key_point():
    assert cases.points("刑法第二百七十一条；《刑法》第 272 条；第六十七条第三款") == []


OPTIONS = {"A": "《刑法》第一百三十三条", "B": "《刑法》第一百三十三条之一", "C": "刑法第134条", "D": "民法典第一百三十三条"}


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("应适用刑法第133条之一。", ["B"]),
        ("刑法第133条", ["A"]),
        ("《民法典》第１３３条", ["D"]),
        ("《刑法》第一百三十四条第二款", ["C"]),
        ("刑法第135条", []),
        ("刑法第133条、第134条", []),
        ("故选C，刑法第133条不适用。", ["C"]),
    ],
)
def test_options_that_are_articles_are_chosen_by_law_and_number(answer, letters):
    assert extract.flexible(answer, OPTIONS) == letters


def test_options_without_a_law_are_chosen_by_number():
    options = {"A": "第二百七十一条", "B": "第二百七十二条"}
    assert [extract.flexible(text, options) for text in ("刑法第271条", "第272条", "第273条")] == [["A"], ["B"], []]
