"""Wait beside a process that already makes what a step wants, and show how far it is.

    LEXLOOP_STEP='["python", "-m", ...]' python -m legal_tasks.attend LEASE

A step that finds its key held becomes this process, so that only the one that works looks like a worker. When the lease
is free it becomes the step again: which finds the artifact, or, where the holder died, goes on from its checkpoint.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from legal_tasks.lease import Lease
from legal_tasks.step import EXIT_CALLER

COMMAND = "LEXLOOP_STEP"  # what to become again; not an argument, so that no search in /proc takes a follower for the step
TELL_S = 10.0
POLL_S = 0.5


def become_follower(lease: Lease) -> None:
    """Replace this process by one that waits for the lease and then by this process's command again; does not return."""
    sys.stdout.flush()
    argv = [sys.executable, "-m", "legal_tasks.attend", str(lease.path)]
    os.execve(sys.executable, argv, {**os.environ, COMMAND: json.dumps([sys.executable, *sys.orig_argv[1:]])})


def copy_progress(holder: dict[str, Any]) -> dict[str, Any] | None:
    """What the holder last said of its progress, noted as this attempt's own too."""
    source, target = holder.get("progress"), os.environ.get("LEXLOOP_PROGRESS")
    if not source or not Path(source).is_file():
        return None
    text = Path(source).read_text("utf-8")
    if target and Path(target).absolute() != Path(source).absolute():
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        part = Path(target).with_name(Path(target).name + ".part")
        part.write_text(text, "utf-8")
        os.replace(part, target)
    return json.loads(text)


def follow(lease: Lease) -> None:
    """Until the lease is free: touch it, tell the holder's progress every TELL_S seconds."""
    told = 0.0
    attached = None
    while (holder := lease.holder()) is not None:
        if holder["pid"] != attached:
            attached = holder["pid"]
            started = time.strftime("%H:%M:%S", time.localtime(holder["started"]))
            print(f"attached to process {attached}, which has been at it since {started}: following it", flush=True)
        state = copy_progress(holder)
        if state and time.monotonic() - told > TELL_S:
            told = time.monotonic()
            print(f"progress {state['done']:g}/{state['total']:g} (process {attached})", flush=True)
        time.sleep(POLL_S)
    print(f"process {attached} is done or gone", flush=True)


def main(argv: list[str]) -> int:
    command = json.loads(os.environ.pop(COMMAND, "[]"))
    if len(argv) != 1 or not command:
        print(__doc__, file=sys.stderr)
        return EXIT_CALLER
    follow(Lease(Path(argv[0]), {}))
    os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
