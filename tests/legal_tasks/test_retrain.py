"""Following a run: what is refused before anything starts, and how a run's end is told."""

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
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(repository, tmp_path, options, named):
    done = call(repository, tmp_path, *options)
    assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "var").exists()


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
