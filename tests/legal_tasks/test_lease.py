"""One at a time, also when the holder dies."""

import subprocess
import sys
import textwrap
import time

from legal_tasks.lease import Lease, process_start

HOLD = """
import sys, time
from pathlib import Path
from legal_tasks.lease import Lease
with Lease(Path(sys.argv[1]), {}, poll_s=0.05) as lease:
    print("held", lease.waited, flush=True)
    sys.stdin.read()
"""


def start(path, repository):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(repository)},
    )


def test_a_second_holder_waits_until_the_first_lets_go(tmp_path, repository):
    first = start(tmp_path / "lease", repository)
    assert first.stdout.readline().strip() == "held False"
    second = start(tmp_path / "lease", repository)
    said = second.stdout.readline()
    assert "waiting" in said
    first.communicate()
    assert second.stdout.readline().strip() == "held True"
    second.communicate()
    assert not (tmp_path / "lease").exists()


def test_a_killed_holder_loses_the_lease_at_once(tmp_path, repository):
    first = start(tmp_path / "lease", repository)
    first.stdout.readline()
    first.kill()
    first.wait()
    started = time.monotonic()
    with Lease(tmp_path / "lease", {}, poll_s=0.05):
        assert time.monotonic() - started < 5


def test_a_silent_holder_is_ended_before_its_lease_is_taken(tmp_path, repository):
    first = start(tmp_path / "lease", repository)
    first.stdout.readline()
    subprocess.run(["kill", "-STOP", str(first.pid)], check=True)
    with Lease(tmp_path / "lease", {}, silence_s=3.0, poll_s=0.1):
        assert process_start(first.pid) is None
    first.wait()
