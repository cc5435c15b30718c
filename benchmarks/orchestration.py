"""What orchestration costs: seconds of a retrain in which no step works, DAG parse time, an unchanged run beside a cold one.

    make bench NAME=orchestration

A step is at work while a process of it lives (sampled ten times a second from /proc), so what remains of the DAG run,
from the trigger to its end, is Airflow's: scheduling, starting workers, waiting between tasks. Services are up before.
The figure is of seconds, not of shares, because it hardly depends on how long the steps are: the same seconds are given
as a share of this run and of one of ten minutes.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.retrain import REPOSITORY, own_seat

RESULT = REPOSITORY / "benchmarks" / "results" / "orchestration.json"
PERIOD_S = 0.1
TEN_MINUTES = 600.0
PARSE_ROUNDS = 7
PARSE = """
import importlib.util, json, sys, time
began = time.perf_counter()
import airflow.sdk
ready = time.perf_counter()
spec = importlib.util.spec_from_file_location("dag_file", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(json.dumps({"airflow": ready - began, "file": time.perf_counter() - ready}))
"""


class Watcher(threading.Thread):
    """Counts the samples in which a step of a seat is at work."""

    def __init__(self, var: str):
        super().__init__(daemon=True)
        self.mark, self.ended = f"LEXLOOP_VAR={var}".encode(), threading.Event()
        self.known: dict[str, bool] = {}  # process and its start -> is it a step
        self.busy: list[tuple[float, bool]] = []  # (moment, was a step at work)

    def run(self) -> None:
        while not self.ended.wait(PERIOD_S):
            self.busy.append((time.time(), self.at_work()))

    def at_work(self) -> bool:
        found = False
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                name = f"{entry.name} {(entry / 'stat').read_text().rpartition(')')[2].split()[19]}"
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if name not in self.known or not self.known[name]:  # a fork becomes a step by exec: look again
                    step = words[1:2] == [b"-m"] and words[2:3][0].startswith(b"legal_tasks.")
                    environ = (entry / "environ").read_bytes() if step else b""
                    self.known[name] = self.mark in environ and b"LEXLOOP_DAG_RUN=" in environ
                found |= self.known[name]
            except (FileNotFoundError, ProcessLookupError, PermissionError, IndexError):
                continue
        return found

    def idle_between(self, first: float, last: float) -> float:
        """Seconds in [first, last] in which no step was at work."""
        inside = [busy for moment, busy in self.busy if first <= moment <= last]
        return (last - first) * inside.count(False) / len(inside)


def one_run(seat: dict[str, str], name: str) -> dict:
    watcher = Watcher(seat["LEXLOOP_VAR"])
    watcher.start()
    done = subprocess.run([seat["ORCHESTRATOR"], "-m", "legal_tasks.retrain", "--profile", "small"], env=seat, cwd=REPOSITORY)
    watcher.ended.set()
    watcher.join()
    summary = json.loads((Path(seat["LEXLOOP_VAR"]) / "retrain.json").read_text("utf-8"))
    first, last = run_times(seat, summary["dag_run_id"])
    idle = watcher.idle_between(first, last)
    return {
        "name": name,
        "decision": summary["decision"],
        "exit": done.returncode,
        "seconds": round(last - first, 1),
        "orchestration_s": round(idle, 1),
        "orchestration_share": round(idle / (last - first), 4),
        "share_of_ten_minutes": round(idle / TEN_MINUTES, 4),
        "samples": len(watcher.busy),
        "tasks": summary["tasks"],
    }


def run_times(seat: dict[str, str], run_id: str) -> tuple[float, float]:
    """(when a DAG run was queued, when it ended), seconds since the epoch, by Airflow."""
    import sqlite3

    with sqlite3.connect(Path(seat["LEXLOOP_VAR"]) / "airflow" / "airflow.db") as connection:
        row = connection.execute("SELECT queued_at, end_date FROM dag_run WHERE run_id = ?", (run_id,)).fetchone()
    moments = [datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp() for text in row]
    return moments[0], moments[1]


def parse_times(seat: dict[str, str]) -> dict[str, dict[str, float]]:
    """{DAG file: {median, slowest} seconds}, each round in a process of its own; Airflow's own import is not counted."""
    found = {}
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "plugins")])
    values = {**seat, "PYTHONPATH": path, "AIRFLOW_HOME": f"{seat['LEXLOOP_VAR']}/airflow"}
    for file in sorted((REPOSITORY / "dags").glob("*.py")):
        seconds = []
        for _ in range(PARSE_ROUNDS):
            argv = [seat["ORCHESTRATOR"], "-c", PARSE, str(file)]
            said = subprocess.run(argv, env=values, capture_output=True, text=True, check=True).stdout
            seconds.append(json.loads(said.strip().split("\n")[-1])["file"])
        found[file.stem] = {"median": round(statistics.median(seconds), 4), "slowest": round(max(seconds), 4)}
    return found


def main() -> int:
    with own_seat() as seat:
        up = subprocess.run([seat["ORCHESTRATOR"], "-m", "legal_tasks.services", "up"], env=seat, cwd=REPOSITORY)
        if up.returncode:
            return up.returncode
        runs = [one_run(seat, "cold"), one_run(seat, "unchanged"), one_run(seat, "unchanged again")]
        parse = parse_times(seat)
    cold, again = runs[0], runs[1:]
    result = {
        "name": "orchestration",
        "comparisons": [],
        "runs": runs,
        "unchanged_to_cold": round(statistics.median(run["seconds"] for run in again) / cold["seconds"], 4),
        "parse_s": parse,
        "machine": {"processors": os.cpu_count(), "machine": platform.machine()},
        "date": datetime.date.today().isoformat(),
        "command": "make bench NAME=orchestration",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    for run in runs:
        print(
            f"{run['name']}: {run['decision']} in {run['seconds']} s, orchestration {run['orchestration_s']} s "
            f"({run['orchestration_share']:.1%}; {run['share_of_ten_minutes']:.1%} of ten minutes)"
        )
    print(f"unchanged to cold {result['unchanged_to_cold']:.1%}; parse " + json.dumps(parse))
    return 0 if [run["decision"] for run in runs] == ["released", "unchanged", "unchanged"] else 1


if __name__ == "__main__":
    sys.exit(main())
