"""Inference engines as child processes: admission, argv and environment, readiness by one generated token, and the end.

An engine runs in a session of its own, so that everything it started ends with it. `LEXLOOP_ENGINE_ARGV` (a JSON list
in which {model}, {port} and {name} are replaced) puts another OpenAI-compatible server in vLLM's place.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legal_tasks import artifacts
from legal_tasks.lease import process_start
from legal_tasks.serving.children import end_session, spawn
from legal_tasks.step import REPOSITORY, StepError, var_folder

MODEL_NAME = "legal-llm"
VARIANT = "gptq"  # the folder of a compress artifact that vLLM can read (no act-order)
PORT_RANGE = 50  # ports that may be tried from LEXLOOP_ENGINE_PORT on
START_TIMEOUT_S = float(os.environ.get("LEXLOOP_ENGINE_TIMEOUT_S", "420"))


class EngineError(Exception):
    """An engine did not start, does not answer, or answers wrongly; the message holds the last lines of its log."""


@dataclass(frozen=True)
class Settings:
    """How an engine is started; the defaults suit two CPU cores."""

    max_num_seqs: int = 16  # requests decoded together
    dtype: str = "float16"  # vLLM's GPTQ kernels know float16 and bfloat16 only; float16 is the more exact one
    threads: int = 1


def admit(artifact: Path) -> Path:
    """Folder of the engine's variant in a compress artifact, after every file was compared with the manifest.

    Raises StepError or ArtifactError where a file differs, is missing, or could run code when it is loaded.
    """
    from legal_tasks.compression import load

    artifacts.verify(artifact)
    folder = Path(artifact) / VARIANT
    if not folder.is_dir():
        raise StepError(f"{artifact} has no folder {VARIANT}/: name the artifact of the step compression.compress")
    load.admit(folder)
    if not any(folder.glob("*.safetensors")):
        raise StepError(f"{folder} holds no *.safetensors: the engine loads nothing else")
    return folder


def environment_python(name: str) -> Path:
    """Interpreter of a work environment on this machine."""
    return Path(os.environ.get("LEXLOOP_ENV_DIR", REPOSITORY / "var" / "env")) / name / "bin" / "python"


def argv(folder: Path, port: int, settings: Settings) -> list[str]:
    template = os.environ.get("LEXLOOP_ENGINE_ARGV")
    if template:
        values = {"model": str(folder), "port": str(port), "name": MODEL_NAME}
        words = json.loads(template)
        for name, value in values.items():
            words = [word.replace("{" + name + "}", value) for word in words]
        return words
    python = environment_python("vllm")
    if not python.is_file():
        raise StepError(f"{python} is missing: build the environment of the engine with make setup")
    return [
        # `vllm serve` asks for a distribution called vllm, which the CPU build is not.
        *(str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)),
        *("--served-model-name", MODEL_NAME, "--host", "127.0.0.1", "--port", str(port)),
        *("--max-num-seqs", str(settings.max_num_seqs), "--enforce-eager", "--dtype", settings.dtype),
        *("--kv-cache-memory-bytes", str(kv_cache_bytes(folder, settings.max_num_seqs))),
    ]


def kv_cache_bytes(folder: Path, sequences: int) -> int:
    """Memory for the keys and values of `sequences` full contexts, 64 MiB to 4 GiB, in any case enough for one.

    The CPU build touches all of it at its start, so a generous default would cost memory that nobody uses.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    one = 2 * 2 * config["num_hidden_layers"] * heads * width * config["max_position_embeddings"]  # float16 keys and values
    return max(64 * 2**20, one * 5 // 4, min(one * sequences, 4 * 2**30))


def environment(settings: Settings) -> dict[str, str]:
    """The engine's environment: offline, bound to no core, and without the secrets of the program that starts it."""
    kept = {k: v for k, v in os.environ.items() if not any(word in k for word in ("TOKEN", "SECRET", "PASSWORD", "MLFLOW"))}
    kept.pop("PYTHONPATH", None)
    if os.environ.get("LEXLOOP_ENGINE_ARGV"):
        kept["PYTHONPATH"] = str(REPOSITORY)
    return {
        **kept,
        "OMP_NUM_THREADS": str(settings.threads),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def free_port(start: int, taken: set[int] | None = None) -> int:
    """The first port from `start` on that nobody holds on 127.0.0.1; StepError after PORT_RANGE tries."""
    for port in range(start, start + PORT_RANGE):
        if port in (taken or set()):
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise StepError(f"no free port from {start} to {start + PORT_RANGE - 1}: set LEXLOOP_ENGINE_PORT to another range")


class Engine:
    """One running engine. `pid` is the leader of its session."""

    def __init__(self, process: subprocess.Popen, port: int, log: Path, folder: Path):
        self.process, self.port, self.log, self.folder = process, port, log, folder
        self.pid = process.pid
        self.started = process_start(self.pid)

    @classmethod
    def start(cls, folder: Path, port: int, log: Path, settings: Settings | None = None) -> Engine:
        settings = settings or Settings()
        log.parent.mkdir(parents=True, exist_ok=True)
        command, values = argv(folder, port, settings), environment(settings)
        return cls(spawn(command, log, var_folder(), values), port, log, folder)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S, stop: Any = None) -> float:
        """Seconds until the engine generated a token. EngineError where it ends, stays silent, or `stop()` is true."""
        began = time.monotonic()
        reason: str | None = "it was not asked"
        while time.monotonic() - began < timeout_s:
            if not self.alive():
                raise EngineError(f"the engine ended with {self.process.returncode}: {self.tail()}")
            if stop is not None and stop():
                raise EngineError("told to stop while the engine was starting")
            reason = probe(self.url)
            if reason is None:
                return time.monotonic() - began
            time.sleep(0.3)
        raise EngineError(f"no token in {timeout_s:.0f} s ({reason}): {self.tail()}")

    def tail(self, lines: int = 12) -> str:
        """The last lines of the log, those that tell of errors if there are any."""
        text = self.log.read_text("utf-8", errors="replace").splitlines() if self.log.is_file() else []
        errors = [line for line in text[-400:] if "Error" in line or "error:" in line]
        return " | ".join(line.strip()[-300:] for line in (errors[-3:] or text[-lines:]))

    def stop(self, grace_s: float = 15.0) -> None:
        """TERM to the whole session, KILL for what is left after `grace_s`."""
        end_session(self.pid, self.started, grace_s)
        self.process.wait(timeout=10)


def probe(url: str, key: str | None = None, timeout_s: float = 10.0) -> str | None:
    """None if one token can be generated at `url`, else why not (a /health that says 200 proves nothing)."""
    import httpx

    body = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "你好"}], "max_tokens": 1, "temperature": 0}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=timeout_s, trust_env=False)
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    if answer.status_code != 200:
        return f"HTTP {answer.status_code}: {answer.text[:300]}"
    try:
        used = answer.json()["usage"]["completion_tokens"]
    except (ValueError, KeyError, TypeError) as error:
        return f"not an OpenAI answer ({type(error).__name__}): {answer.text[:300]}"
    return None if used >= 1 else "the answer holds no token"
