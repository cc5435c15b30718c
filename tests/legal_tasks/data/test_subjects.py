"""What a record is about: by its own law, by what it cites, by its words; on real laws beside a public collection's folders."""

from collections import Counter

import pytest

from legal_tasks.data import statutes, subjects


@pytest.mark.parametrize(
    ("law", "article", "subject"),
    [
        ("民法典", "", "民法总则"),
        ("民法典", "204", "民法总则"),
        ("民法典", "205", "物权"),
        ("民法典", "577", "合同"),
        ("民法典", "988", "合同"),
        ("民法典", "1079", "婚姻家庭"),
        ("民法典", "1258", "侵权责任"),
        ("民法典", "1260", "民法总则"),
        ("刑法", "133-1", "刑法"),
        ("劳动合同法实施条例", "", "劳动与社会保障"),
        ("刑法修正案（十一）", "", "刑法"),
        ("最高人民法院关于适用公司法若干问题的规定", "", "公司与商事"),
        ("河灯管理法", "3", "行政"),
        ("城市绿化条例", "", "行政"),
        ("蓝鲸", "", subjects.OTHER),
    ],
)
def test_a_law_has_a_subject_and_the_civil_code_one_per_book(law, article, subject):
    assert subjects.of_law(law, article) == subject


def test_the_most_cited_subject_wins_and_procedure_only_where_nothing_else_is_cited():
    cited = [("民事诉讼法", "64"), ("民事诉讼法", "65"), ("民法典", "577")]
    assert subjects.describe(cited, "原告起诉。") == (["民事诉讼法", "民法典"], "合同")
    assert subjects.describe(cited[:2], "原告起诉。")[1] == "诉讼程序"
    assert subjects.describe([("民法典", ""), ("民事诉讼法", "64")], "我们想离婚，孩子的抚养怎么办？")[1] == "婚姻家庭"
    assert subjects.describe([("民法典", "")], "蓝鲸在海里游。")[1] == "民法总则"
    assert subjects.describe([("民法典", "1079"), ("民法典", "577"), ("民法典", "1087")], "")[1] == "婚姻家庭"


def test_without_citations_the_words_tell():
    assert subjects.describe([], "老板拖欠工资，又不给我缴社保，怎么辞职？")[1] == "劳动与社会保障"
    assert subjects.describe([], "我们想离婚，孩子的抚养怎么办？")[1] == "婚姻家庭"
    assert subjects.describe([], "蓝鲸在海里游。") == ([], subjects.OTHER)
    assert subjects.describe([("民事诉讼法", "64")], "被告人盗窃手机。", "case")[1] == "刑法"


@pytest.mark.parametrize(
    ("asked", "subject"),
    [
        ("公司拖欠我的工资，可以去法院起诉吗？", "劳动与社会保障"),
        ("我想起诉离婚，法院要多久才判？", "婚姻家庭"),
        ("公司的车停在我家门口，我可以起诉公司吗？", subjects.OTHER),
        ("银行卡交给朋友保管，他不承认。", subjects.OTHER),
        ("法院的传票没有人签收，什么时候开庭？", "诉讼程序"),
        ("和朋友合伙开店，想退伙怎么分？", "公司与商事"),
        ("帮人送货被抓，涉嫌盗窃，会判几年？", "刑法"),
        ("过马路被车撞了，对方全责，误工费怎么算？", "侵权责任"),
        ("老板、孩子、邻居和政府。", subjects.OTHER),
    ],
)
def test_a_mention_is_no_subject(asked, subject):
    assert subjects.describe([], f"{asked}\n可以向人民法院起诉，公司应当承担责任。", "consultation", asked)[1] == subject


def test_the_laws_of_an_answer_are_held_to_the_question():
    asked = "我想离婚，抚养费怎么算？"
    assert subjects.describe([("民法典", "8")], asked, "consultation", asked)[1] == "婚姻家庭"
    assert subjects.describe([("民事诉讼法", "22")], asked, "consultation", asked)[1] == "婚姻家庭"
    assert subjects.describe([("民法典", "1127")], asked, "consultation", asked)[1] == "婚姻家庭"
    assert subjects.describe([("民法典", "8")], "蓝鲸。", "consultation", "蓝鲸。")[1] == subjects.OTHER
    assert subjects.describe([("民法典", "1127")], "蓝鲸。", "consultation", "蓝鲸。")[1] == "继承"


def test_every_subject_has_a_branch_and_no_law_two_subjects():
    known = subjects.table()
    assert set(known.laws.values()) | set(known.words) <= set(known.branches)
    import yaml

    read = yaml.safe_load((subjects.Path(subjects.__file__).parent / "subjects.yaml").read_text("utf-8"))
    rows = [row for rows in read["laws"].values() for row in rows]
    names = Counter(law for row in rows for law in (row if isinstance(row, list) else [row]))
    assert [law for law, count in names.items() if count > 1] == []


def test_real_laws_have_the_branch_of_the_folder_that_a_public_collection_put_them_in(shared_data):
    root, right, wrong = shared_data / "statutes_lawrefbook_md", 0, []
    for path in sorted(root.rglob("*.md")):
        folder = path.relative_to(root).parts[0]
        name = statutes.short_name(path.stem.split("(")[0])
        if folder in set(subjects.table().branches.values()) and not path.stem.startswith("_"):
            found = subjects.branch_of(subjects.of_law(name))
            right += found == folder
            wrong += [(folder, name, found)] if found != folder else []
    assert right + len(wrong) >= 60 and right / (right + len(wrong)) >= 0.9, wrong


def test_an_article_whose_number_cannot_be_read_is_no_article():
    cited = [(law, article) for law, article, *_ in statutes.citations("根据《民法典》第一千零六四条")]
    assert cited == [("民法典", "0")] and subjects.of_law("民法典", "0") == subjects.of_law("民法典")
    assert subjects.describe([*cited, ("劳动法", "50")], "")[1] == subjects.of_law("劳动法")
