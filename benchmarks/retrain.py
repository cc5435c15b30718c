"""Time and memory of the monthly loop on the embedded world: first run, then again with nothing changed.

    make bench NAME=retrain

Runs on a seat of its own (var folder and ports), samples the summed PSS of all its processes each second, and writes
benchmarks/results/retrain.json. Whole process, so set-up of the environments is no part of it.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "retrain.json"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def summed_pss_gib(mark: bytes) -> float:
    """PSS in GiB of every process that carries `mark` in its environment (shared pages counted once)."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark not in (entry / "environ").read_bytes():
                continue
            for line in (entry / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return total / 2**20


class Sampler(threading.Thread):
    """Samples once a second until stopped; keeps the peak."""

    def __init__(self, mark: bytes):
        super().__init__(daemon=True)
        self.mark, self.peak, self.samples = mark, 0.0, 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(1.0):
            self.peak = max(self.peak, summed_pss_gib(self.mark))
            self.samples += 1


def one_run(seat: dict[str, str], name: str) -> dict:
    """One `legal_tasks.retrain`; its decision, seconds, peak memory and the seconds of its tasks."""
    sampler = Sampler(f"LEXLOOP_VAR={seat['LEXLOOP_VAR']}".encode())
    sampler.start()
    started = time.monotonic()
    done = subprocess.run([seat["ORCHESTRATOR"], "-m", "legal_tasks.retrain", "--profile", "small"], env=seat, cwd=REPOSITORY)
    seconds = time.monotonic() - started
    sampler.ended.set()
    sampler.join()
    summary = json.loads((Path(seat["LEXLOOP_VAR"]) / "retrain.json").read_text("utf-8"))
    return {
        "name": name,
        "decision": summary["decision"],
        "exit": done.returncode,
        "seconds": round(seconds, 1),
        "peak_pss_gib": round(sampler.peak, 2),
        "samples": sampler.samples,
        "metrics": summary["metrics"],
        "records": summary["records"],
        "tasks": summary["tasks"],
    }


@contextmanager
def own_seat() -> Iterator[dict[str, str]]:
    """Environment of a seat with its own var folder and ports; its services are stopped at the end."""
    environments = os.environ.get("LEXLOOP_ENV_DIR", str(REPOSITORY / "var" / "env"))
    with tempfile.TemporaryDirectory(prefix="lexloop-bench-") as folder:
        seat = {
            **os.environ,
            "LEXLOOP_VAR": folder,
            "LEXLOOP_ENV_DIR": environments,
            "PYTHONPATH": str(REPOSITORY),
            "ORCHESTRATOR": f"{environments}/orchestrator/bin/python",
            **{f"LEXLOOP_{name}_PORT": str(free_port()) for name in ("AIRFLOW", "MLFLOW", "GATEWAY", "ENGINE")},
        }
        try:
            yield seat
        finally:
            subprocess.run([seat["ORCHESTRATOR"], "-m", "legal_tasks.services", "stop"], env=seat, cwd=REPOSITORY)


def main() -> int:
    with own_seat() as seat:
        runs = [one_run(seat, "first"), one_run(seat, "again, nothing changed")]
    result = {
        "name": "retrain",
        "comparisons": [],
        "runs": runs,
        "machine": {"processors": os.cpu_count(), "machine": platform.machine()},
        "date": datetime.date.today().isoformat(),
        "command": "make bench NAME=retrain",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    for run in runs:
        print(f"{run['name']}: {run['decision']} in {run['seconds']} s, peak {run['peak_pss_gib']} GiB PSS")
    return 0 if [run["decision"] for run in runs] == ["released", "unchanged"] else 1


if __name__ == "__main__":
    sys.exit(main())
