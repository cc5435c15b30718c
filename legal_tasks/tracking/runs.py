"""A step's own run while it works: a child of its DAG run's, written through a journal."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from legal_tasks import journal, lease
from legal_tasks.journal import Journal
from legal_tasks.tracking import datasets, parents, samples
from legal_tasks.tracking.gauges import Gauges
from legal_tasks.tracking.names import flatten, metric_name, spelled
from legal_tasks.tracking.sending import Sender, replay
from legal_tasks.tracking.server import (
    PARAM_LIMIT,
    TAG_KEY,
    TAG_LIMIT,
    TAG_NAMES,
    TAG_PROCESS,
    TAG_SEAT,
    TAG_SKIPPED,
    TAG_STEP,
    TrackingError,
    candidate,
    dag_name,
    seat,
    uri,
)

SEND_EVERY_S = 1.0
BACK_OFF_S = 5.0  # after a failure
REUSED_AFTER_S = 5.0  # a step that lasts so long also sends what the reused steps before it left
LAST_TRY_S = 20.0  # a step that ends waits so long for its thread


class Run:
    """A child run that is being written, or nothing at all where no MLflow is named."""

    def __init__(self, book: Journal | None = None, step: str = "", params: Mapping[str, Any] | None = None):
        self.book = book
        self.step, self.params = step, params or {}
        self.sender = Sender(book.entries) if book else None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)

    @property
    def run_id(self) -> str | None:
        return self.sender.run_id if self.sender else None

    @property
    def url(self) -> str | None:
        return self.sender.url if self.sender else None

    def start(self) -> None:
        if self.sender is not None:
            self.sender.send()
            self.thread.start()

    def _work(self) -> None:
        pause, begun, caught_up = SEND_EVERY_S, time.monotonic(), False
        while not self.stop.wait(pause):
            assert self.sender is not None
            if not caught_up and time.monotonic() - begun > REUSED_AFTER_S and self.run_id is not None:
                caught_up = True
                replay()  # so that a long step's run does not stand alone; a short one does not wait for it
            pending = self.sender.sent < len(self.sender.entries)
            pause = SEND_EVERY_S if not pending or self.sender.send() else BACK_OFF_S

    def log_metrics(self, numbers: Mapping[str, float], step: int = 0) -> None:
        if self.book is not None:
            self.book.add_metrics({metric_name(name): float(value) for name, value in numbers.items()}, step)

    def log_text(self, name: str, text: str) -> None:
        if self.book is not None:
            self.book.append({"file": name, "text": text})

    def finish(self, report: Mapping[str, Any], summary: bool = False, folder: Path | None = None) -> None:
        """Tell the report's numbers, and the parent's page its share of them; `folder`: the artifact in the making.

        `summary`: the parent gets all of the report's numbers.
        """
        if self.book is None:
            return
        numbers = flatten(report)
        self.book.add_metrics(numbers, 0)
        self._tell_names(spelled(report))
        self.tell_parent(report, folder)
        if summary and not candidate():  # the numbers of the run are those of the candidate that is chosen
            self.book.append({"summary": [[name, value, journal.now(), 0] for name, value in numbers.items()]})

    def tell_parent(self, report: Mapping[str, Any], folder: Path | None) -> None:
        if self.book is None or candidate() or not self.book.about["dag_run"]:
            return
        facts = parents.of_step(self.step, self.params, report, folder)
        facts.params |= {"profile": _profile[-1]} if _profile else {}
        self.book.append({"parent": asdict(facts)})

    def _tell_names(self, names: Mapping[str, str]) -> None:
        """Keep how the report spells the metrics whose names had to be changed: whole in a file, in short in a tag."""
        if self.book is None or not names:
            return
        self.log_text("metric_names.json", json.dumps(names, ensure_ascii=False, indent=1) + "\n")
        short = json.dumps(names, ensure_ascii=False)
        self.book.append({"tags": {TAG_NAMES: short if len(short) <= TAG_LIMIT else "see metric_names.json"}})

    def end(self, status: str) -> None:
        """Note the status, let MLflow have the rest if it is there, keep the journal where a later attempt goes on in it."""
        if self.book is None or self.sender is None:
            return
        self.book.append({"end": status, "at": journal.now()})
        self.stop.set()
        self.thread.join(LAST_TRY_S)
        sent = not self.thread.is_alive() and self.sender.send()
        if not sent:
            print("the next step, or `python -m legal_tasks.tracking replay`, sends MLflow the rest", flush=True)
        goes_on = status not in journal.FINAL and self.book.about["dag_run"]
        if sent and goes_on:
            self.book.append({"sent": True})
        self.book.close(remove=sent and not goes_on)


_active: list[Run] = []
_profile: list[str] = []
TABLES = "mlflow.loggedArtifacts"  # where MLflow's pages look for tables


def log_metrics(numbers: Mapping[str, float], step: int = 0) -> None:
    """Log numbers of the running step, e.g. a training curve; does nothing without MLflow."""
    if _active:
        _active[-1].log_metrics(numbers, step)


def current_run_id() -> str | None:
    """MLflow's id of the running step's run; None outside of a step, without MLflow, and while it is away."""
    return _active[-1].run_id if _active else None


def log_file(path: Path, place: str = "") -> None:
    """Keep a small text file of the artifact with the running step's run too, below `place`; does nothing without MLflow."""
    if _active:
        _active[-1].log_text(f"{place}/{path.name}" if place else path.name, path.read_text("utf-8"))


def log_table(name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep a small table with the running step's run, which MLflow's page shows as one; does nothing without MLflow."""
    if _active and _active[-1].book is not None:
        _active[-1].log_text(name, samples.table(columns, rows))
        _active[-1].book.append({"tags": {TABLES: json.dumps([{"path": name, "type": "table"}])}})


def set_profile(name: str | None) -> None:
    """Say which profile this process's step takes its values from."""
    _profile[:] = [name] if name else []


def _about(
    step: str, key: str, params: Mapping[str, Any], inputs: Mapping[str, str], places: Mapping[str, Path]
) -> dict[str, Any]:
    process = f"{socket.gethostname()} {os.getpid()} {lease.process_start(os.getpid())}"
    return {
        "name": f"{step} [{candidate()}]" if candidate() else step,
        "experiment": dag_name(),
        "dag_run": os.environ.get("LEXLOOP_DAG_RUN"),
        "tags": {TAG_STEP: step, TAG_KEY: key, TAG_SEAT: seat(), TAG_PROCESS: process},
        "params": {name: str(value)[:PARAM_LIMIT] for name, value in params.items()},
        "inputs": datasets.describe(inputs, places),
    }


@contextmanager
def step_run(
    step: str,
    key: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, str],
    harmless: tuple[type[BaseException], ...] = (),
    places: Mapping[str, Path] | None = None,
    watched: bool = False,
) -> Iterator[Run]:
    """A child run around a step's work: parameters, inputs as datasets with digests, status at the end.

    `inputs`: {name: digest}; `places`: where they lie; `watched`: the machine's metrics are told too. Exceptions of the
    `harmless` types (nothing to do) end the run as FINISHED with their words in a tag, others as FAILED.
    """
    if uri() is None:
        yield Run()
        return
    parents.given_month()  # a month that is none is refused before any work
    about = _about(step, key, params, inputs, places or {})
    book = Journal(_journal_path(about["dag_run"], step, key), about)
    run = Run(book, step, params)
    run.start()
    if run.run_id is not None:
        replay(reused=False)
    _active.append(run)
    gauges = Gauges(book.add_metrics, 1 + max((step for name, step in book.seen if name.startswith("system/")), default=-1))
    if watched:
        gauges.start()
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except harmless as reason:
        status = "FINISHED"
        book.append({"tags": {TAG_SKIPPED: str(reason)[:TAG_LIMIT]}})
        run.tell_parent(getattr(reason, "report", {}), None)
        raise
    finally:
        _active.pop()
        gauges.stop()
        run.end(status)


def note_reuse(
    step: str, key: str, params: Mapping[str, Any], inputs: Mapping[str, str], places: Mapping[str, Path], artifact: Any
) -> None:
    """Note that a step of this DAG run found its result in the store (artifacts.Artifact): a child run with its numbers.

    The journal alone is written, so that an unchanged run stays quick: a long step, or the run's end, sends it.
    """
    dag_run = os.environ.get("LEXLOOP_DAG_RUN")
    if uri() is None or not dag_run or artifact.manifest.get("run") == dag_run:
        return
    about = _about(step, key, params, inputs, places)
    about["reused"] = {
        "artifact": str(artifact.path),
        "digest": artifact.digest,
        "run": str(artifact.manifest.get("run", "?")),
    }
    about["id"] = hashlib.sha256(f"{dag_name()}\n{dag_run}\n{step}\n{key}\nreused".encode()).hexdigest()[:32]
    book = Journal(_journal_path(dag_run, step, key), about)
    Run(book, step, params).finish(artifact.report, folder=artifact.path)
    book.append({"end": "FINISHED", "at": journal.now()})
    book.close(remove=False)


def _journal_path(dag_run: str | None, step: str, key: str) -> Path:
    name = hashlib.sha256(f"{dag_name()}\n{dag_run}\n{step}\n{key}".encode()).hexdigest()[:32]
    return journal.folder() / f"{name}.jsonl"


def require(timeout_s: float) -> None:
    """Wait until MLflow answers and has everything that was journaled; TrackingError with the address after `timeout_s`.

    For what must not happen without MLflow: a promotion.
    """
    if uri() is None:
        return
    deadline = time.monotonic() + timeout_s
    told = False
    while True:
        sent = _active[-1].sender.send() if _active and _active[-1].sender else True
        if sent and not replay(reused=False):
            return
        if time.monotonic() > deadline:
            raise TrackingError(
                f"MLflow at {uri()} has been away for {timeout_s:.0f} s, and nothing is promoted without it: start it (make up), "
                "then clear this task"
            )
        if not told:
            told = True
            print(f"waiting up to {timeout_s:.0f} s for MLflow at {uri()}: nothing is promoted without it", flush=True)
        time.sleep(2)
