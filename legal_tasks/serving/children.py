"""Child processes in sessions of their own that end with the process that started them, even when that one is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from legal_tasks.lease import process_start
from legal_tasks.room import is_full

PR_SET_PDEATHSIG = 1  # prctl(2), Linux
_libc = ctypes.CDLL(None, use_errno=True)


def _end_with_parent() -> None:
    """In the child, before exec: get TERM when the parent ends (the thread that started it, says prctl(2))."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def spawn(argv: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen:
    """Start `argv` as the leader of a new session, its output appended to `log`, or lost without room for the file."""
    try:
        output = open(log, "ab")
    except OSError as error:
        if not is_full(error):
            raise
        output = open(os.devnull, "ab")
    with output as file:
        return subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )


def session_members(session: int) -> list[int]:
    """Live processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] not in ("Z", "X"):
            found.append(int(entry.name))
    return found


def end_session(session: int, started: str | None, grace_s: float = 15.0) -> None:
    """End all processes of a session that began with process `session`.

    `started` is that process's start time: where another process has its number by now, nothing is touched.
    """
    now = process_start(session)
    if now is not None and started is not None and now != started:
        return
    deadline = time.monotonic() + grace_s
    number = signal.SIGTERM
    asked: set[int] = set()
    while members := session_members(session):
        if time.monotonic() > deadline:
            number, asked, deadline = signal.SIGKILL, set(), time.monotonic() + 10
        for pid in members:
            if pid in asked:
                continue
            asked.add(pid)
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
