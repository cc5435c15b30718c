"""Two people who start at the same moment: one works, the other says so and waits."""

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

HOLD = "import sys, time\nwith {module}.alone():\n    print('in', flush=True)\n    sys.stdin.read()\n"
PROGRAMS = {name: f"from legal_tasks import {name}\n{HOLD.format(module=name)}" for name in ("services", "setup")}


@pytest.fixture
def start(tmp_path):
    values = {**os.environ, "LEXLOOP_VAR": str(tmp_path / "var"), "LEXLOOP_ENV_DIR": str(tmp_path / "env")}
    started = []

    def start(name, program=""):
        argv = [sys.executable, "-c", program or PROGRAMS[name]]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(argv, env=values, cwd=REPOSITORY, **pipes))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_second_names_the_first_and_waits_for_it(start, name):
    first = start(name)
    assert first.stdout.readline() == "in\n"
    second = start(name)
    said = second.stdout.readline()
    assert said.startswith(f"process {first.pid} ") and said.endswith("waiting for it\n")
    first.stdin.close()
    assert second.stdout.readline() == "in\n" and first.wait(10) == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_one_that_was_killed_holds_up_nobody(start, name):
    first = start(name)
    assert first.stdout.readline() == "in\n"
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert start(name).stdout.readline() == "in\n"


def test_who_comes_after_a_killed_one_waits_for_the_databases_that_it_was_making(tmp_path, start):
    """The migration goes on with the lock: nobody ends it halfway."""
    go = tmp_path / "go"
    program = (
        "import subprocess, sys, time\nfrom legal_tasks import services\n"
        "with services.alone() as held:\n"
        f"    wait = 'while [ ! -e {go} ]; do sleep 0.05; done'\n"
        "    child = subprocess.Popen(['sh', '-c', wait], start_new_session=True, pass_fds=(held,))\n"
        "    print('making', flush=True)\n    time.sleep(600)\n"
    )
    first = start("services", program)
    assert first.stdout.readline() == "making\n"
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = start("services")
    assert "waiting for it" in second.stdout.readline()  # the child alone holds the lock now
    go.touch()
    assert second.stdout.readline() == "in\n"
