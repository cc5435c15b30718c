"""Whether a DAG's schedule is on: when it was seen off, and the loans by which a paused DAG works for single runs.

Airflow lets a run of a paused DAG wait. `make retrain` therefore switches a paused DAG on for its run alone, a loan: until
the run has ended no due date counts, then the DAG is off again. What is noted lies in `schedule/<dag>.json` of the var folder.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from legal_tasks.step import var_folder

SEEN_LATE_S = 180.0  # Airflow looks at a DAG twice a minute: what was switched was switched so much earlier at most
AT_WORK = ("queued", "running")


def path_of(dag: str) -> Path:
    return var_folder() / "schedule" / f"{dag}.json"


def read(dag: str) -> dict[str, Any]:
    """{off_since, on_since: seconds since 1970 or None; lent: [run ids]; loans: [[from, until or None]]}"""
    empty: dict[str, Any] = {"off_since": None, "on_since": None, "lent": [], "loans": []}
    path = path_of(dag)
    return {**empty, **json.loads(path.read_text("utf-8"))} if path.is_file() else empty


def _write(dag: str, state: dict[str, Any]) -> None:
    path = path_of(dag)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(state), "utf-8")
    os.replace(temporary, path)


@contextmanager
def changing(dag: str) -> Iterator[dict[str, Any]]:
    """The state, to be changed in place; nobody else changes it meanwhile."""
    path = path_of(dag)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = read(dag)
        before = json.dumps(state)
        yield state
        if json.dumps(state) != before:
            _write(dag, state)


def is_lent(dag: str) -> bool:
    """Whether a paused DAG is on for single runs."""
    return bool(read(dag)["lent"])


def saw(dag: str, off: bool, now: float) -> None:
    """Airflow has looked at a DAG: note when its schedule was first seen off, or on again. Writes on a change only."""
    known = read(dag)
    is_off = known["off_since"] is not None and known["on_since"] is None
    if off == is_off:
        return
    with changing(dag) as state:
        if off:
            state["off_since"], state["on_since"] = now, None
        elif state["off_since"] is not None:
            state["on_since"] = now


def was_off(dag: str, due: float, now: float) -> bool:
    """Whether the schedule was off when a run was due (both in seconds since 1970)."""
    state = read(dag)
    if any(start <= due and (end is None or due <= end) for start, end in state["loans"]):
        return True
    if state["off_since"] is None or due < state["off_since"]:
        return False
    return (state["on_since"] or now) - due > SEEN_LATE_S


def switch_on(airflow: Any, dag: str, run: str, keep: bool, now: float) -> bool:
    """Let a run of a DAG work; whether its schedule is on afterwards. `keep`: switch it on for good.

    `airflow.call(method, path, ...)` is Airflow's API.
    """
    with changing(dag) as state:
        paused = airflow.call("GET", f"/dags/{dag}")["is_paused"]
        if keep:
            _end_loan(state, now)
        elif paused or state["lent"]:
            if not state["lent"]:
                state["loans"] = [*state["loans"][-11:], [now, None]]
            state["lent"] = [*state["lent"], run]
        _write(dag, state)  # before a scheduler can see the DAG on
        if paused:
            airflow.call("PATCH", f"/dags/{dag}", params={"update_mask": "is_paused"}, json={"is_paused": False})
        return not state["lent"]


def switch_back(airflow: Any, dag: str, run: str, now: float) -> bool:
    """A run has ended: switch its DAG off again where it was on for this run alone; whether that was so."""
    if run not in read(dag)["lent"]:
        return False
    with changing(dag) as state:
        state["lent"] = [each for each in state["lent"] if each != run and _at_work(airflow, dag, each)]
        if state["lent"]:
            return False
        airflow.call("PATCH", f"/dags/{dag}", params={"update_mask": "is_paused"}, json={"is_paused": True})
        _end_loan(state, now)
        return True


def _end_loan(state: dict[str, Any], now: float) -> None:
    state["lent"] = []
    state["loans"] = [[start, now if end is None else end] for start, end in state["loans"]]


def _at_work(airflow: Any, dag: str, run: str) -> bool:
    """Whether a run is there and has not ended; one that was deleted keeps nothing on."""
    found = airflow.call("GET", f"/dags/{dag}/dagRuns", params={"limit": 100, "order_by": "-run_after", "state": list(AT_WORK)})
    return any(each["dag_run_id"] == run for each in found["dag_runs"])
