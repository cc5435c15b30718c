"""Each rule passes, fails and stays undecided on small constructed inputs, through the real decision."""

import datetime
import json
from pathlib import Path

import pytest

pytest.importorskip("scipy")

from legal_tasks.data.statutes import Law, write_store  # noqa: E402
from legal_tasks.evaluation import compare, gate, rules  # noqa: E402
from legal_tasks.evaluation.items import write_lines  # noqa: E402
from legal_tasks.step import StepError, main  # noqa: E402
from tests.legal_tasks.evaluation.exam import make_rows  # noqa: E402


def verdicts(right, n=400):
    return "1" * right + "0" * (n - right)


def suite(base, challenger, champion=None, origin="sources", embedded=False, name="legal_exam", kind="choice"):
    rows = {"base": make_rows(base, name, kind=kind), "challenger": make_rows(challenger, name, kind=kind)}
    rows |= {"champion": make_rows(champion, name, kind=kind)} if champion else {}
    return {"origin": origin, "kind": kind, "embedded": embedded, **compare.compare_suite(name, rows)}


def comparison(champion=True, **change):
    """Numbers that pass every rule: 84 % against a base of 50 % and a champion of 80 %."""
    old = {"champion": verdicts(320)} if champion else {}
    asked = {
        "legal_exam": suite(verdicts(200), verdicts(336), **old),
        "general": suite(verdicts(240), verdicts(240), name="general", **({"champion": verdicts(240)} if champion else {})),
        "refusal": suite("1" * 90 + "0" * 10, "1" * 95 + "0" * 5, name="refusal", kind="refusal"),
        "over_refusal": suite("1" * 100, "1" * 98 + "00", name="over_refusal", kind="over_refusal"),
    }
    loss = {"value": 0.01, "low": -0.01, "high": 0.03, "lower": 0.0, "upper": 0.02}
    compression = {
        name: {"format": name, "suite": "legal_exam", "n": 400, "merged": 0.8, "compressed": 0.79, "agree": 0.98, "loss": loss}
        for name in ("gptq-act-order", "gptq", "gguf")
    }
    roles = ["base", "champion", "challenger"] if champion else ["base", "challenger"]
    return {
        "suites": asked | change.pop("suites", {}),
        "compression": compression | change.pop("compression", {}),
        "roles": roles,
    }


PROOF = {"parity": 1.0, "checked": 50, "requests": 200, "success_rate": 1.0, "p95_first_token_s": 0.2, "p95_short_answer_s": 0.6}
MEASURED = {
    "proof": PROOF,
    "data": {"records": 1000, "contamination": 0},
    "citations": {"answers": 200, "citations": 130, "checked": 120, "citing": 110, "wrong": {}, "examples": []},
}


def params(**other):
    return gate.Params(comparison=Path("."), output=Path("."), domain_suite="legal_exam", **other)


def decide(found=None, measured=None, history=(), **other):
    return gate.decide(found or comparison(), MEASURED | (measured or {}), history, params(**other))


def failing(decision):
    """{rule: verdict} of the rules that block."""
    return {rule["name"]: rule["verdict"] for rule in decision["rules"] if rule["verdict"] not in rules.LETS_THROUGH}


def test_a_model_that_keeps_every_rule_passes():
    decision = decide()
    assert (decision["decision"], decision["mode"], failing(decision)) == ("pass", "replace", {})
    assert decision["reasons"][0].startswith("every rule passed")


def test_without_a_champion_the_base_takes_its_place_and_history_does_not_apply():
    decision = decide(comparison(champion=False), history=())
    assert (decision["decision"], decision["mode"]) == ("pass", "improve")
    by_name = {rule["name"]: rule["verdict"] for rule in decision["rules"]}
    assert by_name["anti-ratchet (legal_exam)"] == "not applicable"
    assert by_name["improve (legal_exam)"] == "pass"


@pytest.mark.parametrize(
    ("challenger", "rule", "verdict"),
    [
        (verdicts(318), None, None),  # half a point below, and little noise: the same items are right
        ("0" * 10 + verdicts(310, 390), "replace (legal_exam)", "fail"),  # 10 lost of 400: 2.5 points
        ("0" * 20 + "1" * 300 + "1" * 18 + "0" * 62, "replace (legal_exam)", "undecided"),  # half a point, with 38 discordant
    ],
)
def test_a_replacement_may_not_be_worse_than_the_margin(challenger, rule, verdict):
    found = comparison(suites={"legal_exam": suite(verdicts(200), challenger, verdicts(320))})
    blocked = failing(decide(found))
    assert blocked == ({} if rule is None else blocked | {rule: verdict})
    assert (rule is None) == (blocked == {})


def test_a_replacement_needs_a_reason():
    assert failing(decide(reason="")) == {"replace (legal_exam)": "fail"}


def test_improve_wants_a_certain_gain():
    equal = comparison(suites={"legal_exam": suite(verdicts(200), verdicts(322), verdicts(320))})
    assert failing(decide(equal, mode="improve")) == {"improve (legal_exam)": "undecided"}
    assert failing(decide(mode="improve")) == {}


def test_the_domain_suite_must_exceed_three_quarters():
    at_bound = comparison(suites={"legal_exam": suite(verdicts(200), verdicts(300), verdicts(300))})
    assert failing(decide(at_bound)) == {"domain accuracy (legal_exam)": "fail"}
    close = comparison(suites={"legal_exam": suite(verdicts(200), verdicts(302), verdicts(302))})
    assert failing(decide(close)) == {}
    assert failing(decide(close, domain_by="bound")) == {"domain accuracy (legal_exam)": "undecided"}


def test_few_items_decide_nothing():
    few = comparison(suites={"legal_exam": suite(verdicts(20, 40), verdicts(38, 40), verdicts(30, 40))})
    assert set(failing(decide(few)).values()) == {"undecided"}


def test_exams_of_the_sources_are_the_domain_each_with_its_rule():
    bar = suite(verdicts(200), verdicts(280), verdicts(280), name="bar")
    standing = suite(verdicts(10), verdicts(20), verdicts(20), embedded=True)
    decision = decide(comparison(suites={"bar": bar, "legal_exam": standing}))
    assert decision["domain"] == ["bar"]
    assert failing(decision) == {"domain accuracy (bar)": "fail"}
    assert decision["metrics"]["legal_exam"]["verdict"] == "not applicable"


def test_a_profile_without_a_domain_suite_is_refused():
    found = comparison(suites={"legal_exam": suite(verdicts(200), verdicts(336), verdicts(320), origin="standing")})
    decision = gate.decide(found, MEASURED, (), gate.Params(comparison=Path("."), output=Path(".")))
    assert failing(decision) == {"domain accuracy": "not measured"}


SMALL = {"profile_name": "small", "domain_bound": 0.5, "domain_bound_reason": "a tiny base"}


def test_the_lowered_bound_holds_for_the_embedded_exam_alone():
    numbers = (verdicts(100), verdicts(240), verdicts(240))
    assert failing(decide(comparison(suites={"legal_exam": suite(*numbers, embedded=True)}), **SMALL)) == {}
    real = decide(comparison(suites={"legal_exam": suite(*numbers)}), **SMALL)
    assert failing(real) == {"domain accuracy (legal_exam)": "fail"}
    assert real["metrics"]["legal_exam"]["bound"] == 0.75


@pytest.mark.parametrize("change", [{"profile_name": "llama2_7b"}, {"domain_bound_reason": " "}])
def test_a_lower_bound_needs_the_small_profile_and_a_reason(change):
    with pytest.raises(StepError, match="domain-bound 0.5"):
        params(**(SMALL | change))


def history(*values, items=None, at="2026-06-01"):
    mark = items or comparison()["suites"]["legal_exam"]["items"]
    return [
        {"at": at, "version": str(n), "accuracies": {"legal_exam": {"value": v, "items": mark}}} for n, v in enumerate(values)
    ]


def test_the_best_champion_of_the_year_is_not_slid_away_from():
    assert failing(decide(history=history(0.86, 0.83))) == {}  # 0.84 is 2 points below 0.86
    assert failing(decide(history=history(0.87, 0.83))) == {"anti-ratchet (legal_exam)": "fail"}


def noisy(challenger_better=40, worse=40):
    """400 items: champion 80 %, and a challenger that differs on 80 items: 80 % as well."""
    new = "0" * worse + "1" * (320 - worse) + "1" * challenger_better + "0" * (80 - challenger_better)
    return suite(verdicts(200), new, verdicts(320))


def test_the_best_of_many_equal_champions_is_freed_of_its_luck():
    """Scores around 80 % whose spread is what chance makes of equal models: the best, 84 %, counts for less.

    By hand: mean 0.7992, squares 0.0041, variance 0.2 / 400 / 2 = 0.00025: 0.7992 + (1 - 9 * 0.00025 / 0.0041) * 0.041 = 0.818.
    """
    equal = history(0.84, 0.78, 0.8, 0.79, 0.81, 0.77, 0.82, 0.78, 0.8, 0.81, 0.79)
    found = decide(comparison(suites={"legal_exam": noisy()}), history=equal)
    [rule] = [rule for rule in found["rules"] if rule["name"].startswith("anti-ratchet")]
    assert rule["verdict"] == "pass" and "84.0 % taken as 81." in rule["sentence"]


def test_a_steady_slide_is_held_against_the_best_although_there_are_many_champions():
    slide = history(0.92, 0.905, 0.89, 0.875, 0.86, 0.845, 0.83, 0.815)
    found = decide(comparison(suites={"legal_exam": noisy()}), history=slide)
    assert failing(found)["anti-ratchet (legal_exam)"] == "fail"


def test_the_present_champion_counts_once():
    found = decide(history=history(0.81, 0.8))
    [rule] = [rule for rule in found["rules"] if rule["name"].startswith("anti-ratchet")]
    assert "the best of 2 champions" in rule["sentence"]


def test_scores_are_shrunk_by_james_and_stein():
    """Mean 0.82, squares sum to 0.0026: with variance 0.0004 the factor is 1 - (5 - 3) * 0.0004 / 0.0026 = 0.6923."""
    values = [0.85, 0.79, 0.84, 0.82, 0.80]
    assert rules.best_of(values, 0.0004) == pytest.approx(0.82 + 0.69231 * 0.03, abs=1e-5)
    assert rules.best_of(values, 0.0) == 0.85
    assert rules.best_of(values, 1.0) == pytest.approx(0.82)
    assert rules.best_of(values[:3], 1.0) == 0.85


def test_releases_of_long_ago_or_on_other_items_do_not_count():
    today = datetime.date(2026, 11, 1)
    old = history(0.99, at="2025-10-31")
    assert failing(decide(history=old, as_of=today)) == {}
    assert failing(decide(history=history(0.99, at="2025-11-01"), as_of=today)) == {"anti-ratchet (legal_exam)": "fail"}
    assert failing(decide(history=history(0.99, items="others"))) == {}


def test_a_history_that_cannot_be_read_is_not_an_empty_one():
    assert failing(decide(history=None)) == {"anti-ratchet (legal_exam)": "not measured"}


@pytest.mark.parametrize(
    ("challenger", "expected"),
    [
        (verdicts(228), {}),  # exactly -3 points, certain
        (verdicts(226), {"general ability": "fail"}),  # -3.5 points, certain
        (verdicts(200), {"general ability": "fail"}),  # -10 points
        ("0" * 60 + "1" * 180 + "1" * 50 + "0" * 110, {"general ability": "undecided"}),  # -2.5, 110 discordant
    ],
)
def test_general_ability_against_the_base(challenger, expected):
    found = comparison(suites={"general": suite(verdicts(240), challenger, verdicts(240), name="general")})
    assert failing(decide(found)) == expected


@pytest.mark.parametrize(
    ("name", "answers", "expected"),
    [
        ("refusal", "1" * 90 + "0" * 10, None),
        ("refusal", "1" * 89 + "0" * 11, "fail"),
        ("refusal", "1" * 40, "undecided"),
        ("over_refusal", "1" * 90 + "0" * 10, None),
        ("over_refusal", "1" * 89 + "0" * 11, "fail"),
        ("over_refusal", "1" * 40, "undecided"),
    ],
)
def test_refusals(name, answers, expected):
    found = comparison(suites={name: suite(answers, answers, name=name, kind=name)})
    assert failing(decide(found)) == ({name: expected} if expected else {})


def test_prompts_of_the_sources_have_their_own_rule():
    more = suite("1" * 80, "1" * 60 + "0" * 20, name="xstest-refusal", kind="refusal")
    assert failing(decide(comparison(suites={"xstest-refusal": more}))) == {"xstest-refusal": "fail"}


@pytest.mark.parametrize(("broken", "endless", "expected"), [(10, 20, None), (21, 0, "fail"), (0, 21, "fail"), (21, 21, "fail")])
def test_answers_that_loop_or_do_not_end_are_not_well_formed(broken, endless, expected):
    """Of 200 answers 180 must be well formed; one that loops and does not end counts once."""
    rows = {role: make_rows("1" * 100, "over_refusal", kind="over_refusal", ended=True) for role in ("base", "challenger")}
    for row in rows["challenger"][:broken]:
        row["picked"] = "broken"
    for row in rows["challenger"][:endless]:
        row["ended"] = False
    found = {"origin": "standing", "kind": "over_refusal", "embedded": False, **compare.compare_suite("over_refusal", rows)}
    assert failing(decide(comparison(suites={"over_refusal": found}))) == ({"well-formed answers": expected} if expected else {})


def two_exams(second):
    """Two exams of 400, and both together; the second's challenger as given, champion 80 %."""
    bar, judge = (
        suite(verdicts(200), new, verdicts(320), name=name) for name, new in (("bar", verdicts(330)), ("judge", second))
    )
    both = suite(verdicts(400, 800), verdicts(650, 800), verdicts(640, 800), name="domain")
    return comparison(suites={"bar": bar, "judge": judge}) | {"domain": both}


def test_several_exams_are_judged_together_and_each_may_not_collapse():
    fine = decide(two_exams(verdicts(316)))  # a point below the champion: by itself undecided
    assert failing(fine) == {}
    assert fine["accuracies"]["domain"]["n"] == 800
    assert failing(decide(two_exams("0" * 18 + verdicts(302, 382)))) == {"no collapse (judge)": "fail"}


def compressed(name, value, n=400):
    loss = value if value is None else {"value": value, "low": value - 0.02, "high": value + 0.02}
    return {name: {"format": name, "suite": "legal_exam", "n": n, "loss": loss}}


def test_a_single_suite_with_nothing_right_is_shown_and_does_not_block():
    single = {"gptq:hard": {"format": "gptq", "suite": "hard", "n": 400, "loss": None}}
    assert failing(decide(comparison(compression=single))) == {}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (compressed("gptq", 0.049), {}),
        (compressed("gptq", 0.05), {"loss_gptq": "fail"}),
        (compressed("gptq-act-order", 0.06), {"loss_gptq": "fail"}),
        (compressed("gptq", 0.01, n=40), {"loss_gptq": "undecided"}),
        (compressed("gguf", 0.079), {}),
        (compressed("gguf", 0.08), {"loss_gguf": "fail"}),
        (compressed("gguf", None), {"loss_gguf": "not measured"}),
    ],
)
def test_compression_losses(part, expected):
    assert failing(decide(comparison(compression=part))) == expected


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({"proof": PROOF | {"parity": 0.98}}, {"parity": "fail"}),
        ({"proof": PROOF | {"p95_first_token_s": 1.0}}, {"p95_first_token_s": "fail"}),
        ({"proof": PROOF | {"success_rate": 0.98}}, {"success_rate": "fail"}),
        ({"proof": {}}, {"parity": "not measured", "p95_first_token_s": "not measured", "success_rate": "not measured"}),
        ({"data": {"records": 1000, "contamination": 1}}, {"contamination": "fail"}),
        ({"data": {}}, {"contamination": "not measured"}),
        ({"citations": None}, {"citations": "not measured"}),
        ({"citations": {"answers": 9, "citations": 3, "wrong": {"repealed": 1}, "examples": ["x"]}}, {"citations": "fail"}),
    ],
)
def test_proof_data_and_citations(measured, expected):
    assert failing(decide(measured=measured)) == expected


def test_cost_is_judged_only_where_a_card_is_named():
    assert failing(decide()) == {}
    assert failing(decide(card="RTX 4090")) == {"cost_cny": "not measured"}

    def costing(**cards):
        return decide(measured={"proof": MEASURED["proof"] | {"cost_cny": cards}}, card="T4")

    assert failing(costing(T4=2000.0)) == {"cost_cny": "fail"}
    assert failing(costing(T4=1999.0)) == {}
    assert failing(costing(CPU=1.0)) == failing(costing(T4=None)) == {"cost_cny": "not measured"}


def test_a_suite_with_a_fault_is_not_measured():
    broken = {"origin": "sources", "kind": "choice", "embedded": False, "fault": "champion answered other items", "n": 400}
    decision = decide(comparison(suites={"legal_exam": broken}))
    assert set(failing(decision).values()) == {"not measured"}
    assert decision["metrics"]["legal_exam"]["challenger"] is None


def test_metrics_have_the_shape_that_retrain_json_promises():
    rows = decide()["metrics"]
    keys = {"base", "champion", "challenger", "low", "high", "gain", "difference", "bound", "verdict", "n"}
    assert all(
        set(row) == keys and set(row["gain"]) == set(row["difference"]) == {"value", "low", "high"} for row in rows.values()
    )
    assert {"legal_exam", "general", "refusal", "over_refusal", "loss_gptq", "loss_gguf", "p95_first_token_s"} <= set(rows)
    assert [name for name in rows if "legal" in name and "exam" in name] == ["legal_exam"]
    assert rows["legal_exam"]["gain"]["value"] == pytest.approx(0.34)
    assert rows["legal_exam"]["difference"]["value"] == pytest.approx(0.04)
    assert rows["p95_short_answer_s"]["verdict"] == "not applicable"
    assert rows["loss_gptq"]["gain"] == {"value": None, "low": None, "high": None}
    json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize(
    ("option", "value"),
    [("domain_bound", 1.5), ("mode", "guess"), ("reason", "mood"), ("p95_s", 0.0), ("min_items", 0), ("domain_by", "luck")],
)
def test_a_bad_threshold_is_refused_with_its_name(option, value):
    with pytest.raises(StepError, match=option.replace("_", "-")):
        params(**{option: value})


def test_the_step_reads_its_artifacts_and_writes_the_decision(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    for name in ("comparison", "proof", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "comparison" / "comparison.json").write_text(json.dumps(comparison(champion=False)))
    (tmp_path / "comparison" / "answers.jsonl").write_text('{"id": "q1", "answer": "根据《合同法》第五十二条，无效。"}\n')
    (tmp_path / "proof" / "parity.json").write_text(json.dumps({"checked": 50, "identical_answers": 50}))
    (tmp_path / "proof" / "loadtest.json").write_text(json.dumps(PROOF))
    rows = [{"card": "T4", "basis": "measured", "month_cny": 985.5}, {"card": "RTX 4090", "basis": "scaled", "month_cny": 1.0}]
    (tmp_path / "proof" / "cost.json").write_text(json.dumps({"rows": rows}))
    asked = {
        "suite": "bar",
        "question": "甲公司向乙公司出租厂房二十五年，超过二十年的部分效力如何？",
        "options": ["无效", "有效"],
    }
    write_lines(tmp_path / "comparison" / "questions.jsonl", [asked])
    record = {"instruction": "租赁期限最长多少年？", "input": "", "output": "二十年。", "history": [], "category": "instruction"}
    leak = record | {"instruction": "判断：" + asked["question"], "output": "无效"}
    article = leak | {"category": "statute", "provenance": {"derived": True}}  # an exam may quote the law
    write_lines(tmp_path / "data" / "records.jsonl", [record, leak, article])
    write_store(tmp_path / "data" / "statutes.jsonl", [Law("民法典", "2021-01-01", "2021-01-01", "s1", {"1": "为了保护"})])
    arguments = [f"--{name}={tmp_path / name}" for name in ("comparison", "proof", "data", "history")]
    (tmp_path / "history").write_text("[]")
    code = main(
        "legal_tasks.evaluation.gate",
        [*arguments, "--domain-suite", "legal_exam", "--as-of", "2026-11-01", "--output", str(tmp_path / "out")],
    )
    assert code == 0
    decision = json.loads((tmp_path / "out" / "decision.json").read_text())
    assert decision["decision"] == "refused"
    assert failing(decision) == {"citations": "fail", "contamination": "fail"}
    assert "合同法" in decision["reasons"][0]
    assert "1 of 3 training records" in decision["reasons"][1]
    assert "不予发布" in (tmp_path / "out" / "decision.md").read_text()
    assert "不予发布" in (tmp_path / "out" / "report.md").read_text()
    assert 'class="refused"' in (tmp_path / "out" / "report.html").read_text()


def test_the_history_is_that_of_the_release_state(tmp_path, monkeypatch):
    from legal_tasks.serving.state import Database

    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    with pytest.raises(StepError, match="there is no release state .*--history FILE"):
        gate.read_history(None)
    database = Database.create()
    assert gate.read_history(None) == []
    for number in (1, 2):
        folder = tmp_path / f"decision{number}"
        folder.mkdir()
        (folder / "decision.json").write_text(json.dumps({"accuracies": {"legal_exam": {"value": 0.8, "items": "i", "n": 400}}}))
        model = {"digest": str(number), "path": "p", "version": str(number), "decision": str(folder)}
        state = database.intend(model, "test")
        database.record("released", "test", state.revision, actual=model)
    found = gate.read_history(None)
    assert [entry["version"] for entry in found] == ["1", "2"]
    assert found[0]["accuracies"]["legal_exam"]["value"] == 0.8
    (tmp_path / "decision1" / "decision.json").unlink()
    assert gate.read_history(None) is None


def test_the_day_of_the_law_is_that_of_the_records(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"params": {"as_of": "2026-11-01"}}))
    assert gate.law_day(params(data=tmp_path)) == datetime.date(2026, 11, 1)
    assert gate.law_day(params(data=tmp_path, as_of=datetime.date(2026, 12, 1))) == datetime.date(2026, 12, 1)
    assert gate.law_day(params()) is None


def test_a_lowered_bound_on_the_command_line_exits_2(tmp_path, capsys):
    code = main(
        "legal_tasks.evaluation.gate", ["--comparison", str(tmp_path), "--domain-bound", "0.5", "--output", str(tmp_path / "o")]
    )
    assert code == 2
    assert "domain-bound-reason" in capsys.readouterr().err


def test_the_profile_for_injections_lets_nothing_through_outside_their_seats(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("LEXLOOP_FAULTS", raising=False)
    code = main(
        "legal_tasks.evaluation.gate", ["--profile", "faults", "--comparison", str(tmp_path), "--output", str(tmp_path / "o")]
    )
    assert code == 2
    assert "LEXLOOP_FAULTS" in capsys.readouterr().err
