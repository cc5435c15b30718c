"""A seat for injections around serving: a var folder, ports and engines of our own, and one question."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from legal_tasks.serving import engines
from legal_tasks.serving.state import Database

TINY = Path(__file__).resolve().parents[2] / "tests" / "legal_tasks" / "serving" / "tiny_engine.py"
QUESTION = {"model": "legal-llm", "messages": [{"role": "user", "content": "什么是合同？"}]}


@contextlib.contextmanager
def seat(folder: Path, tiny: bool = True) -> Iterator[Path]:
    """A var folder and ports of our own while the fault runs; engines are tiny servers, or the real ones."""
    var = folder / "var"
    (var / "logs").mkdir(parents=True)
    first = 21000 + os.getpid() % 200 * 100
    values = {"LEXLOOP_VAR": str(var), "LEXLOOP_ENGINE_PORT": str(first), "LEXLOOP_STORE": str(folder / "store")}
    values["LEXLOOP_GATEWAY_PORT"] = str(engines.free_port(first + 90))
    if tiny:
        values["LEXLOOP_ENGINE_ARGV"] = json.dumps([sys.executable, str(TINY), "{model}", "{port}", "{name}"])
    old = {name: os.environ.get(name) for name in (*values, "LEXLOOP_ENGINE_ARGV", "MLFLOW_TRACKING_URI")}
    for name in old:
        os.environ.pop(name, None)
    os.environ.update(values)
    Database.create()
    try:
        yield var
    finally:
        for name, value in old.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def wait_for(check: Callable[[], Any], timeout_s: float, what: str) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain for {what}"
        time.sleep(0.05)
    return found


def ask(url: str, key: str, **changes: Any) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/chat/completions",
        json=QUESTION | changes,
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    )
