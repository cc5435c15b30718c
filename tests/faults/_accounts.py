"""Two people who start at once, and another account of the machine that looks around."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from legal_tasks import services
from legal_tasks.services import marked_processes, python_of
from legal_tasks.step import REPOSITORY
from tests.faults import _seat
from tests.faults._seat import wait_for

NOBODY = 65534  # the account that owns nothing
UP_S = 900  # of two starts side by side on a busy machine


def _start() -> subprocess.Popen[str]:
    """What `make up` does after its set-up, begun."""
    argv = [str(python_of("orchestrator")), "-m", "legal_tasks.services", "up"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(argv, text=True, cwd=REPOSITORY, start_new_session=True, **pipes)  # type: ignore[call-overload]


def two_at_once(folder: Path) -> str:
    """S17: two first `make up` within a second; a third one whose forerunner is killed while it makes the databases."""
    with _seat.seat(folder, started=False) as s:
        first = _start()
        wait_for(lambda: (s.var / "up.lock").is_file() and (s.var / "up.lock").read_text(), "the first at work", 60, 0.02)
        second = _start()
        said = [each.communicate(timeout=UP_S)[0] for each in (first, second)]
        assert [first.returncode, second.returncode] == [0, 0], said
        assert not [text for text in said if "Traceback" in text], said
        assert f"process {first.pid} is starting the services already" in said[1], said[1]
        supervisors = [line for line in marked_processes().values() if "supervisor.supervisord" in line]
        assert len(supervisors) == 1, supervisors
        s.stop()

        shutil.rmtree(s.var)
        killed = _start()
        making = wait_for(
            lambda: [pid for pid, line in marked_processes().items() if " db migrate" in line or " db upgrade" in line],
            "a migration",
            120,
            0.02,
        )
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        third = _start()
        text = third.communicate(timeout=UP_S)[0]
        assert third.returncode == 0 and "waiting for it" in text and "Traceback" not in text, text
        assert services.is_up(), "Airflow does not answer after the third start"
        return f"the second waited for the first; one supervisor; killed over migration {making[0]}, the next waited and came up"


def _as_nobody(program: str, *arguments: str) -> str:
    """What a Python program says as an account that owns nothing; it sees the system's Python alone."""
    python = shutil.which("python3", path="/usr/bin:/bin") or "/usr/bin/python3"
    argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", python, "-I", "-c", program, *arguments]
    done = subprocess.run(argv, text=True, capture_output=True, cwd="/", timeout=300)
    assert done.returncode == 0, done.stderr[-800:]
    return done.stdout


LOOK = """
import json, os, sys
found = []
for folder, names, files in os.walk(sys.argv[1], onerror=lambda error: None):
    found += [os.path.join(folder, name) for name in [*names, *files] if os.access(os.path.join(folder, name), os.R_OK)]
lines = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("cmdline", "environ"):
        try:
            lines.append(open(f"/proc/{pid}/{name}", "rb").read().decode(errors="replace"))
        except OSError:
            pass
print(json.dumps({"files": found, "lines": lines}))
"""


def _secrets(var: Path) -> dict[str, str]:
    """{where: what} of every secret of the installation."""
    found = {str(path): path.read_text("utf-8").strip() for path in (var / "secrets").iterdir() if path.suffix != ".jsonl"}
    found |= {f"password of {name}": word for name, word in services.passwords().items()}
    return {where: word for where, word in found.items() if len(word) >= 12}


def another_account(folder: Path) -> str:
    """S18: nothing below var can be read by another account; no secret stands in a log, a command line or a page of /proc."""
    assert os.geteuid() == 0, "this fault takes the place of another account, for which it has to be root"
    os.environ["LEXLOOP_USERS"] = "alice:user,bob:op"
    with _seat.seat(folder) as s:
        argv = [sys.executable, "-m", "legal_tasks.serving.keys", "add", "--name", "probe"]
        key = subprocess.run(argv, text=True, capture_output=True, cwd=REPOSITORY, check=True).stdout.strip()
        s.trigger("s18")
        decision = s.wait_end("s18")
        folder.chmod(0o755)  # what the account could come through
        seen = json.loads(_as_nobody(LOOK, str(s.var)))
        assert not seen["files"], f"readable: {seen['files'][:5]}"
        known = _secrets(s.var) | {"an API key": key}
        lines = "\n".join(seen["lines"])
        shown = [where for where, word in known.items() if word in lines]
        assert not shown, f"in a command line: {shown}"
        logs = [path for path in s.var.rglob("*") if path.is_file() and (path.suffix == ".log" or "logs" in path.parts)]
        logged = [f"{where} in {path}" for path in logs for where, word in known.items() if word.encode() in path.read_bytes()]
        assert not logged, logged[:5]
        wide = [path for path in s.var.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077]
        assert len(logs) > 5 and len(known) >= 6, (len(logs), len(known))
        return (
            f"run ended {decision}; {sum(1 for _ in s.var.rglob('*'))} files and folders, none readable; {len(known)} secrets in "
            f"none of {len(logs)} logs; {len(wide)} with wider modes than 700 behind the closed folder"
        )
