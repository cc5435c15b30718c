"""What the releaser says of itself: var/releaser.json, and whether it is alive.

Its heartbeat is the modification time of an empty file, set to the seconds of the machine's monotonic clock: that needs no room
on the disk, and no clock that somebody may set. A reader in another place (legal_tasks/lease.py), where that clock and the
process number mean nothing, goes by the time that stands in the file.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from legal_tasks.lease import place, process_start
from legal_tasks.step import var_folder

STALE_S = 10.0


def status_path() -> Path:
    return var_folder() / "releaser.json"


def beat_path() -> Path:
    return var_folder() / "releaser.beat"


def beat() -> None:
    """Say that this process, the releaser, is alive."""
    now = time.monotonic()
    with suppress(OSError):  # the next one may reach the disk
        if not beat_path().exists():
            beat_path().touch()
        os.utime(beat_path(), (now, now))


def write_status(status: dict[str, Any]) -> None:
    """Replace what stands in var/releaser.json; OSError leaves it as it was."""
    own = {"pid": os.getpid(), "pid_start": process_start(os.getpid()), "place": place(), "heartbeat": time.time()}
    temporary = status_path().with_name("releaser.json.part")
    try:
        temporary.write_text(json.dumps({**status, **own}, ensure_ascii=False, indent=1, default=str) + "\n", "utf-8")
        os.replace(temporary, status_path())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_status() -> dict[str, Any]:
    """What var/releaser.json says, with `alive`: whether the releaser gave a sign of life in the last STALE_S seconds."""
    path = status_path()
    if not path.is_file():
        return {"production": None, "failed": None, "alive": False}
    status = json.loads(path.read_text("utf-8"))
    return {**status, "alive": not status["stopped"] and _is_alive(status)}


def _is_alive(status: dict[str, Any]) -> bool:
    if status.get("place") != place():
        return abs(time.time() - status["heartbeat"]) < STALE_S
    if process_start(status["pid"]) != status["pid_start"]:
        return False
    with suppress(FileNotFoundError):
        return 0 <= time.monotonic() - beat_path().stat().st_mtime < STALE_S
    return False
