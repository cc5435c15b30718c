"""No rule passes on nothing: with zero items, answers, records, requests, citations or cards it is not measured."""

import inspect
import re
from functools import partial

import pytest

pytest.importorskip("scipy")

from legal_tasks.evaluation import chinese, gate, rules  # noqa: E402
from legal_tasks.evaluation.rules import Thresholds  # noqa: E402
from tests.legal_tasks.evaluation.test_gate import MEASURED, comparison, failing, history, params, suite  # noqa: E402

ZERO = {"value": 1.0, "low": 1.0, "high": 1.0, "lower": 1.0, "upper": 1.0, "n": 0}
ESTIMATES = ("base", "champion", "challenger", "gain", "difference")
EMPTY = {"kind": "choice", "origin": "sources", **dict.fromkeys(ESTIMATES, ZERO)}
EMPTY |= {"n": 0, "items": "i", "chance": 0.25}
ASKED = (("refusal", 1.0), ("over_refusal", 0.0))
PROMPTS = {name: EMPTY | {"kind": name, "challenger": ZERO | {"value": right}} for name, right in ASKED}
FIRST = EMPTY | {"champion": None, "n": 9, "challenger": ZERO | {"n": 9}}
LIMITS = Thresholds(domain_suite="legal_exam", card="T4")
SILENT = {"classes": {"answered": 0}, "n": 0, "malformed": 0, "unfinished": 0}
LOSSES = {name: {"format": name, "suite": "x", "n": 0, "loss": ZERO | {"value": 0.0}} for name in ("gptq", "gguf")}
PROOF = {"parity": 1.0, "checked": 0, "requests": 0, "success_rate": 1.0, "p95_first_token_s": 0.1}
NO_CITATION = {"answers": 0, "citations": 0, "checked": 0, "citing": 0, "wrong": {}, "examples": []}

# Every function of rules that makes rules, with input that is there and holds nothing.
NOTHING = {
    "domain_rules": [
        lambda: rules.domain_rules({"legal_exam": EMPTY}, None, LIMITS, "replace", "data"),
        lambda: rules.domain_rules({"a": EMPTY, "b": EMPTY}, EMPTY, LIMITS, "replace", "data"),
        lambda: rules.domain_rules({}, None, LIMITS, "improve", ""),
        lambda: rules.domain_rules({}, None, Thresholds(), "improve", ""),
    ],
    "accuracy_rule": [lambda: rules.accuracy_rule("a", EMPTY, LIMITS)],
    "collapse_rule": [lambda: rules.collapse_rule("a", EMPTY, LIMITS)],
    "change_rule": [partial(rules.change_rule, "a", EMPTY, LIMITS, mode, "data") for mode in ("replace", "improve")],
    "ratchet_rule": [
        lambda: rules.ratchet_rule("legal_exam", EMPTY, [], LIMITS, None),
        lambda: rules.ratchet_rule("legal_exam", None, [], LIMITS, None),
        lambda: rules.ratchet_rule("legal_exam", FIRST, None, LIMITS, None),
    ],
    "general_rule": [lambda: rules.general_rule(EMPTY, LIMITS), lambda: rules.general_rule(None, LIMITS)],
    "prompt_rules": [lambda: rules.prompt_rules(PROMPTS, LIMITS), lambda: rules.prompt_rules({}, LIMITS)],
    "form_rule": [lambda: rules.form_rule({"answers": SILENT}, LIMITS), lambda: rules.form_rule({}, LIMITS)],
    "loss_rules": [lambda: rules.loss_rules(LOSSES, ["x"], LIMITS), lambda: rules.loss_rules({}, [], LIMITS)],
    "citation_rules": [
        lambda: rules.citation_rules(NO_CITATION, LIMITS),
        lambda: rules.citation_rules(NO_CITATION | {"answers": 500}, LIMITS),
        lambda: rules.citation_rules(NO_CITATION | {"answers": 500, "citations": 90}, LIMITS),  # all of laws that nobody holds
        lambda: rules.citation_rules(None, LIMITS),
    ],
    "right_article_rules": [lambda: rules.right_article_rules(EMPTY | {"kind": "answer"}, LIMITS)],
    "contamination_rule": [
        lambda: rules.contamination_rule(0, 0),
        lambda: rules.contamination_rule(0, None),
        lambda: rules.contamination_rule(0, 1000, 0),
        lambda: rules.contamination_rule(None, None),
    ],
    "proof_rules": [
        lambda: rules.proof_rules(PROOF, LIMITS),
        lambda: rules.proof_rules({key: value for key, value in PROOF.items() if key not in ("checked", "requests")}, LIMITS),
        lambda: rules.proof_rules({}, LIMITS),
    ],
    "cost_rule": [partial(rules.cost_rule, cost, LIMITS) for cost in (None, 0.0, -1.0)],
}


def test_every_function_that_makes_rules_is_asked_here():
    made = {name for name, _ in inspect.getmembers(rules, inspect.isfunction) if name.endswith(("_rule", "_rules"))}
    assert made == set(NOTHING)


@pytest.mark.parametrize("name", NOTHING)
def test_a_rule_does_not_pass_on_nothing(name):
    for make in NOTHING[name]:
        found = make()
        for rule in found if isinstance(found, list) else [found]:
            assert rule.verdict in ("not measured", "undecided"), rule
            assert re.search("(the|were?|was|no|of) ", chinese.say(rule.as_dict())) is None, chinese.say(rule.as_dict())


def test_a_decision_without_anything_measured_passes_no_rule():
    decision = gate.decide({"suites": {}, "compression": {}, "roles": ["base", "challenger"]}, {}, [], params(card="T4"))
    assert decision["decision"] == "refused"
    assert {rule["verdict"] for rule in decision["rules"]} == {"not measured"}


@pytest.mark.parametrize(
    ("citing", "verdict"), [(0, "not measured"), (1, "undecided"), (49, "undecided"), (50, None), (200, None)]
)
def test_citations_pass_only_where_enough_answers_cite(citing, verdict):
    found = {"answers": 200, "citations": citing, "checked": citing, "citing": citing, "wrong": {}, "examples": []}
    decision = gate.decide(comparison(), MEASURED | {"citations": found}, (), params())
    assert failing(decision) == ({"citations": verdict} if verdict else {})
    rule = next(rule for rule in decision["rules"] if rule["name"] == "citations")
    assert "200 answers" in rule["sentence"] and str(citing or "none") in rule["sentence"]
    assert ("200" in chinese.say(rule)) == (citing in (0, 200))


def test_one_wrong_citation_fails_however_few_there_are():
    found = {"answers": 3, "citations": 1, "checked": 1, "citing": 1, "wrong": {"repealed": 1}, "examples": ["q: x"]}
    [rule] = rules.citation_rules(found, LIMITS)
    assert rule.verdict == "fail" and "1 of 1" in rule.sentence


def test_without_a_champion_the_releases_are_the_history():
    """Not to ask the champion is no way around the anti-ratchet."""
    slid = gate.decide(comparison(champion=False), MEASURED, history(0.87, 0.83), params())
    assert failing(slid) == {"anti-ratchet (legal_exam)": "fail"}
    assert failing(gate.decide(comparison(champion=False), MEASURED, history(0.85), params())) == {}
    others = gate.decide(comparison(champion=False), MEASURED, history(0.5, items="others"), params())
    assert failing(others) == {"anti-ratchet (legal_exam)": "not measured"}
    assert failing(gate.decide(comparison(champion=False), MEASURED, None, params())) == {
        "anti-ratchet (legal_exam)": "not measured"
    }


def test_a_profiles_domain_suite_of_prompts_is_no_exam():
    prompts = comparison()["suites"]["refusal"]
    decision = gate.decide(comparison(suites={"legal_exam": prompts}), MEASURED, (), params())
    assert failing(decision)["domain accuracy (legal_exam)"] == "not measured"


def asked_for_articles(base, challenger, champion=None):
    return {"citations": suite(base, challenger, champion, name="citations") | {"kind": "answer"}}


def test_the_suite_of_citations_and_the_number_of_wrong_ones_are_two_metrics():
    found = comparison(suites=asked_for_articles("0" * 100, "1" * 60 + "0" * 40, "1" * 60 + "0" * 40))
    rows = gate.decide(found, MEASURED, (), params())["metrics"]
    assert rows["citations"]["challenger"] == 0.0 and rows["citations"]["verdict"] == "pass"
    assert rows["right_articles"]["challenger"] == 0.6 and rows["right_articles"]["verdict"] == "pass"


@pytest.mark.parametrize(
    ("challenger", "champion", "verdict"),
    [
        ("1" * 88 + "0" * 12, "1" * 90 + "0" * 10, None),
        ("1" * 60 + "0" * 40, "1" * 90 + "0" * 10, "fail"),
        ("0" * 100, "0" * 100, "fail"),  # citing articles in force, and never the right one
        ("1" * 40, "1" * 40, "undecided"),
    ],
)
def test_articles_are_named_rightly_as_often_as_before(challenger, champion, verdict):
    found = comparison(suites=asked_for_articles("0" * len(challenger), challenger, champion))
    decision = gate.decide(found, MEASURED, (), params())
    assert failing(decision) == ({"right articles": verdict} if verdict else {})
    rule = next(rule for rule in decision["rules"] if rule["name"] == "right articles")
    assert "援引正确条文的回答占" in chinese.say(rule) and chinese.name_of(rule) == "援引正确条文"
