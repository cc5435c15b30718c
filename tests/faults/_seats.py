"""What the faults of serving share: a folder with ports of its own, models for it, and a releaser in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from legal_tasks import artifacts
from legal_tasks.serving import engines
from legal_tasks.serving.intent import bring
from legal_tasks.serving.state import Database

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = REPOSITORY / "tests" / "legal_tasks" / "serving" / "tiny_engine.py"
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


def model(folder: Path, text: str, mode: str = "answer", pause_s: float = 0.05, change: Callable[[Path], None] | None = None):
    """A finished compress artifact for the tiny engine; `change` spoils the variant before its manifest is written."""

    def fill(output: Path) -> dict[str, Any]:
        variant = output / "gptq"
        variant.mkdir()
        (variant / "model.safetensors").write_bytes(b"weights of " + text.encode())
        (variant / "config.json").write_text("{}")
        (variant / "tokenizer.json").write_text('{"model": {}}')
        (variant / "chat_template.jinja").write_text("{{ messages }}")
        (variant / "behaviour.json").write_text(json.dumps({"mode": mode, "text": text, "pause_s": pause_s}))
        if change is not None:
            change(variant)
        return {}

    name = {"text": text, "mode": mode, "change": getattr(change, "__name__", "")}
    return artifacts.Store(folder / "store").get_or_make("compression.compress", name, {}, fill)


class Releaser:
    """A releaser in its own process; called, it tells what is in production and ready."""

    def __init__(self, var: Path, **environment: str):
        self.var, self.environment = var, environment
        self.start()

    def start(self) -> None:
        with open(self.var / "logs" / "releaser.log", "ab") as log:
            argv = [sys.executable, "-m", "legal_tasks.serving.releaser"]
            values = {**os.environ, **self.environment}
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=REPOSITORY, env=values)

    def __call__(self) -> dict[str, Any] | None:
        path = self.var / "releaser.json"
        found = json.loads(path.read_text())["production"] if path.is_file() else None
        return found if found and found["ready"] else None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)


@contextlib.contextmanager
def releasing(var: Path, **environment: str) -> Iterator[Releaser]:
    """A releaser, with more in its environment; ended at the end."""
    one = Releaser(var, **environment)
    try:
        wait_for((var / "releaser.json").is_file, 30, "the releaser")
        yield one
    finally:
        one.process.terminate()
        one.process.wait(timeout=60)


def put(artifact: Any) -> float:
    return bring({"digest": artifact.digest, "path": str(artifact.path)}, "fault", {}, 60)


def ask(url: str, key: str, **changes: Any) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/chat/completions",
        json=QUESTION | changes,
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    )
