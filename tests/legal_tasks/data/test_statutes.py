"""Articles of both mark-ups, and what becomes of a citation."""

import datetime

import pytest

from legal_tasks.data import statutes

DAY = datetime.date(2026, 11, 1)
NEW = """# 中华人民共和国河灯管理法

2019年5月1日通过

**第一条**　为了规范放河灯的活动，保护河道，制定本法。

**第二条**　放河灯的单位应当在三日以前向河道主管机关备案。

任何个人不得在禁放区放灯。

## 第二章　罚则

**第三条**　违反本法规定放灯的，处一百元以上一千元以下罚款。

**第三条之一**　屡次违反的，从重处罚。

**第四条**　本法自2020年1月1日起施行，《放灯暂行办法》同时废止。
"""
OLD = "# 放灯暂行办法\n\n2001年5月1日 公布\n<!-- INFO END -->\n\n第一条 放灯须经许可。\n\n第二条 本办法自2001年6月1日起施行。\n"


@pytest.fixture
def store():
    return statutes.Store(
        [statutes.parse_law(NEW, "中华人民共和国河灯管理法", "a"), statutes.parse_law(OLD, "放灯暂行办法", "b")]
    )


def states(store, text):
    return [verdict.state for verdict in store.judge(text, DAY)]


def test_articles_of_both_mark_ups():
    law = statutes.parse_law(NEW, "中华人民共和国河灯管理法", "a")
    assert (law.name, law.effective, list(law.articles)) == ("河灯管理法", "2020-01-01", ["1", "2", "3", "3-1", "4"])
    assert law.articles["2"].endswith("任何个人不得在禁放区放灯。") and "**" not in law.articles["1"]
    assert statutes.parse_law(OLD, "放灯暂行办法", "b").articles["1"] == "放灯须经许可。"


def test_a_page_without_articles_is_no_law():
    assert statutes.parse_law("# 目录\n\n[宪法](./a)\n", "目录", "c") is None


@pytest.mark.parametrize(("text", "number"), [("一千零四十七", 1047), ("十", 10), ("二百六十", 260), ("５２", 52), ("两百", 200)])
def test_numerals(text, number):
    assert statutes.to_number(text) == number


def test_verdicts(store):
    assert states(store, "依照《中华人民共和国河灯管理法》第二条备案。") == ["in force"]
    assert states(store, "依照《河灯管理法》第三条之一、第四条处理。") == ["in force", "in force"]
    assert states(store, "依照《河灯管理法》第九十九条处理。") == ["no such article"]
    assert states(store, "依照《放灯暂行办法》第一条须经许可。") == ["repealed"]
    assert states(store, "原《放灯暂行办法》第一条曾有规定。") == ["in force"]
    assert states(store, "根据《合同法》第五十二条，根据合同法第五十二条，根据《劳动合同法》第十条") == [
        "repealed",
        "not held",
        "repealed",
    ]


def test_a_quotation_is_compared_with_the_article(store):
    right = "《河灯管理法》第二条规定：“放河灯的单位应当在三日以前向河道主管机关备案。”"
    wrong = "《河灯管理法》第二条规定：“放河灯的个人可以在任何时间自由放灯而不受限制。”"
    assert states(store, right) == ["in force"]
    assert states(store, wrong) == ["misquoted"]
    assert states(store, right.replace("第二条", "第三条")) == ["misquoted"]


def test_before_its_end_a_law_was_in_force(store):
    assert [v.state for v in store.judge("《放灯暂行办法》第一条", datetime.date(2015, 1, 1))] == ["in force"]


def test_command(tmp_path, store, capsys):
    statutes.write_store(tmp_path / "s.jsonl", [law for versions in store.laws.values() for law in versions])
    assert (
        statutes.command(["check", "《放灯暂行办法》第一条", "--store", str(tmp_path / "s.jsonl"), "--as-of", "2026-11-01"]) == 0
    )
    assert "repealed (since 2020-01-01; now 河灯管理法)" in capsys.readouterr().out
