"""Articles of both mark-ups, and what becomes of a citation."""

import datetime

import pytest

from legal_tasks.data import statutes
from legal_tasks.data.decontaminate import Exams
from legal_tasks.data.numerals import to_number

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
    assert to_number(text) == number


def test_verdicts(store):
    assert states(store, "依照《中华人民共和国河灯管理法》第二条备案。") == ["in force"]
    assert states(store, "依照《河灯管理法》第三条之一、第四条处理。") == ["in force", "in force"]
    assert states(store, "依照《河灯管理法》第九十九条处理。") == ["no such article"]
    assert states(store, "依照《放灯暂行办法》第一条须经许可。") == ["repealed"]
    assert states(store, "原《放灯暂行办法》第一条曾有规定。") == ["former"]
    assert states(store, "根据《合同法》第五十二条，根据合同法第五十二条，根据《劳动合同法》第十条") == [
        "repealed",
        "repealed",
        "not held",
    ]


def test_a_quotation_is_compared_with_the_article(store):
    right = "《河灯管理法》第二条规定：“放河灯的单位应当在三日以前向河道主管机关备案。”"
    wrong = "《河灯管理法》第二条规定：“放河灯的个人可以在任何时间自由放灯而不受限制。”"
    assert states(store, right) == ["in force"]
    assert states(store, wrong) == ["misquoted"]
    assert states(store, right.replace("第二条", "第三条")) == ["misquoted"]


def test_before_its_end_a_law_was_in_force(store):
    assert [v.state for v in store.judge("《放灯暂行办法》第一条", datetime.date(2015, 1, 1))] == ["in force"]


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\x0b"])
def test_an_article_that_holds_another_end_of_line_is_read_back_whole(tmp_path, mark):
    text = f"押金应当在三十日内{mark}退还给承租人，出租人不得另行收取费用。"
    path = tmp_path / "statutes.jsonl"
    statutes.write_store(path, [statutes.Law("房屋租赁条例", "2024-01-01", "2024-01-01", "i", articles={"1": text})])
    assert statutes.read_store(path).texts("房屋租赁条例", "1") == [text]
    exams = Exams()
    exams.exempt_statutes(path)


def test_command(tmp_path, store, capsys):
    statutes.write_store(tmp_path / "s.jsonl", [law for versions in store.laws.values() for law in versions])
    assert (
        statutes.command(["check", "《放灯暂行办法》第一条", "--store", str(tmp_path / "s.jsonl"), "--as-of", "2026-11-01"]) == 0
    )
    assert capsys.readouterr().out == "《放灯暂行办法》第一条: 已废止 repealed (since 2020-01-01; now 河灯管理法)\n"


@pytest.mark.parametrize(
    ("text", "day", "line"),
    [
        ("《河灯管理法》第二条", "2026-11-01", "《河灯管理法》第二条: 现行有效 in force"),
        ("《河灯管理法》第二条", "2019-12-31", "《河灯管理法》第二条: 尚未生效 not yet in force (from 2020-01-01)"),
        (
            "《河灯管理法》第四十条",
            "2026-11-01",
            "《河灯管理法》第四十条: 未收录 no such article (条文不存在; the law has 4 articles)",
        ),
        ("《孔明灯法》第一条", "2026-11-01", "《孔明灯法》第一条: 未收录 not held"),
        ("原《放灯暂行办法》第一条", "2026-11-01", "《放灯暂行办法》第一条: 已废止 former (since 2020-01-01"),
        ("《婚姻法》第三十条", "2026-11-01", "《婚姻法》第三十条: 已废止 repealed (since 2021-01-01"),
    ],
)
def test_people_read_one_of_six_verdicts(store, text, day, line):
    [verdict] = store.judge(text, datetime.date.fromisoformat(day))
    assert verdict.line().startswith(line)


def test_the_command_finds_the_newest_store_and_says_when_there_is_none(tmp_path, store, monkeypatch, capsys):
    monkeypatch.setenv("LEXLOOP_STORE", str(tmp_path))
    assert statutes.command(["check", "《河灯管理法》第二条"]) == 2 and "make prepare" in capsys.readouterr().err
    folder = tmp_path / "data.clean" / "k"
    folder.mkdir(parents=True)
    statutes.write_store(folder / "statutes.jsonl", [law for versions in store.laws.values() for law in versions])
    (folder / "manifest.json").write_text("{}")
    assert statutes.command(["check", "《河灯管理法》第二条", "--as-of", "2026-11-01"]) == 0
    assert "现行有效" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["《河灯管理法》第二条至第四条", "河灯管理法第二至四条", "《河灯管理法》第2条-第4条"])
def test_a_range_is_all_its_articles(store, text):
    assert [(v.article, v.state) for v in store.judge(text, DAY)] == [(n, "in force") for n in ("2", "3", "4")]


def test_what_an_article_says_on_a_day(store):
    assert store.article("放灯暂行办法", "1", datetime.date(2015, 1, 1)) == "放灯须经许可。"
    assert store.article("放灯暂行办法", "1", DAY) is None and store.article("河灯管理法", "9", DAY) is None


def test_an_amended_text_takes_effect_on_the_day_that_its_decision_names():
    law = statutes.parse_law("# 反垄断法\n\n根据2022年6月24日的决定修正\n\n第一条 预防垄断。\n", "反垄断法", "a")
    held = statutes.Store([law])
    assert [held.judge("《反垄断法》第一条", datetime.date(2022, m, 1))[0].state for m in (7, 8)] == [
        "not yet in force",
        "in force",
    ]


def test_an_article_that_only_a_later_version_has_is_not_yet_in_force():
    new = version("2022年6月1日", "三。").articles | {"4": "四。"}
    both = statutes.Store([version("2010年1月1日", "三。"), statutes.Law("灯会条例", "2022-06-01", "2022-06-01", "b", new)])
    verdicts = [both.judge("《灯会条例》第四条", datetime.date(year, 1, 1))[0] for year in (2021, 2023)]
    assert [(v.state, v.detail) for v in verdicts] == [("not yet in force", "from 2022-06-01"), ("in force", "")]


def test_a_part_of_a_law_cannot_tell_what_is_not_in_it():
    part = statutes.Store([statutes.Law("灯典", "2020-01-01", "2020-01-01", "a", {"7": "七。"})])
    assert part.judge("《灯典》第九条", DAY)[0].line() == "《灯典》第九条: 未核验 unverified (only a part of the law is held)"


def test_a_repeal_counts_from_the_first_day_of_the_repealing_law_and_lists_are_read():
    text = (
        "# 灯具条例\n\n2003年9月3日公布 2020年11月29日修订\n\n第一条 灯具须合格。\n\n第二条 本条例自2003年11月1日起施行。"
        "1990年5月7日国务院发布的《灯具管理办法》，1991年1月1日国务院批准的《灯芯规定》同时废止。\n"
    )
    held = statutes.Store([statutes.parse_law(text, "灯具条例", "a")])
    assert held.ended["灯具管理办法"] == held.ended["灯芯规定"] == ("2003-11-01", "灯具条例")


def version(day, third):
    text = f"# 灯会条例\n\n{day} 通过\n\n第一条 为了规范灯会，制定本条例。\n\n第二条 灯会须经许可。\n\n第三条 {third}\n"
    return statutes.parse_law(text, "灯会条例", day)


def test_versions_stand_side_by_side():
    both = statutes.Store(
        [
            version("2010年1月1日", "许可的期限为三十日，可以延长一次。"),
            version("2022年6月1日", "举办者应当在五日以前报告公安机关。"),
        ]
    )
    old = "《灯会条例》第三条规定：“许可的期限为三十日，可以延长一次。”"
    assert [v.state for v in both.judge(old, DAY)] == ["amended"]
    assert [v.state for v in both.judge(old, datetime.date(2015, 1, 1))] == ["in force"]
    assert [v.state for v in both.judge(old, datetime.date(2009, 1, 1))] == ["not yet in force"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("依照河灯管理法第九十九条处理", [("河灯管理法", "99", "no such article")]),
        ("中华人民共和国河灯管理法第二条、第三条之一", [("河灯管理法", "2", "in force"), ("河灯管理法", "3-1", "in force")]),
        (
            "《河灯管理法》第二条第一款第（三）项、第九条",
            [("河灯管理法", "2", "in force"), ("河灯管理法", "9", "no such article")],
        ),
        ("《最高人民法院关于适用〈中华人民共和国婚姻法〉若干问题的解释（三）》第七条", None),
        ("《婚姻法司法解释（二）》第二十四条", None),
        ("《中华人民共和国民法典·合同编》第五百零九条", [("民法典", "509", "not held")]),
        ("《劳动合同法实施条例》与融资租赁合同法律适用解释", [("劳动合同法实施条例", "", "not held")]),
    ],
)
def test_ways_to_cite(store, text, expected):
    found = [(v.law, v.article, v.state) for v in store.judge(text, DAY)]
    assert found == expected if expected else [state for *_, state in found] == ["repealed"]


def test_a_term_in_quotation_marks_is_no_quotation(store):
    assert states(store, "《河灯管理法》第二条中的“善意放灯人”不包括单位。") == ["in force"]


def test_files_of_one_code_share_their_dates():
    first = statutes.parse_law("# 第一编 总则\n\n第一条 一。\n\n第二条 二。\n", "灯典", "a")
    last = statutes.parse_law("# 附则\n\n第三条 本法自2021年1月1日起施行。\n", "灯典", "b", "2020年5月28日通过")
    statutes.unite([first, last])
    assert (first.version, first.effective) == (last.version, last.effective) == ("2020-05-28", "2021-01-01")


def test_amendments_are_kept_whole_and_indexes_are_not():
    text = "# 刑法修正案（三）\n\n2001年12月29日通过\n\n一、将刑法第一百一十四条修改为：“……”" + "补充规定的内容。" * 30
    law = statutes.parse_document(text, "中华人民共和国刑法修正案（三）", "a")
    assert law.name == "刑法修正案（三）" and law.version == "2001-12-29" and law.articles == {} and law.whole == text
    index = "# 社会法\n\n" + "\n\n".join(f"[某某法{n}](../social/{n}/)" for n in range(30))
    assert statutes.parse_document(index, "社会法", "b") is None


def test_every_repeal_has_a_source_and_a_day():
    laws, pattern, rule = statutes.repeals()
    assert laws["合同法"] == ("2021-01-01", "民法典（合同编）") and len(laws) > 20
    assert all(datetime.date.fromisoformat(day) and after for day, after in [*laws.values(), rule])
    assert not pattern.search("关于审理劳动争议案件适用劳动合同法的解释")


def test_a_version_that_is_not_held_accuses_nobody():
    text = "# 灯会条例\n\n2003年5月1日通过 2022年6月1日修订\n\n第一条 为了规范灯会，制定本条例。\n\n第二条 灯会须经许可。\n"
    text += "\n第三条 本条例自2003年7月1日起施行。\n"
    held = statutes.Store([statutes.parse_law(text, "灯会条例", "a")])
    days = {"2003-06-01": "not yet in force", "2015-01-01": "unverified", "2022-06-02": "in force"}
    cite = "《灯会条例》第二条规定：“灯会的举办者应当向公安机关报告并备案。”"
    assert [held.judge("《灯会条例》第二条", datetime.date.fromisoformat(day))[0].state for day in days] == list(days.values())
    assert [held.judge(cite, datetime.date.fromisoformat(day))[0].state for day in days][1:] == ["unverified", "misquoted"]
    assert "the oldest is in force from 2022-06-01" in held.judge(cite, datetime.date(2015, 1, 1))[0].detail


def test_the_verdict_says_which_version_it_looked_at_and_which_has_the_words():
    both = statutes.Store(
        [
            version("2010年1月1日", "许可的期限为三十日，可以延长一次。"),
            version("2022年6月1日", "举办者应当在五日以前报告公安机关。"),
        ]
    )
    old = "《灯会条例》第三条规定：“许可的期限为三十日，可以延长一次。”"
    [today], [then] = both.judge(old, DAY), both.judge(old, datetime.date(2015, 1, 1))
    assert (today.version, then.version, then.state) == ("2022-06-01", "2010-01-01", "in force")
    assert today.detail == "the words of another version, in force from 2010-01-01 until 2022-06-01"
    assert "version of 2010-01-01" in then.line()
    [former] = both.judge("原" + old, DAY)
    assert (former.state, former.detail) == ("former", today.detail)
    [former] = both.judge("原" + old.replace("三十日", "三个月"), DAY)
    assert former.state == "unverified"


def test_the_decision_that_amends_a_law_says_from_when():
    law = statutes.parse_law("# 灯会条例\n\n根据2022年6月24日的决定修正\n\n第一条 灯会须经许可。\n", "灯会条例", "a")
    text = "2022年6月24日通过\n\n一、将第一条修改为：“灯会须经许可。”\n二、删去第九条。\n本决定自2022年8月1日起施行。\n" * 2
    decision = statutes.read_statute(text, "云州市人大常委会关于修改《灯会条例》的决定", "b")
    held = statutes.Store([law, *decision])
    assert [one.effective for one in held.laws["灯会条例"]] == ["2022-08-01"]


@pytest.mark.parametrize(
    ("name", "version", "day"),
    [("慈善法", "2023-12-29", "2024-09-05"), ("水污染防治法", "2017-06-27", "2018-01-01"), ("工会法", "2021-12-24", "2022-01-01")]
    + [("最高人民法院关于审理灯会纠纷案件适用法律问题的解释", "2020-12-29", "2021-01-01"), ("灯会法", "2020-12-29", "")],
)
def test_days_on_which_amended_texts_took_effect(name, version, day):
    assert statutes.first_day(statutes.Law(name, version, version, "a")) == day


@pytest.mark.parametrize(
    ("title", "text", "kept"),
    [
        (
            "关于灯会纠纷若干问题的解答",
            "2024年5月1日\n一、问：甲？\n答：乙，应当按照规定办理备案手续并公告。\n二、问：丙？\n答：丁，可以不公告。\n",
            True,
        ),
        (
            "关于灯会文书送达的安排",
            "根据有关规定，现就灯会文书的送达作出如下安排：\n一、甲，应当直接送达受送达人本人或者其代理人。\n二、乙，可以邮寄送达。\n",
            True,
        ),
        (
            "灯会安全标准",
            "1. 灯架的高度不得超过十米，并应当能够承受八级大风。\n2. 灯具应当防水，电线应当套管，接头应当密封。\n3. 每千人一人。",
            True,
        ),
        (
            "云州市人民政府关于灯会的命令",
            "自2024年5月1日起，市区内禁止在非指定的地点举办灯会，违者由公安机关依法处理，望各单位周知并遵照执行。\n特此命令。\n",
            True,
        ),
        ("灯会条例", "为了规范灯会，制定本条例。灯会应当备案。" * 20, False),
        ("关于灯会的通知", "略。", False),
    ],
)
def test_documents_without_articles_feed_the_store_as_what_they_are(title, text, kept):
    found = statutes.read_statute(f"{title}\n{text}", title, "a")
    assert [(law.name, bool(law.whole), law.articles) for law in found] == ([(title, True, {})] if kept else [])


@pytest.mark.parametrize(
    "text",
    [
        "新旧法条对照：《放灯暂行办法》第一条，《河灯管理法》第二条。",
        "| 旧法 | 新法 |\n| 《放灯暂行办法》第一条 | 《河灯管理法》第二条 |",
    ]
    + [
        "修改前：《放灯暂行办法》第一条；修改后：《河灯管理法》第二条。",
        "条文对照表\n《放灯暂行办法》第一条 —— 《河灯管理法》第二条",
    ],
)
def test_a_comparison_of_old_and_new_law_is_no_citation_of_the_old_one(store, text):
    assert states(store, text) == ["former", "in force"]
    assert states(store, "依照《放灯暂行办法》第一条、《河灯管理法》第二条处理。") == ["repealed", "in force"]


def test_a_decisions_list_of_repealed_interpretations_is_read_through_their_numbers():
    text = (
        "最高人民法院关于废止部分灯会司法解释的决定\n（法释〔2020〕99号）\n2020年12月23日通过\n为了适应灯会的发展，最高人民法院决定废止下列司法解释：\n"
        "1.《最高人民法院关于审理灯会案件的解释》（法释〔2001〕33号）\n2.《关于灯芯的批复》（法复〔1996〕1号）\n"
        "3. 最高人民法院关于灯油案件如何处理的批复（法释〔1998〕12号）\n本决定自2021年1月1日起施行。\n"
    )
    held = statutes.Store(statutes.read_statute(text, "最高人民法院关于废止部分灯会司法解释的决定", "a"))
    for name in ("最高人民法院关于审理灯会案件的解释", "关于灯芯的批复", "最高人民法院关于灯油案件如何处理的批复"):
        assert held.ended[name] == ("2021-01-01", "最高人民法院关于废止部分灯会司法解释的决定")
