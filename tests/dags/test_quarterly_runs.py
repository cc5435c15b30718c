"""What Airflow makes of candidates that end well, badly or unchanged: whole quarterly runs, steps that take no time."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from legal_tasks.notes import listed, origin, read_run
from legal_tasks.retrain import decide
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow
BASES = ["current", "embedded-small"]


class Seat:
    def __init__(self, root: Path):
        self.root = root
        real = Path(os.environ.get("LEXLOOP_ENV_DIR", REPOSITORY / "var" / "env"))
        self.airflow = real / "orchestrator" / "bin" / "airflow"
        (root / "env" / "ml" / "bin").mkdir(parents=True)
        (root / "env" / "orchestrator").symlink_to(real / "orchestrator")
        python = root / "env" / "ml" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("stand_in.py")} "$@"\n')
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        self.values = {
            **{"PATH": "/usr/bin:/bin", "HOME": str(root), "AIRFLOW_HOME": str(root), "LEXLOOP_PROFILE": "small"},
            **{"AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
            **{"AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"), "LEXLOOP_ENV_DIR": str(root / "env")},
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}",
        }
        self.command("db", "migrate")
        self.command("pools", "set", "training", "1", "one training at a time")

    def command(self, *words, **values):
        argv = [str(self.airflow), *words]
        return subprocess.run(argv, env=self.values | values, capture_output=True, text=True, timeout=300)

    def run(self, name, **ends):
        """({task: state}, state of the run, its notes) of a run whose steps end with the exit codes of `ends`."""
        var = self.root / name
        var.mkdir()
        (var / "stand_in.json").write_text(json.dumps(ends))
        values = {"LEXLOOP_VAR": str(var)}
        done = self.command("dags", "test", "quarterly_retrain", "-c", json.dumps({"bases": BASES}), **values)
        folder = next((var / "runs").iterdir())
        shown = self.command("tasks", "states-for-dag-run", *origin(folder), "--output", "json").stdout
        rows = json.loads(shown[shown.index("[") :])
        states = {row["task_id"] + str(row.get("map_index", "")).replace("-1", ""): row["state"] for row in rows}
        state = "success" if "successful" in done.stdout and "Marking run" in done.stdout else "failed"
        return states, state, read_run(folder)


@pytest.fixture(scope="module")
def seat(tmp_path_factory):
    return Seat(tmp_path_factory.mktemp("seat"))


def test_the_better_one_is_released(seat):
    states, state, notes = seat.run("both")
    assert state == "success" and set(states.values()) == {"success"}
    assert "training.lora" in notes["train"]["argv"][1] and 'training.lora.base="embedded-small"' in notes["train"]["argv"]
    assert notes["release"]["argv"][-1] == notes["compress"]["artifact"] and decide(state, notes)[0] == "released"


def test_a_failed_candidate_loses_the_other_one_nothing(seat):
    states, state, notes = seat.run("one", **{"training.lora embedded-small": 2})
    assert (states["train1"], states["gate1"], states["release"], state) == ("failed", "upstream_failed", "success", "success")
    assert [each["decision"] for each in listed(notes)] == ["pass", "failed"]
    decision, reasons = decide(state, notes)
    assert decision == "released" and "embedded-small failed" in reasons[-1]


def test_where_both_fail_the_run_fails_and_names_both(seat):
    states, state, notes = seat.run("none", **{"training.lora": 2})
    assert (states["choose"], states["release"], state) == ("failed", "upstream_failed", "failed")
    decision, reasons = decide(state, notes)
    assert decision == "failed" and "embedded: train failed" in reasons[0] and "embedded-small: train failed" in reasons[0]


def test_an_unchanged_candidate_that_is_not_the_best_gives_way(seat):
    states, state, notes = seat.run("gives-way", **{"serving.prove embedded": 99})
    assert (states["prove0"], states["gate0"], states["gate1"], states["release"]) == ("skipped", "skipped", "success", "success")
    assert [each["decision"] for each in listed(notes)] == ["unchanged", "pass"] and decide(state, notes)[0] == "released"


def test_an_unchanged_candidate_that_is_the_best_stays(seat):
    states, state, notes = seat.run("stays", **{"serving.prove embedded-small": 99})
    assert (states["choose"], states["release"], state) == ("skipped", "skipped", "success")
    assert decide(state, notes)[0] == "unchanged"


def test_where_the_data_fail_nothing_is_chosen_and_the_run_fails(seat):
    states, state, notes = seat.run("data", **{"data.split": 2})
    assert (states["split"], states["choose"], states["release"], state) == ("failed", "failed", "upstream_failed", "failed")
    assert decide(state, notes) == ("failed", ["split: data.split was told to end with 2"])


def test_a_run_that_is_skipped_before_it_begins_chooses_nothing(seat):
    states, state, _ = seat.run("skipped", **{"data.collect": 99})
    assert (states["bases"], states["choose"], states["release"], state) == ("skipped", "skipped", "skipped", "success")
