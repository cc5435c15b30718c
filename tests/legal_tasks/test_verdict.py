"""A run's verdict in words: numbers with their units and both bounds, in two languages."""

import pytest

from legal_tasks import verdict
from legal_tasks.evaluation import rules
from legal_tasks.step import StepError

LIMITS = rules.Thresholds()
ESTIMATE = {"value": -0.026, "low": -0.061, "high": 0.009, "lower": -0.056, "upper": 0.004, "n": 1080}


def judged(*found):
    return {"rules": [rule.as_dict() for rule in found]}


def general(**changed):
    return rules.general_rule({"gain": ESTIMATE | changed, "challenger": {"n": 1080}, "n": 1080}, LIMITS)


def test_a_two_part_rule_tells_both_numbers_and_both_bounds():
    found = verdict.shortfalls(judged(general()))
    assert [(each["rule"], each["verdict"], each["unit"], each["n"]) for each in found] == [
        ("general ability", "undecided", "points", 1080)
    ]
    assert found[0]["parts"] == [
        {"by": "value", "value": -2.6, "bound": -3.0, "missing": None},
        {"by": "lower bound", "value": -5.6, "bound": -5.5, "missing": 0.1},
    ]
    assert verdict.say(found[0], "en") == "general ability −2.6 points, bound −3.0; lower bound −5.6 points, bound −5.5"
    assert verdict.say(found[0], "zh") == "通用能力 −2.6 个百分点，界限 −3.0；单侧 95% 下界 −5.6 个百分点，界限 −5.5"


def test_rules_that_passed_are_not_among_the_shortfalls():
    assert verdict.shortfalls(judged(general(lower=-0.05))) == []


def test_each_kind_of_rule_has_its_unit():
    proof = {"parity": 0.99, "checked": 416, "requests": 200, "p95_first_token_s": 1.25, "success_rate": 1.0}
    fast = rules.proof_rules(proof, LIMITS)
    accuracy = {"value": 0.74, "low": 0.7, "high": 0.78, "lower": 0.71, "upper": 0.77, "n": 800}
    exact = rules.above("domain accuracy (bar_exam)", "bar_exam", accuracy, 0.75, "bound", 100, "accuracy on bar_exam")
    leak, cost = rules.contamination_rule(3, 4000), rules.cost_rule(2100.0, rules.Thresholds(card="L4"))
    lines = [verdict.say(each, "en") for each in verdict.shortfalls(judged(exact, *fast, leak, cost))]
    assert lines == [
        "domain accuracy (bar_exam) 74.0 %, bound 75.0 %; lower bound 71.0 %, bound 75.0 %",
        "parity 99.0 %, bound 100.0 %",
        "p95_first_token_s 1.250 s, bound 1.000 s",
        "contamination 3, bound 0",
        "cost_cny 2,100 CNY, bound 2,000 CNY",
    ]


def test_what_was_not_measured_says_why_in_both_languages():
    fallen = verdict.shortfalls(judged(rules.general_rule(None, LIMITS)))
    assert verdict.say(fallen[0], "en").startswith("general ability not measured (the suite general was not asked")
    assert verdict.say(fallen[0], "zh").startswith("通用能力：未测量（没有作答试题集 general")


def test_too_few_items_are_said_to_decide_nothing():
    fallen = verdict.shortfalls(judged(general(n=40, value=0.0, lower=-0.01)))
    assert verdict.say(fallen[0], "en").endswith("; 40 items decide nothing")


@pytest.mark.parametrize(
    ("decision", "reasons", "production", "en", "zh"),
    [
        ("released", ["better"], "7", "released version 7", "已上线：版本 7"),
        ("unchanged", ["unchanged: it serves"], "6", "unchanged: version 6 goes on serving", "无变化：版本 6 继续服务"),
        ("failed", ["train: no\ndisk"], None, "failed: disk", "失败：disk"),
        ("skipped", ["another's month"], None, "skipped: another's month", "已跳过：another's month"),
    ],
)
def test_every_end_has_its_words(decision, reasons, production, en, zh):
    said = [verdict.tell(decision, reasons, {}, "7", production, language) for language in ("en", "zh")]
    assert said == [en, zh]


def test_a_refused_first_run_says_that_nothing_is_served_and_a_later_one_what_goes_on():
    first, later = (verdict.tell("refused", [], judged(general()), None, serves, "en") for serves in (None, "6"))
    assert first.startswith("refused: general ability −2.6 points, bound −3.0;")
    assert first.endswith("nothing is served: no model is behind the gateway") and later.endswith("version 6 goes on serving")


def test_a_release_against_the_recommendation_says_so():
    against = "against the gate's recommendation: asked for by a (why), confirmed by b"
    assert verdict.tell("released", [against, "x"], {}, "7", "7", "en") == f"released version 7 ({against})"


def test_the_language_is_the_settings(monkeypatch):
    for given, wanted in (("", ("zh", "en")), ("zh", ("zh",)), ("en", ("en",))):
        monkeypatch.setenv("LEXLOOP_LANGUAGE", given)
        assert verdict.languages() == wanted
    monkeypatch.setenv("LEXLOOP_LANGUAGE", "fr")
    with pytest.raises(StepError, match="LEXLOOP_LANGUAGE must be one of both, zh, en, got 'fr'"):
        verdict.languages()


def test_a_text_that_is_too_long_is_cut_visibly():
    assert verdict.cut("甲" * 1001) == "甲" * 999 + "…" and verdict.cut("a") == "a"
