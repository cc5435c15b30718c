"""Inference engines as child processes: admission, readiness by one generated token, and the end.

An engine runs in a session of its own, so that everything it started ends with it. Which program it is, a backend says.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from legal_tasks import artifacts
from legal_tasks.lease import process_start
from legal_tasks.serving.backends import MODEL_NAME, VLLM_BACKEND, Backend, Settings, read_progress
from legal_tasks.serving.children import end_session, spawn
from legal_tasks.serving.watch import Reading, Watch, in_background
from legal_tasks.step import StepError, var_folder

PORT_RANGE = 50  # ports that may be tried from LEXLOOP_ENGINE_PORT on
OUT_OF_MEMORY = ("out of memory", "OutOfMemoryError", "MemoryError", "Cannot allocate memory", "std::bad_alloc")
LOOK_S = 3.0  # a call that waits behind no user
QUESTION_S = 600.0  # one that may have to: how long it waits says nothing
START_TIMEOUT_S = float(os.environ.get("LEXLOOP_ENGINE_TIMEOUT_S", "420"))


class EngineError(Exception):
    """An engine did not start, does not answer, or answers wrongly; the message holds the last lines of its log."""


def admit(artifact: Path, backend: Backend = VLLM_BACKEND) -> Path:
    """What `backend` reads in a compress artifact, after every file was compared with the manifest.

    Raises StepError or ArtifactError where a file differs, is missing, or could run code when it is loaded.
    """
    from legal_tasks.compression import load

    artifacts.verify(artifact)
    found = backend.find(artifact)
    load.admit(found if found.is_dir() else Path(artifact))
    return found


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

    def __init__(
        self,
        process: subprocess.Popen,
        port: int,
        log: Path,
        folder: Path,
        logged: int = 0,
        backend: Backend = VLLM_BACKEND,
        key: str = "",
    ):
        self.process, self.port, self.log, self.folder, self.backend = process, port, log, folder, backend
        self.key = key  # what it answers to alone
        self.logged = logged  # bytes of the log that are an earlier engine's
        self.pid = process.pid
        self.started = process_start(self.pid)

    @classmethod
    def start(
        cls, model: Path, port: int, log: Path, settings: Settings | None = None, backend: Backend = VLLM_BACKEND
    ) -> Engine:
        """`model`: what `admit` gave for this backend."""
        settings = settings or Settings()
        log.parent.mkdir(parents=True, exist_ok=True)
        command, values = backend.argv(model, port, settings), backend.environment(settings)
        logged = log.stat().st_size if log.is_file() else 0
        return cls(spawn(command, log, var_folder(), values), port, log, model, logged, backend, settings.key)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S, stop: Any = None) -> float:
        """Seconds until the engine generated a token. EngineError where it ends, stays silent, or `stop()` is true.

        `stop` is called every 0.3 s, however long the engine takes for its first token.
        """
        began = time.monotonic()
        reason: str | None = "it was not asked"
        asked = in_background(lambda: probe(self.url, self.key))
        while time.monotonic() - began < timeout_s:
            if not self.alive():
                raise EngineError(self.ending())
            if stop is not None and stop():
                raise EngineError("told to stop while the engine was starting")
            if asked.done():
                reason = asked.result()
                if reason is None:
                    return time.monotonic() - began
                asked = in_background(lambda: probe(self.url, self.key))
            time.sleep(0.3)
        raise EngineError(f"no token in {timeout_s:.0f} s ({reason}): {self.tail()}")

    def watch(self, stall_s: float) -> Watch:
        """What will tell whether this engine works; it begins when it is told to."""
        return Watch(self.look, lambda: in_background(lambda: probe(self.url, self.key, QUESTION_S)), stall_s)

    def look(self) -> Reading:
        """Whether the engine answers at all, and what it has got done, by calls that wait behind no user."""
        try:
            self._get("/health")
        except (OSError, http.client.HTTPException):
            return Reading(answers=False)
        # The few counters alone where the program can do that: all of vLLM's cost it five times as much.
        for page in (f"/metrics/?{urlencode([('name[]', name) for name in self.backend.progress])}", "/metrics"):
            try:
                if counters := read_progress(self._get(page), self.backend):
                    return Reading(True, counters)
            except ValueError:  # no such page
                continue
            except (OSError, http.client.HTTPException):
                break
        return Reading(True)

    def _get(self, path: str, timeout_s: float = LOOK_S) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.key}"} if self.key else {})
            return connection.getresponse().read().decode("utf-8", errors="replace")
        finally:
            connection.close()

    def context(self) -> int | None:
        """Tokens that question and answer may have together, as the engine says; None where it says nothing."""
        try:
            (card, *_) = json.loads(self._get("/v1/models", timeout_s=10))["data"]
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise EngineError(f"{self.url}/v1/models tells no model ({type(error).__name__}: {error})") from error
        length = card.get("max_model_len") or (card.get("meta") or {}).get("n_ctx_train")
        return length if isinstance(length, int) else None

    def text(self) -> str:
        """What this engine has logged."""
        if not self.log.is_file():
            return ""
        with open(self.log, "rb") as file:
            file.seek(self.logged)
            return file.read().decode("utf-8", errors="replace")

    def tail(self, lines: int = 12) -> str:
        """The last lines of the log, those that tell of errors if there are any."""
        text = self.text().splitlines()
        errors = [line for line in text[-400:] if "Error" in line or "error:" in line]
        return " | ".join(line.strip()[-300:] for line in (errors[-3:] or text[-lines:]))

    def ending(self) -> str:
        """Why an engine that has ended did so, as far as its exit status and its log tell; want of memory is named."""
        code, text = self.process.returncode, self.text()
        why = f"the engine ended with {code}"
        if any(word in text for word in OUT_OF_MEMORY):
            why = f"out of memory: {why}"
        elif code == -signal.SIGKILL:
            why += " (killed; the kernel does that when memory runs out)"
        return f"{why}: {self.tail()}"

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
