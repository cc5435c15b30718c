import json
import re
from html.parser import HTMLParser

import pytest

pytest.importorskip("scipy")
pytest.importorskip("jinja2")

from legal_tasks.evaluation import compare, report  # noqa: E402
from legal_tasks.serving import override  # noqa: E402
from tests.legal_tasks.evaluation.exam import make_item, make_rows  # noqa: E402
from tests.legal_tasks.evaluation.test_gate import comparison, decide, suite  # noqa: E402


def lines(base, champion, challenger, suite="legal_exam"):
    """Matrix lines of one suite from verdicts of the three roles."""
    rows = {suite: {"base": make_rows(base), "champion": make_rows(champion), "challenger": make_rows(challenger)}}
    return list(compare.matrix(rows, {suite: {f"legal_exam-{n}": make_item(n) for n in range(len(base))}}))


def page(rows=(), **change):
    found = comparison(**change)
    extra = {"data": {"records": {"in": 50, "used": 40, "set_aside": {"duplicate": 10}}, "written": 40}, "proof": {}}
    return report.render_page(decide(found), found, list(rows), extra)


class Words(HTMLParser):
    """The text of a page in order, without script and style."""

    def __init__(self, html):
        super().__init__()
        self.words, self.hidden = [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data):
        if not self.hidden and data.strip():
            self.words.append(data.strip())


def embedded(html):
    return json.loads(re.search(r'id="rows">(.*?)</script>', html, re.S)[1])


def test_the_verdict_comes_first_in_both_languages():
    words = Words(page()).words
    assert words.index("可以发布") < words.index("May be released") < words.index("规则") < words.index("Item by item")


def test_every_number_of_the_decision_stands_on_the_page():
    text = " ".join(Words(page()).words)
    for rule in decide()["rules"]:
        assert rule["name"] in text and rule["sentence"] in text
    assert "84.0%" in text and "+34.0" in text and "duplicate: 10" in text


def test_the_matrix_puts_items_first_on_which_the_models_differ():
    found = embedded(page(lines("110", "110", "101")))
    assert [[cell[1] for cell in line[4:]] for line in found] == [[1, 1, 0], [0, 0, 1], [1, 1, 1]]
    assert found[0][3].startswith("A ")


def test_a_question_cannot_break_out_of_the_page():
    rows = lines("1", "1", "0")
    rows[0]["question"] = "</script><script>alert(1)</script>"
    html = page(rows)
    assert "<script>alert" not in html
    assert embedded(html)[0][2] == rows[0]["question"]


def test_the_page_stays_below_two_megabytes_and_says_what_it_leaves_out():
    rows = lines("10" * 4000, "11" * 4000, "01" * 4000)
    html = page(rows)
    assert len(html.encode()) < 2_000_000
    left = len(rows) - len(embedded(html))
    assert left > 0 and f"{left} / {len(rows)}" in html


def test_the_page_loads_nothing_from_elsewhere():
    html = page(lines("1", "1", "0"))
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|https?://", html)


def test_failures_are_counted_by_suite_and_category():
    found = report.failures(lines("1100", "0000", "0110"))
    by_category = {group["category"]: group for group in found}
    assert by_category["law"] == {"suite": "legal_exam", "category": "law", "n": 4, "wrong": 2, "lost": 1, "gained": 1}


def test_the_markdown_has_the_specifications_headings_and_the_failures():
    text = report.render_text(decide(), comparison() | {"compression": {}}, lines("10", "10", "01"))
    assert "| 指标 | 原始模型 | 微调后 | 提升 |" in text
    assert "| legal_exam | law | 1 | 2 | 1 | 1 |" in text


TABLES = {
    "compression": {
        "headings": ["模型", "大小", "显存需求", "效果损失"],
        "rows": [{"cells": ["GGUF Q4_0", "1.2 MiB", "2.0 MiB", "+1.20 %"]}],
    },
    "cost": {
        "headings": ["配置", "成本/月", "QPS", "适用场景"],
        "rows": [{"cells": ["RTX 4090", "未测量", "未测量", "<小团队>"]}],
    },
}


def test_the_three_tables_bear_the_specifications_headings_on_the_page_and_in_markdown():
    found = comparison() | {"compression": {}}
    html = report.render_page(decide(), found, [], TABLES)
    text = report.render_text(decide(), found, [], TABLES)
    for headings in ("指标 原始模型 微调后 提升", "模型 大小 显存需求 效果损失", "配置 成本/月 QPS 适用场景"):
        assert "| " + " | ".join(headings.split()) + " |" in text
        shown = [words for words in re.findall('<span class="zh">([^<]+)</span>', html) if words in headings.split()]
        assert headings in " ".join(shown)
    assert "+1.20 %" in html and "+1.20 %" in text
    assert "&lt;小团队&gt;" in html


def test_a_run_without_compression_and_cost_has_no_tables_of_them():
    html = report.render_page(decide(), comparison() | {"compression": {}}, [], {"cost": None})
    assert "显存需求" not in html and "适用场景" not in html


def test_a_share_that_guessing_would_explain_is_called_near_chance():
    guessing = suite("1" * 100 + "0" * 300, "1" * 110 + "0" * 290, "1" * 320 + "0" * 80)
    found = comparison(suites={"legal_exam": guessing})
    html = report.render_page(decide(found), found, [], {})
    assert html.count('<span class="en">near chance</span>') == 2  # base and challenger, not the champion
    assert "this is near chance (25.0 %)" in html
    row = (
        report.render_text(decide(found), found, [])
        .split("# 评测对比")[1]
        .split("| 法律考试（未见过的措辞） |")[1]
        .splitlines()[0]
    )
    assert row.count("接近随机") == 2


def test_the_judges_verdicts_stand_on_the_page():
    numbers = {"n": 50, "win": 21, "loss": 13, "tie": 16, "turned": 9, "unread": 0, "p": 0.23}
    found = comparison() | {"judge": {"model": "judge-1", "version": 1, "against": "champion", "suites": {"lecard": numbers}}}
    words = Words(report.render_page(decide(), found, [], {})).words
    place = words.index("lecard")
    assert words[place : place + 8] == ["lecard", "50", "21", "13", "16", "9", "0", "0.23"]
    assert "| lecard | 50 | 21 | 13 | 16 | 9 | 0 | 0.23 |" in report.render_text(decide(), found, [])


def test_the_page_has_one_place_for_an_override_right_under_the_verdict():
    html = page()
    assert html.count(override.MARK) == 1
    assert html.index('id="verdict"') < html.index(override.MARK) < html.index('id="rules"')


def test_every_suite_names_its_file_digest_count_and_origin():
    about = {"origin": "sources", "file": "exams/bar.jsonl", "digest": "ab" * 32, "count": 500}
    found = comparison()
    found["suites"]["legal_exam"] |= about
    decision = decide(found)
    assert decision["suites"]["legal_exam"] == about | {"n": 400}
    words = Words(report.render_page(decision, found, [], {})).words
    place = words.index("exams/bar.jsonl")
    assert (
        words[place - 3 : place + 4] == ["legal_exam", "数据源", "sources", "exams/bar.jsonl", "abababababab", "500", "400"][:7]
    )
    assert "| legal_exam | 数据源 | exams/bar.jsonl | abababababab | 500 | 400 |" in report.render_text(decision, found, [])


def test_answers_that_cite_the_right_article_are_shown_and_not_taken_for_the_wrong_ones():
    found = comparison(suites={"citations": suite("1" * 20 + "0" * 80, "1" * 70 + "0" * 30, name="citations", kind="choice")})
    found["suites"]["citations"]["kind"] = "answer"
    html = report.render_page(decide(found), found, [], {})
    assert "Answers that cite the right article" in html and "援引正确条文的回答" in html
    text = report.render_text(decide(found), found, [])
    assert "| 援引正确条文的回答 | 20.0%" in text and "| citations | — | 0 |" in text
