"""An attempt outlives its starter, is attached to, and ends at once when a living starter says so."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from legal_tasks.lease import process_start

STEP = '''
"""Count to a file."""
import sys, time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from legal_tasks.step import Output, main, progress

VERSION = 1
REUSE = "{reuse}"

@dataclass(frozen=True)
class Params:
    go: Annotated[str, "work until this file is there"]
    output: Annotated[Path, Output("folder with done.txt")]

@dataclass(frozen=True)
class Report:
    rounds: int

def run(params):
    rounds = 0
    while not Path(params.go).exists():
        rounds += 1
        progress(rounds, 1000)
        time.sleep(0.1)
    (params.output / "done.txt").write_text("done")
    return Report(1)

if __name__ == "__main__":
    sys.exit(main("slow_step"))
'''

# As Airflow does: a scheduler starts a runner, which starts the step in a session of its own and reads its output.
RUNNER = """
import subprocess, sys
child = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
print(child.pid, flush=True)
for line in child.stdout:
    open(sys.argv[1], "ab").write(line)
sys.exit(child.wait())
"""


class Starter:
    """Starts attempts of the step; `said(n)` is what attempt n printed while its runner lived."""

    def __init__(self, folder, repository, reuse):
        self.folder, self.count = folder, 0
        (folder / "slow_step.py").write_text(textwrap.dedent(STEP.replace("{reuse}", reuse)))
        self.values = {**os.environ, "PYTHONPATH": f"{repository}:{folder}", "LEXLOOP_STORE": str(folder / "store")}
        self.values |= {"LEXLOOP_VAR": str(folder), "LEXLOOP_RESULT": str(folder / "result.json"), "PYTHONUNBUFFERED": "1"}
        self.values |= {"LEXLOOP_PROGRESS": str(folder / "progress.json")}
        self.values.pop("MLFLOW_TRACKING_URI", None)

    def start(self):
        """(runner, the step's process id)"""
        self.count += 1
        step = [sys.executable, "-m", "slow_step", "--go", str(self.folder / "go")]
        argv = [sys.executable, "-c", RUNNER, str(self.folder / f"said-{self.count}"), *step]
        runner = subprocess.Popen(argv, stdout=subprocess.PIPE, env=self.values, text=True)
        return runner, int(runner.stdout.readline())

    def said(self, number):
        path = self.folder / f"said-{number}"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def starter(tmp_path, repository, request):
    one = Starter(tmp_path, repository, getattr(request, "param", "always"))
    yield one
    (tmp_path / "go").touch()


def until(check, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def test_a_step_whose_runner_is_killed_goes_on_and_the_next_attempt_attaches_and_returns_its_artifact(starter):
    runner, pid = starter.start()
    until(lambda: "progress" in starter.said(1))
    runner.kill()
    runner.wait()
    second, follower = starter.start()
    until(lambda: f"attached to process {pid}" in starter.said(2))
    words = open(f"/proc/{follower}/cmdline", "rb").read().split(b"\0")
    assert words[2] == b"legal_tasks.attend" and process_start(pid)  # only one process looks like the step
    until(lambda: "what started it is gone" in (starter.folder / "result.log").read_text())
    (starter.folder / "go").touch()
    assert second.wait(30) == 0
    result = json.loads(starter.said(2).strip().split("\n")[-1])
    assert result["reused"] and result["report"] == {"rounds": 1}


def test_a_step_told_to_end_by_a_living_runner_is_gone_in_five_seconds(starter):
    runner, pid = starter.start()
    until(lambda: "progress" in starter.said(1))
    began = time.monotonic()
    os.killpg(pid, signal.SIGTERM)
    assert runner.wait(10) == 128 + signal.SIGTERM and time.monotonic() - began < 5
    assert not list((starter.folder / "store").glob("slow_step/*")) and not list(
        (starter.folder / "store/.leases").glob("*.json")
    )


def test_a_follower_takes_over_when_the_process_that_it_follows_is_killed(starter):
    _, pid = starter.start()
    until(lambda: "progress" in starter.said(1))
    second, _ = starter.start()
    until(lambda: "attached to process" in starter.said(2))
    os.kill(pid, signal.SIGKILL)
    until(lambda: starter.said(2).count("progress") > 1 and "done or gone" in starter.said(2))
    (starter.folder / "go").touch()
    assert second.wait(30) == 0 and not json.loads(starter.said(2).strip().split("\n")[-1])["reused"]


@pytest.mark.parametrize("starter", ["never"], indirect=True)
def test_a_step_with_effects_ends_with_its_runner(starter):
    runner, pid = starter.start()
    until(lambda: "progress" in starter.said(1))
    runner.kill()
    runner.wait()
    until(lambda: process_start(pid) is None, 6)
