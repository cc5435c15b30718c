"""A var folder of its own, model artifacts, and a releaser whose engines are tiny servers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from legal_tasks import artifacts
from legal_tasks.services import nginx_path
from legal_tasks.serving import engines, keys
from legal_tasks.serving.gateway import Gateway
from legal_tasks.serving.state import Database

TINY = Path(__file__).with_name("tiny_engine.py")


def _wait_for(check, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain"
        time.sleep(0.05)
    return found


@pytest.fixture
def var(tmp_path, monkeypatch):
    if nginx_path() is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path / "var"
    (folder / "logs").mkdir(parents=True)
    monkeypatch.setenv("LEXLOOP_VAR", str(folder))
    monkeypatch.setenv("LEXLOOP_STORE", str(tmp_path / "store"))
    Database.create()
    monkeypatch.setenv("LEXLOOP_ENGINE_ARGV", json.dumps([sys.executable, str(TINY), "{model}", "{port}", "{name}"]))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first = 20000 + os.getpid() % 200 * 100
    monkeypatch.setenv("LEXLOOP_GATEWAY_PORT", str(engines.free_port(first)))
    monkeypatch.setenv("LEXLOOP_ENGINE_PORT", str(first + 50))
    return folder


@pytest.fixture
def make_model(tmp_path):
    """make_model("one", mode="answer", **behaviour) -> folder of a finished compress artifact."""

    def make(text, mode="answer", **behaviour):
        def fill(folder):
            (folder / "gptq").mkdir()
            (folder / "gptq" / "model.safetensors").write_bytes(b"weights of " + text.encode())
            (folder / "gptq" / "behaviour.json").write_text(json.dumps({"mode": mode, "text": text, **behaviour}))
            return {}

        name = {"text": text, "mode": mode, **behaviour}
        return artifacts.Store(tmp_path / "store").get_or_make("compression.compress", name, {}, fill)

    return make


class Process:
    """A releaser in its own process."""

    def __init__(self, var):
        self.var, self.key = var, keys.add("test")
        self.log = open(var / "logs" / "releaser.log", "ab")
        self.start()

    def start(self):
        argv = [sys.executable, "-m", "legal_tasks.serving.releaser"]
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=self.log, cwd=Path(__file__).parents[3])

    def status(self):
        path = self.var / "releaser.json"
        return json.loads(path.read_text()) if path.is_file() else {"production": None, "phase": None}

    def production(self):
        production = self.status()["production"]
        return production if production and production["ready"] else None

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(timeout=40)


@pytest.fixture(scope="session")
def wait_for():
    """wait_for(check) -> the first true value of check(); fails after some time."""
    return _wait_for


@pytest.fixture
def releaser(var):
    process = Process(var)
    yield process
    if process.process.poll() is None:
        process.end()
    process.log.close()


@pytest.fixture
def make_gguf(tmp_path):
    """make_gguf(base_folder) -> folder of a finished compress artifact that holds the GGUF file alone."""
    pytest.importorskip("xllamacpp")

    def make(base, name="one"):
        from legal_tasks.compression import compress, gguf

        def fill(folder):
            shutil.copytree(base, folder / "tokenizer", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
            gguf.convert(base, folder / compress.GGUF_FILE, "tiny")
            return {}

        store = artifacts.Store(tmp_path / "store")
        return store.get_or_make("compression.compress", {"name": name}, {}, fill).path

    return make


@pytest.fixture
def front(var):
    """A gateway of its own, stopped at the end; the test starts it."""
    one = Gateway(var / "gateway", engines.free_port(int(os.environ["LEXLOOP_GATEWAY_PORT"])))
    yield one
    one.stop()


@pytest.fixture
def client(front):
    """Speaks to the gateway with a valid key."""
    headers = {"Authorization": f"Bearer {front.probe_key}"}
    with httpx.Client(base_url=front.url, headers=headers, timeout=10, trust_env=False) as one:
        yield one
