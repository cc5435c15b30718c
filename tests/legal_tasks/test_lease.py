"""One at a time, also when the holder dies."""

import errno
import json
import os
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from legal_tasks import lease
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


@pytest.mark.parametrize("jump_s", [-3600.0, -60.0, 60.0, 3600.0])
def test_a_clock_that_jumps_ends_no_holder(tmp_path, repository, monkeypatch, jump_s):
    first = start(tmp_path / "lease", repository)
    first.stdout.readline()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump_s)
    waiter = Lease(tmp_path / "lease", {}, silence_s=30.0)
    assert [waiter.holder()["pid"] for _ in range(3)] == [first.pid] * 3 and lease.maybe_held(tmp_path / "lease")
    assert process_start(first.pid)
    first.communicate()
    assert waiter.holder() is None


def elsewhere(path):
    """A lease that another machine holds, where a process of ours has the holder's number."""
    holder = {
        "pid": os.getpid(),
        "pid_start": "1",
        "session": 0,
        "host": socket.gethostname(),
        "place": "another boot",
        "started": 0,
    }
    path.write_text(json.dumps(holder))


def beats(path, count):
    """Heartbeats of another machine, whose clock is an hour behind."""
    for number in range(count):
        time.sleep(0.1)
        os.utime(path, (time.time() - 3600 + number, time.time() - 3600 + number))


def test_a_holder_on_another_machine_is_judged_by_its_silence_alone(tmp_path):
    elsewhere(tmp_path / "lease")
    beats(tmp_path / "lease", 1)
    waiter = Lease(tmp_path / "lease", {}, silence_s=1.0)
    for _ in range(20):
        assert waiter.holder() is not None, "it was heard within the last second"
        beats(tmp_path / "lease", 1)
    began = time.monotonic()
    while waiter.holder() is not None:
        assert time.monotonic() - began < 20
        time.sleep(0.05)
    assert time.monotonic() - began >= 1.0


def test_time_in_which_the_waiter_was_stopped_is_not_the_holders_silence(tmp_path, monkeypatch):
    elsewhere(tmp_path / "lease")
    waiter = Lease(tmp_path / "lease", {}, silence_s=60.0)
    assert waiter.holder() is not None
    later = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: later() + 1000)
    assert waiter.holder() is not None


def test_a_dead_holder_of_this_place_counts_for_moments_and_one_of_another_for_a_day(tmp_path):
    path = tmp_path / "lease"
    elsewhere(path)
    dead = json.loads(path.read_text()) | {"place": lease.place()}
    for age_s, here, held in ((10, True, True), (3600, True, False), (3600, False, True), (2 * 86400, False, False)):
        path.write_text(json.dumps(dead if here else dead | {"place": "another boot"}))
        os.utime(path, (time.time() - age_s, time.time() - age_s))
        assert lease.maybe_held(path) == held
    path.unlink()
    assert not lease.maybe_held(path)


def test_a_heartbeat_that_the_disk_refuses_is_followed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.02)
    refused, real = [], os.utime

    def utime(path, *rest, **named):
        if len(refused) < 3:
            refused.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, *rest, **named)

    with Lease(tmp_path / "lease", {}):
        before = (tmp_path / "lease").stat().st_mtime_ns
        monkeypatch.setattr(os, "utime", utime)
        deadline = time.monotonic() + 10
        while (tmp_path / "lease").stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert len(refused) == 3
