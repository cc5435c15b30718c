"""The choice among candidates, through its command line, on decisions that the gate's own code has made."""

import json

import pytest

pytest.importorskip("scipy")

from legal_tasks.artifacts import read_manifest  # noqa: E402
from legal_tasks.notes import judged, listed, read_run  # noqa: E402
from legal_tasks.retrain import decide as decide_run  # noqa: E402
from legal_tasks.step import EXIT_CALLER, EXIT_DONE, EXIT_SKIPPED, main  # noqa: E402
from tests.legal_tasks.evaluation.test_gate import comparison, decide, suite, verdicts  # noqa: E402

UNCHANGED = "unchanged: 0123 is version 7 in production and answers"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


class Run:
    """The folder of a run whose candidates are added one after the other."""

    def __init__(self, root):
        self.root, self.folder, self.bases, self.failed = root, root / "runs" / "r", [], {}

    def add(self, base, right, size=1000, champion=True):
        """A candidate that has `right` of 400 questions of the domain suite right (the champion 320)."""
        old = {"champion": verdicts(320)} if champion else {}
        made = comparison(champion, suites={"legal_exam": suite(verdicts(200), verdicts(right), **old)})
        notes = self.notes(base, size)
        write(self.root / "compare" / base / "comparison.json", made)
        write(notes / "compare.json", {"artifact": str(self.root / "compare" / base)})
        gate = self.root / "gate" / base
        write(gate / "decision.json", decide(made))
        (gate / "report.html").write_text(f"<p>{base}</p>")
        write(notes / "gate.json", {"artifact": str(gate)})

    def notes(self, base, size):
        notes = self.folder / str(len(self.bases))
        self.bases.append(base)
        formats = {"merged": {"size_bytes": size}}
        write(notes / "compress.json", {"artifact": str(self.root / "compress" / base), "report": {"formats": formats}})
        return notes

    def add_unchanged(self, base, right, size=1000):
        """What production runs: measured by compare, not judged again."""
        self.add(base, right, size)
        notes = self.folder / str(len(self.bases) - 1)
        (notes / "gate.json").unlink()
        write(notes / "prove.json", {"skipped": True, "reason": UNCHANGED})

    def fail(self, base, task, error=None):
        notes = self.notes(base, 1000)
        self.failed[base] = task
        if error:
            write(notes / f"{task}.json", {"error": error, "exit": 2})

    def choose(self):
        """(exit code, the choice's own note)"""
        given = {base: str(self.folder / str(index)) for index, base in enumerate(self.bases)}
        note = self.folder / "choose.json"
        argv = ["--candidates", json.dumps(given), "--failed", json.dumps(self.failed), "--report", str(note)]
        code = main("legal_tasks.evaluation.choose", [*argv, "--store", str(self.root / "store")])
        return code, json.loads(note.read_text("utf-8"))

    def decision(self):
        return json.loads((self.root / judged(read_run(self.folder)) / "decision.json").read_text("utf-8"))


@pytest.fixture
def line(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Run(tmp_path)


def test_the_best_of_those_that_passed_is_chosen_and_every_candidate_is_named(line):
    line.add("a", 340)
    line.add("b", 348)
    line.add("c", 200)  # as good as the base: refused
    code, note = line.choose()
    assert code == EXIT_DONE and note["report"]["decision"] == "pass"
    assert (note["report"]["base"], note["report"]["chosen"]) == ("b", 1)
    assert note["report"]["model"].endswith("/compress/b") and note["report"]["metrics"]["legal_exam"] == 0.87
    decision = line.decision()
    assert [(each["base"], each["decision"], each["accuracy"]) for each in decision["candidates"]] == [
        ("a", "pass", 0.85),
        ("b", "pass", 0.87),
        ("c", "refused", 0.5),
    ]
    assert decision["decision"] == "pass" and decision["accuracies"]["legal_exam"]["value"] == 0.87
    assert "b 87.0%" in decision["reasons"][-1] and "c refused 50.0%" in decision["reasons"][-1]
    folder = line.root / "store" / "evaluation.choose"
    [made] = folder.iterdir()
    assert (made / "report.html").read_text() == "<p>b</p>" and "| b | pass | 87.0%" in (made / "decision.md").read_text()
    assert set(read_manifest(made)["inputs"]) == {"gate[a]", "gate[b]", "gate[c]"}


def test_a_better_model_that_the_gate_refused_is_not_chosen(line):
    line.add("a", 336)
    line.add("b", 348)
    gate = line.root / "gate" / "b" / "decision.json"
    write(gate, json.loads(gate.read_text()) | {"decision": "refused", "reasons": ["refusal: fail: 40 % of harmful prompts"]})
    code, note = line.choose()
    assert code == EXIT_DONE and (note["report"]["base"], note["report"]["decision"]) == ("a", "pass")


@pytest.mark.parametrize(("sizes", "best"), [((2000, 1000), "b"), ((1000, 2000), "a"), ((1000, 1000), "a")])
def test_equally_good_models_are_told_apart_by_size_then_by_order(line, sizes, best):
    line.add("a", 340, sizes[0])
    line.add("b", 340, sizes[1])
    assert line.choose()[1]["report"]["base"] == best


def test_where_none_passed_the_run_is_refused_with_the_reasons_of_each(line):
    line.add("a", 220)
    line.add("b", 200)
    line.fail("c", "train", "Traceback\n  ...\nno room in /data")
    code, note = line.choose()
    assert code == EXIT_DONE and (note["report"]["decision"], note["report"]["base"]) == ("refused", "a")
    reasons = line.decision()["reasons"]
    given = {base: json.loads((line.root / "gate" / base / "decision.json").read_text())["reasons"] for base in "ab"}
    told = [f"{base}: {reason}" for base in "ab" for reason in given[base]]
    assert all(given.values()) and reasons == [*told, "c: train failed: no room in /data"]
    write(line.folder / "release.json", {"skipped": True, "reason": "refused: ..."})
    assert decide_run("success", read_run(line.folder)) == ("refused", reasons)


def test_a_candidate_that_failed_loses_the_others_nothing_and_is_named(line):
    line.fail("a", "train")
    line.add("b", 340)
    code, note = line.choose()
    assert code == EXIT_DONE and note["report"]["base"] == "b"
    assert note["report"]["candidates"][0]["reasons"] == ["train failed: it ended without a word: see its log"]
    write(line.folder / "release.json", {"report": {"version": "8"}})
    decision, reasons = decide_run("success", read_run(line.folder))
    assert decision == "released" and "a failed" in reasons[-1]


def test_an_earlier_attempts_decision_does_not_count_for_a_candidate_that_failed(line):
    line.add("a", 380)
    line.add("b", 340)
    line.failed["a"] = "merge"
    assert line.choose()[1]["report"]["base"] == "b"


def test_where_all_failed_the_step_fails_and_names_them(line, capsys):
    line.fail("a", "train", "no room")
    line.fail("b", "evaluate")
    code, note = line.choose()
    assert code == EXIT_CALLER and "a: train failed: no room; b: evaluate failed" in note["error"]
    assert decide_run("failed", read_run(line.folder))[0] == "failed"


def test_production_stays_where_what_it_runs_is_the_best(line):
    line.add_unchanged("a", 348)
    line.add("b", 340)
    code, note = line.choose()
    assert code == EXIT_SKIPPED and note["reason"].startswith(UNCHANGED) and "b pass 85.0%" in note["reason"]
    assert [each["accuracy"] for each in listed(read_run(line.folder))] == [0.87, 0.85]
    assert decide_run("success", read_run(line.folder))[0] == "unchanged"


def test_a_better_candidate_takes_the_place_of_what_production_runs(line):
    line.add_unchanged("a", 340)
    line.add("b", 348)
    code, note = line.choose()
    assert code == EXIT_DONE and note["report"]["base"] == "b"


def test_one_candidate_alone_is_told_as_the_gate_told_it(line):
    line.add("a", 340)
    code, note = line.choose()
    gate = json.loads((line.root / "gate" / "a" / "decision.json").read_text())
    assert code == EXIT_DONE and line.decision()["reasons"] == gate["reasons"] == note["report"]["reasons"]
    assert listed(read_run(line.folder)) == []


def test_several_exams_are_compared_by_all_their_items_together(line):
    line.add("a", 340)
    line.add("b", 336)
    for base, value in (("a", 0.8), ("b", 0.9)):
        path = line.root / "gate" / base / "decision.json"
        decision = json.loads(path.read_text())
        write(path, decision | {"accuracies": decision["accuracies"] | {"domain": {"value": value, "n": 800}}})
    assert line.choose()[1]["report"]["base"] == "b"


def test_a_candidate_without_any_decision_is_an_error_that_names_it(line):
    line.add("a", 340)
    line.notes("b", 1000)
    code, note = line.choose()
    assert code == EXIT_CALLER and "--candidates b" in note["error"] and "--failed" in note["error"]


@pytest.mark.parametrize(("given", "named"), [("{}", "at least one base"), ("[1]", "--candidates"), ("nonsense", "--candidates")])
def test_a_wrong_list_of_candidates_is_refused(line, capsys, given, named):
    assert main("legal_tasks.evaluation.choose", ["--candidates", given]) == EXIT_CALLER
    assert named in capsys.readouterr().err
