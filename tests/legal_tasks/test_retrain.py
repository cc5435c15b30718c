"""Following a run: what is refused before anything starts, and how a run's end is told."""

import argparse
import json
import subprocess
import sys

import pytest

from legal_tasks import retrain
from legal_tasks.step import StepError


def call(repository, tmp_path, *options):
    return subprocess.run(
        [sys.executable, "-m", "legal_tasks.retrain", *options],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(repository), "LEXLOOP_VAR": str(tmp_path / "var")},
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--profile", "nowhere"], "nowhere"),
        (["--sources", "/nowhere/s.yaml"], "/nowhere/s.yaml"),
        (["--set", "training.lora.nonsense=1"], "training.lora.nonsense"),
        (["--set", "training.lora.r=many"], "--r must be int"),
        (["--set", "no.such.step=1"], "no.such"),
        (["--set", "evaluation.gate.general_drop=1"], "whose value is 0.03 (profile small)"),
        (["--set", "data.clean.salt=x"], "only the installation may set it"),
        (["--profile", "faults"], "LEXLOOP_FAULTS=1"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(repository, tmp_path, options, named):
    done = call(repository, tmp_path, *options)
    assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "var").exists()


def test_a_profile_that_judges_less_strictly_than_the_installations_is_refused(repository, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "legal_tasks.retrain", "--profile", "small"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(repository), "LEXLOOP_VAR": str(tmp_path), "LEXLOOP_PROFILE": "qwen3_8b"},
    )
    assert done.returncode == 2 and "profile small would set" in done.stderr and "make up PROFILE=small" in done.stderr


def test_settings_of_the_shipped_profile_are_settings_of_their_steps():
    retrain.check_settings("small", ["training.lora.epochs=2"])
    with pytest.raises(StepError, match="training.lora.nonsense"):
        retrain.check_settings("small", ["training.lora.nonsense=2"])


@pytest.mark.parametrize(
    ("state", "notes", "decision", "reason"),
    [
        ("success", {"prove": {"skipped": True, "reason": "unchanged: it serves"}}, "unchanged", "unchanged: it serves"),
        ("success", {"release": {"skipped": True, "reason": "refused: too low"}}, "refused", "refused: too low"),
        ("failed", {"train": {"error": "no disk", "exit": 2}}, "failed", "train: no disk"),
        ("failed", {}, "failed", "see its log"),
    ],
)
def test_the_decision_is_read_from_the_steps_own_words(state, notes, decision, reason):
    found, reasons = retrain.decide(state, notes)
    assert found == decision and reason in reasons[0]


def test_a_released_run_has_its_gates_reasons(tmp_path):
    (tmp_path / "decision.json").write_text('{"decision": "pass", "reasons": ["better"], "metrics": {}}')
    assert retrain.decide("success", {"gate": {"artifact": str(tmp_path)}}) == ("released", ["better"])


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ({"task_id": "split", "map_index": -1}, "split"),
        ({"task_id": "train", "map_index": 1, "rendered_map_index": "embedded-small"}, "train [embedded-small]"),
        ({"task_id": "train", "map_index": 0, "rendered_map_index": None}, "train [0]"),
    ],
)
def test_a_mapped_task_is_named_with_its_candidate(task, name):
    assert retrain.name_of(task) == name


def task_of(name, state, start, index=-1):
    return {"task_id": name, "state": state, "start_date": start, "map_index": index, "duration": 1.0, "try_number": 1}


class Answers:
    """Airflow's side of a run that has ended: its tasks, and a log for those that left no word."""

    def __init__(self, tasks):
        self.tasks = tasks

    def call(self, method, path, params=None):
        if path.endswith("/taskInstances"):
            return {"task_instances": self.tasks}
        assert path.endswith("/taskInstances/train/logs/1") and params["map_index"] == 1
        return {"content": [{"event": "Killed"}]}


def test_a_candidates_failure_is_the_runs_only_where_the_run_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    tasks = [task_of("collect", "success", "1"), task_of("train", "success", "2", 0), task_of("train", "failed", "3", 1)]
    follower = retrain.Follower(Answers(tasks), "r", retrain.QUARTERLY)
    (follower.folder / "0").mkdir(parents=True)
    (follower.folder / "0" / "train.json").write_text('{"digest": "t"}')
    (follower.folder / "1").mkdir()
    (follower.folder / "choose.json").write_text('{"artifact": "/c", "report": {"chosen": 0, "candidates": []}}')
    went_well, failed = (retrain.gather(follower, follower.tasks(), state) for state in ("success", "failed"))
    assert went_well["train"] == {"digest": "t"} and retrain.decide("success", went_well)[0] == "released"
    decision, reasons = retrain.decide("failed", failed)
    assert decision == "failed" and reasons[0].startswith("train [1]:") and "Killed" in reasons[0]


def refused(tmp_path, monkeypatch, production):
    """The summary of a run that the gate refused, with `production` behind the gateway, and what is printed of it."""
    from legal_tasks.evaluation import rules

    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    follower = retrain.Follower(Answers([task_of("gate", "success", "1"), task_of("release", "skipped", "2")]), "r")
    follower.folder.mkdir(parents=True)
    gain = {"value": -0.026, "low": -0.061, "high": 0.009, "lower": -0.056, "upper": 0.004, "n": 1080}
    rule = rules.general_rule({"gain": gain, "challenger": {"n": gain["n"]}}, rules.Thresholds()).as_dict()
    decision = {"decision": "refused", "reasons": ["general ability: undecided"], "rules": [rule], "metrics": {}}
    (tmp_path / "decision.json").write_text(json.dumps(decision))
    (follower.folder / "gate.json").write_text(json.dumps({"artifact": str(tmp_path)}))
    (follower.folder / "release.json").write_text(
        '{"skipped": true, "reason": "refused: general ability", "report": {"version": "1"}}'
    )
    if production:
        (tmp_path / "releaser.json").write_text(json.dumps({"production": {"version": production}}))
    return retrain.summarise(follower, "success", 1.0)


@pytest.mark.parametrize(("production", "words"), [(None, "nothing is served"), ("6", "version 6 goes on serving")])
def test_a_refused_run_ends_with_how_near_it_was_and_what_can_be_done(tmp_path, monkeypatch, capsys, production, words):
    summary = refused(tmp_path, monkeypatch, production)
    arguments = argparse.Namespace(profile="small", sources=None, base=None, bases=None, dag=retrain.DAG, set=[])
    summary["next"] = retrain.way_out(arguments, retrain.seed_of(arguments), "http://127.0.0.1:8080/plugin/legal-models")
    retrain.print_summary(summary)
    said = capsys.readouterr().out
    assert summary["exit"] == 0 and summary["decision"] == "refused" and summary["production"] == production
    assert "general ability −2.6 points, bound −3.0; lower bound −5.6 points, bound −5.5" in said and words in said
    assert "make retrain 'ARGS=--set training.lora.seed=1'" in said and "http://127.0.0.1:8080/plugin/legal-models" in said
    assert [part["bound"] for part in summary["shortfalls"][0]["parts"]] == [-3.0, -5.5]
    assert summary["verdict"]["zh"].startswith("未通过：通用能力 −2.6 个百分点")


def test_the_command_with_another_seed_keeps_what_was_asked_for_and_is_a_shells(tmp_path):
    import os
    import shlex
    import shutil

    given = ["training.lora.epochs=2", "training.lora.seed=4", 'data.clean.x={"a": "b $c"}']
    arguments = argparse.Namespace(
        profile="faults", sources="a.yaml", base="embedded-small", bases=None, dag=retrain.DAG, set=given
    )
    command = retrain.way_out(arguments, retrain.seed_of(arguments), "page")["another seed"]
    if not shutil.which("make"):
        pytest.skip("make is missing")
    makefile = tmp_path / "Makefile"
    makefile.write_text("retrain:\n\t@printf '%s\\n' PROFILE=$(PROFILE) $(if $(SOURCES),--sources $(SOURCES)) $(ARGS)\n")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}  # of `make test`
    done = subprocess.run(shlex.split(command), cwd=tmp_path, capture_output=True, text=True, env=outside)
    words = ["PROFILE=faults", "--sources", "a.yaml", "--base", "embedded-small", "--set", "training.lora.epochs=2"]
    assert done.stdout.splitlines() == [*words, "--set", 'data.clean.x={"a": "b $c"}', "--set", "training.lora.seed=5"]


def test_a_run_that_was_skipped_as_a_whole_is_not_called_released():
    assert retrain.decide("success", {"collect": {}})[0] == "skipped"


def test_who_stops_following_hears_that_the_run_goes_on(tmp_path, monkeypatch, capsys):
    """Ctrl-C ends the following, not the run."""

    class Answers:
        url = "http://127.0.0.1:8080"

        def __init__(self, *_):
            pass

        def wait_for_dag(self, dag):
            pass

        def call(self, method, path, **_):
            if path.endswith("/taskInstances"):
                raise KeyboardInterrupt
            return {"state": "running", "is_paused": False, "next_dagrun_run_after": None}

    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    monkeypatch.setattr(retrain, "Airflow", Answers)
    monkeypatch.setattr(retrain.services, "up", lambda: False)
    assert retrain.main([]) == 130
    said = capsys.readouterr()
    run = next(line for line in said.out.splitlines() if line.startswith("run make__")).removeprefix("run ")
    assert f"the run {run} goes on" in said.err and f"/dags/monthly_retrain/runs/{run}" in said.err
    assert "make stop" in said.err and "Traceback" not in said.err
