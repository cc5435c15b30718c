import pytest

pytest.importorskip("scipy")

from legal_tasks.evaluation import chinese  # noqa: E402
from tests.legal_tasks.evaluation.test_gate import comparison, decide, suite, verdicts  # noqa: E402


def by_name(decision):
    return {rule["name"]: rule for rule in decision["rules"]}


def test_every_rule_has_a_name_and_a_sentence_without_english():
    for name, rule in by_name(decide(card="T4")).items():
        assert chinese.name_of(rule) != name
        if rule["value"] is not None:
            said = chinese.say(rule).replace("n = ", "").replace(" s", "")
            assert said.startswith("通过：") and not any(letter.isascii() and letter.isalpha() for letter in said), said


def test_a_sentence_holds_value_interval_items_and_bound():
    rules = by_name(decide())
    assert chinese.say(rules["refusal"]) == "通过：拒答 95.0% [88.8%, 99.0%]（n = 100）；至少 90.0%"
    said = chinese.say(rules["replace (legal_exam)"])
    assert said.startswith("通过：与对照模型相差 +4.0 个百分点 [+") and "单侧 95% 下界须高于 -2.0 个百分点" in said
    assert chinese.name_of(rules["replace (legal_exam)"]) == "替换（legal_exam）"


def test_the_reasons_of_a_refusal_are_the_rules_that_stop_it():
    worse = comparison(suites={"general": suite(verdicts(240), verdicts(200), verdicts(240), name="general")})
    [reason] = chinese.reasons(decide(worse))
    assert reason.startswith("通用能力：未通过：与原始模型相差 -10.0 个百分点")
    assert chinese.reasons(decide()) == ["各项规则均通过"]


def test_what_was_not_measured_and_exams_of_unknown_names_are_told_too():
    assert chinese.say(by_name(decide(history=None))["anti-ratchet (legal_exam)"]).startswith("未测量：")
    more = suite("1" * 80, "1" * 60 + "0" * 20, name="jail", kind="refusal")
    rule = by_name(decide(comparison(suites={"jail": more})))["jail"]
    assert chinese.say(rule).startswith("未通过：75.0% [") and chinese.say(rule).endswith("；界限 90.0%")


def test_near_chance_and_too_few_items_are_called_so():
    guessed = comparison(suites={"legal_exam": suite("1000" * 60, "1000" * 60)})
    rule = by_name(decide(guessed))["domain accuracy (legal_exam)"]
    assert "near chance" in rule["sentence"] and chinese.say(rule).endswith("；接近随机水平（25.0 %）")
    few = comparison(suites={"legal_exam": suite("1" * 20, "1" * 20)})
    assert chinese.say(by_name(decide(few))["domain accuracy (legal_exam)"]).endswith("；不足 100 题，无法判定")


def test_every_bound_of_the_rules_is_named_in_chinese():
    assert {rule["by"] for rule in decide(card="T4")["rules"]} <= chinese.BY.keys()


def test_every_reason_for_not_measuring_is_told_in_chinese():
    """Those that rules and compare can give, taken from their own source."""
    import inspect
    import re

    from legal_tasks.evaluation import compare, rules

    said = re.findall(r'missing\([^"]*"[^"]*", (?:"[^"]*", )?f?"([^"]+)"', inspect.getsource(rules))
    said += re.findall(r'NOT_APPLICABLE, "([^"]+)"', inspect.getsource(rules))
    said += re.findall(r'missing\(metric, metric, f"([^"]+)"', inspect.getsource(rules))
    said += re.findall(r'return f"(the suite [^"]+)"', inspect.getsource(rules))
    said += re.findall(r'return f"([^"]+)"', inspect.getsource(compare.find_fault))
    assert len(said) >= 14
    for sentence in said:
        filled = re.sub(r"\{[^{}]*\}", lambda part: "base" if "role" in part[0] or part[0] == "{empty}" else "7", sentence)
        assert re.search("[a-z]{3}", chinese.why(filled).replace("base", "")) is None, chinese.why(filled)
    assert chinese.why("champion has no verdict on 3 of 60 items") == "在用模型 的 60 题中有 3 题没有判定"
    assert chinese.why("something else") == "something else"
