"""A training in a child process: what it says is passed on, its points go to MLflow, and it ends with its parent."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence

from legal_tasks import tracking

POINT = '{"point": '  # how a line begins that is a point of the curve
CHILD = "LEXLOOP_CHILD"  # set for what `follow` starts
PR_SET_PDEATHSIG = 1  # prctl(2), Linux
_libc = ctypes.CDLL(None, use_errno=True)


def is_child() -> bool:
    return CHILD in os.environ


def end_with_parent() -> None:
    """Let the kernel end this process when its parent ends, however that happens."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def tell_point(step: int, numbers: Mapping[str, float]) -> None:
    """In the child: a point for the parent, who alone speaks with MLflow."""
    print(json.dumps({"point": {"step": step, **numbers}}), flush=True)


def follow(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run `argv` to its end; (exit code, its last lines). A signal's number comes negative, as subprocess gives it."""
    tail: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        argv,
        env={**os.environ, CHILD: "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=end_with_parent,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(POINT):
                    numbers = json.loads(line)["point"]
                    tracking.log_metrics(numbers, step=numbers.pop("step"))
                else:
                    tail.append(line.rstrip())
                    print(line, end="", flush=True)
        except BaseException:
            process.kill()
            raise
    return process.returncode, "\n".join(tail)
