"""A seat of its own: var folder and free ports, on which the whole loop can run beside everything else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

NAMES = ("AIRFLOW", "MLFLOW", "GATEWAY", "ENGINE")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Seat:
    """Runs our commands with its own environment variables; `repository` is the checkout whose code runs."""

    def __init__(self, var: Path, repository: Path):
        self.var, self.repository = var, repository
        environments = os.environ.get("LEXLOOP_ENV_DIR", str(Path(__file__).resolve().parents[1] / "var" / "env"))
        self.ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self.values = {name: value for name, value in os.environ.items() if not name.startswith(("LEXLOOP_", "MLFLOW_"))}
        self.values |= {"LEXLOOP_VAR": str(var), "LEXLOOP_ENV_DIR": environments, "PYTHONPATH": str(repository)}
        self.values |= {f"LEXLOOP_{name}_PORT": str(port) for name, port in self.ports.items()}
        self.python = Path(environments) / "orchestrator" / "bin" / "python"

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def run(self, module: str, *arguments: str, timeout_s: float = 1500, **variables: str) -> subprocess.CompletedProcess[str]:
        """`python -m module arguments` in the orchestrator's environment; what it said is shown where a test fails."""
        argv = [str(self.python), "-m", module, *arguments]
        values = self.values | variables
        done = subprocess.run(argv, env=values, text=True, capture_output=True, timeout=timeout_s, cwd=self.repository)
        sys.stdout.write(done.stdout[-6000:] + done.stderr[-3000:])
        return done

    def retrain(self, *arguments: str, timeout_s: float = 1400) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
        """(the ended command, what var/retrain.json holds after it)."""
        done = self.run("legal_tasks.retrain", *arguments, "--timeout-s", str(timeout_s - 100), timeout_s=timeout_s)
        path = self.var / "retrain.json"
        return done, json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def key(self) -> str:
        """A new API key of the gateway."""
        return self.run("legal_tasks.serving.keys", "add", timeout_s=60).stdout.strip()

    def ask(self, key: str | None, text: str = "你好") -> Any:
        """(status, headers, body) of one chat completion through the gateway."""
        body = {"model": "legal-llm", "messages": [{"role": "user", "content": text}], "max_tokens": 8}
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(f"{self.url('GATEWAY')}/v1/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.status, answer.headers, json.load(answer)

    def stop(self) -> subprocess.CompletedProcess[str]:
        return self.run("legal_tasks.services", "stop", timeout_s=180)
