"""MLflow: one parent run per DAG run, one child per step, data lineage (the registry: legal_tasks/registry.py).

Without MLFLOW_TRACKING_URI everything here does nothing, so that a step runs alone on a laptop. A server that is away
costs no step its work: what it should be told lies in a journal (legal_tasks/journal.py) and is sent by a thread, or by
who comes later. A promotion needs the server: it waits, then fails with the address.

    python -m legal_tasks.tracking close --dag-run ID --status FINISHED|FAILED|KILLED
    python -m legal_tasks.tracking replay        # send what lies in journals
    python -m legal_tasks.tracking reap [--keep ID ...]   # end runs that nobody works on any more
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from legal_tasks import journal, lease
from legal_tasks.journal import Journal

TAG_DAG_RUN = "lexloop.dag_run_id"
TAG_KEY = "lexloop.key"
TAG_STEP = "lexloop.step"
TAG_JOURNAL = "lexloop.journal"
TAG_SEAT = "lexloop.seat"
TAG_PROCESS = "lexloop.process"  # host pid start-time
SEND_EVERY_S = 1.0
BACK_OFF_S = 5.0  # after a failure
LAST_TRY_S = 20.0  # a step that ends waits so long for its thread
PARAM_LIMIT = 6000  # characters, MLflow's bound


class TrackingError(Exception):
    """MLflow is named but cannot be reached or refuses; the message says where and what to do."""


def uri() -> str | None:
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def check_reachable(address: str, timeout_s: float = 3.0) -> None:
    """TrackingError where nothing listens at an http(s) address."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", port), timeout_s).close()
    except OSError as error:
        raise TrackingError(
            f"MLflow at {address} does not answer ({error}); start it (make up) or set MLFLOW_TRACKING_URI to a server that runs"
        ) from error


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a nested report as {dotted.name: float}; texts, lists and booleans are left out."""
    numbers: dict[str, float] = {}
    for name, value in values.items():
        label = f"{prefix}{name}"
        if isinstance(value, Mapping):
            numbers.update(flatten(value, label + "."))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[metric_name(label)] = float(value)
    return numbers


def metric_name(text: str) -> str:
    """MLflow allows letters, digits, `_ - . / :` and spaces in names."""
    return "".join(c if (c.isascii() and c.isalnum()) or c in "_-./: " else "_" for c in text)


def seat() -> str:
    """Which machine and var folder runs belong to: servers are shared, and a reaper ends its own seat's runs only."""
    return f"{socket.gethostname()}:{journal.folder().parent}"


def failures() -> tuple[type[Exception], ...]:
    """What talking to a server that is away, restarting or too slow raises."""
    from mlflow.exceptions import MlflowException

    return (TrackingError, MlflowException, OSError)


class Sender:
    """Brings a journal's entries to MLflow, each at least once; twice is once, see `journal`."""

    def __init__(self, entries: list[dict[str, Any]]):
        self.entries = entries
        self.sent = 0
        self.client: Any = None
        self.run_id: str | None = None
        self.parent_id: str | None = None
        self.url: str | None = None
        self.lock = threading.Lock()
        self.told = False

    def send(self) -> bool:
        """Whether MLflow has everything now."""
        with self.lock:
            try:
                check_reachable(uri() or "")
                if self.run_id is None:
                    self.connect()
                while self.sent < len(self.entries):
                    self.sent = self._send_some(self.sent)
            except failures() as error:
                if not self.told:
                    self.told = True
                    print(f"MLflow is away, the journal keeps what it does not have yet: {error}", flush=True)
                return False
            self.told = False
            return True

    def connect(self) -> None:
        """Find or make the run of this journal."""
        client = self.client = self.client or mlflow_client()
        about = self.entries[0]["open"]
        parent = find_parent(client, about["dag_run"], experiment=about["experiment"]) if about["dag_run"] else None
        experiment = parent.info.experiment_id if parent else _experiment(client, about["experiment"])
        self.parent_id = parent.info.run_id if parent else None
        found = client.search_runs([experiment], f"tags.`{TAG_JOURNAL}` = '{about['id']}'", max_results=1)
        if found:
            run_id = found[0].info.run_id
        else:
            tags = {**about["tags"], TAG_JOURNAL: about["id"]}
            tags |= {"mlflow.parentRunId": self.parent_id, TAG_DAG_RUN: about["dag_run"]} if self.parent_id else {}
            run_id = client.create_run(experiment, start_time=about["start"], tags=tags, run_name=about["name"]).info.run_id
            _log_start(client, run_id, about["params"], about["inputs"])
        self.url = run_url(uri() or "", experiment, run_id)
        _note_path(about["tags"][TAG_KEY]).parent.mkdir(parents=True, exist_ok=True)
        _note_path(about["tags"][TAG_KEY]).write_text(self.url, "utf-8")
        self.run_id = run_id

    def _send_some(self, start: int) -> int:
        """Send the entries from `start` on that fit in one request; the number of the first that was not sent."""
        from mlflow.entities import Metric

        entry = self.entries[start]
        if "metrics" not in entry and "summary" not in entry:
            if "again" in entry:
                self.client.update_run(self.run_id, status="RUNNING")
            if "file" in entry:
                self.client.log_text(self.run_id, entry["text"], entry["file"])
            if "end" in entry:
                self.client.set_terminated(self.run_id, entry["end"], entry["at"])
            return start + 1
        kind = "metrics" if "metrics" in entry else "summary"
        points: list[Any] = []
        while start < len(self.entries) and kind in self.entries[start]:
            if points and len(points) + len(self.entries[start][kind]) > 900:
                break
            points += self.entries[start][kind]
            start += 1
        target = self.run_id if kind == "metrics" else self.parent_id
        if target is not None:
            for first in range(0, len(points), 900):
                self.client.log_batch(target, metrics=[Metric(*point) for point in points[first : first + 900]])
        return start


class Run:
    """A child run that is being written, or nothing at all where no MLflow is named."""

    def __init__(self, book: Journal | None = None):
        self.book = book
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
        pause = SEND_EVERY_S
        while not self.stop.wait(pause):
            assert self.sender is not None
            pending = self.sender.sent < len(self.sender.entries)
            pause = SEND_EVERY_S if not pending or self.sender.send() else BACK_OFF_S

    def log_metrics(self, numbers: Mapping[str, float], step: int = 0) -> None:
        if self.book is not None:
            self.book.add_metrics({metric_name(name): float(value) for name, value in numbers.items()}, step)

    def log_text(self, name: str, text: str) -> None:
        if self.book is not None:
            self.book.append({"file": name, "text": text})

    def finish(self, report: Mapping[str, Any], summary: bool = False) -> None:
        if self.book is None:
            return
        numbers = flatten(report)
        self.log_metrics(numbers)
        if summary and not candidate():  # the numbers of the run are those of the candidate that is chosen
            self.book.append({"summary": [[name, value, journal.now(), 0] for name, value in numbers.items()]})

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


def mlflow_client() -> Any:
    """A client of the server that is named, which answers; None where none is named. TrackingError where it is away."""
    address = uri()
    if address is None:
        return None
    check_reachable(address)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=address, registry_uri=address)


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found is not None else client.create_experiment(name)


def run_url(address: str, experiment_id: str, run_id: str) -> str:
    public = os.environ.get("LEXLOOP_MLFLOW_URL", address)
    return f"{public.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def dag_name() -> str:
    return os.environ.get("LEXLOOP_DAG", "command_line")


def candidate() -> str:
    """Base of the candidate that this step works for; empty where it works for the whole run."""
    return os.environ.get("LEXLOOP_CANDIDATE", "")


def find_parent(client: Any, dag_run: str, create: bool = True, experiment: str | None = None) -> Any:
    """The parent run of a DAG run, made on first use, running again where the DAG run goes on after its end."""
    experiment_id = _experiment(client, experiment or dag_name())
    escaped = dag_run.replace("'", "")
    found = client.search_runs(
        [experiment_id], f"tags.`{TAG_DAG_RUN}` = '{escaped}' and tags.`{TAG_STEP}` = 'parent'", max_results=1
    )
    if found:
        if create and found[0].info.status != "RUNNING" and dag_run == os.environ.get("LEXLOOP_DAG_RUN"):
            client.update_run(found[0].info.run_id, status="RUNNING")
        return found[0]
    if not create:
        return None
    reap([dag_run], client)  # the turn has passed on: what another DAG run left open will not be closed by it
    tags = {TAG_DAG_RUN: escaped, TAG_STEP: "parent", TAG_SEAT: seat()}
    return client.create_run(experiment_id, tags=tags, run_name=dag_run)


def url_of(key: str) -> str | None:
    """Page of the newest child run that made an artifact with this key; None where MLflow is not named."""
    address = uri()
    note = _note_path(key)
    if address is None or not note.is_file():
        return None
    return note.read_text("utf-8").strip()


def _note_path(key: str) -> Path:
    root = Path(os.environ.get("LEXLOOP_VAR", Path(__file__).resolve().parents[1] / "var"))
    return root / "mlflow-runs" / key[:32]


@contextmanager
def step_run(
    step: str,
    key: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, str],
    harmless: tuple[type[BaseException], ...] = (),
) -> Iterator[Run]:
    """A child run around a step's work: parameters, inputs as datasets with digests, status at the end.

    Exceptions of the `harmless` types end the run as KILLED (given up on purpose), others as FAILED.
    """
    if uri() is None:
        yield Run()
        return
    dag_run = os.environ.get("LEXLOOP_DAG_RUN")
    process = f"{socket.gethostname()} {os.getpid()} {lease.process_start(os.getpid())}"
    tags = {TAG_STEP: step, TAG_KEY: key, TAG_SEAT: seat(), TAG_PROCESS: process}
    about = {
        **{
            "name": f"{step} [{candidate()}]" if candidate() else step,
            "experiment": dag_name(),
            "dag_run": dag_run,
            "tags": tags,
        },
        **{"params": {name: str(value)[:PARAM_LIMIT] for name, value in params.items()}, "inputs": dict(inputs)},
    }
    book = Journal(_journal_path(dag_run, step, key), about)
    run = Run(book)
    run.start()
    if run.run_id is not None:
        replay()
    _active.append(run)
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except harmless:
        status = "KILLED"
        raise
    finally:
        _active.pop()
        run.end(status)


def _journal_path(dag_run: str | None, step: str, key: str) -> Path:
    name = hashlib.sha256(f"{dag_name()}\n{dag_run}\n{step}\n{key}".encode()).hexdigest()[:32]
    return journal.folder() / f"{name}.jsonl"


def replay(dag_run: str | None = None) -> int:
    """Send what finished or killed steps left in journals; how many could not be sent.

    `dag_run`: that DAG run has ended. Its steps that were killed end as KILLED, and their journals go.
    """
    left = 0
    for path in sorted(journal.folder().glob("*.jsonl")):
        with journal.locked(path) as file:
            if file is None:
                continue
            entries = journal.read(path)
            if not entries:
                path.unlink()
                continue
            over = dag_run is not None and entries[0]["open"]["dag_run"] == dag_run
            if over and journal.ended(entries) is None:
                entries.append({"end": "KILLED", "at": journal.now()})
            elif "sent" in entries[-1]:
                if over:
                    path.unlink()
                continue
            if journal.ended(entries) is None:
                continue
            if not Sender(entries).send():
                left += 1
            elif over or journal.ended(entries) in journal.FINAL or not entries[0]["open"]["dag_run"]:
                path.unlink()
            else:
                file.seek(0, os.SEEK_END)
                file.write(b'{"sent": true}\n')
    return left


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
        if sent and not replay():
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


def _log_start(client: Any, run_id: str, params: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    values = [Param(name, str(value)) for name, value in params.items()]
    client.log_batch(run_id, params=values)
    datasets = [
        DatasetInput(
            Dataset(name[:200], digest[:36], "local", f'{{"sha256": "{digest}"}}'), [InputTag("mlflow.data.context", name[:200])]
        )
        for name, digest in inputs.items()
    ]
    if datasets:
        client.log_inputs(run_id, datasets)


def close_run(dag_run: str, status: str) -> None:
    """End the parent run of a DAG run, and children that were left RUNNING. TrackingError where MLflow is away."""
    if uri() is None:
        return
    client = mlflow_client()
    replay(dag_run)
    parent = find_parent(client, dag_run, create=False)
    if parent is None:
        return
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    for child in children:
        if child.info.status == "RUNNING":
            client.set_terminated(child.info.run_id, "KILLED")
    client.set_terminated(parent.info.run_id, status)


def close_later(dag_run: str, status: str) -> None:
    """Note that a DAG run has ended, for when MLflow is back."""
    journal.folder().mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(f"{dag_name()}\n{dag_run}".encode()).hexdigest()[:32]
    path = journal.folder() / f"{name}.close"
    path.write_text(json.dumps({"dag": dag_name(), "dag_run": dag_run, "status": status}), "utf-8")


def reap(keep: Sequence[str] = (), client: Any = None) -> list[str]:
    """End this seat's RUNNING runs that nobody works on: parents of DAG runs not in `keep`, steps whose process is gone.

    Returns the ids of the runs that were ended, as KILLED or as their DAG run's end was noted.
    """
    client = client or mlflow_client()
    for dag_run in {_dag_run_of(path) for path in journal.folder().glob("*.jsonl")} - {None, *keep}:
        replay(dag_run)
    noted = {}
    for path in journal.folder().glob("*.close"):
        note = json.loads(path.read_text("utf-8"))
        noted[note["dag_run"]] = (note["status"], path)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{TAG_SEAT}` = '{seat()}' and attributes.status = 'RUNNING'")
    ended = []
    for run in found:
        dag_run = run.data.tags.get(TAG_DAG_RUN, "")
        if (dag_run and dag_run in keep) or (run.data.tags.get(TAG_STEP) != "parent" and _alive(run.data.tags)):
            continue
        client.set_terminated(run.info.run_id, noted.get(dag_run, ("KILLED",))[0])
        ended.append(run.info.run_id)
    for dag_run, (_, path) in noted.items():
        if dag_run not in keep:
            path.unlink(missing_ok=True)
    return ended


def _dag_run_of(path: Path) -> str | None:
    entries = journal.read(path) if path.exists() else []
    return entries[0]["open"]["dag_run"] if entries else None


def _alive(tags: Mapping[str, str]) -> bool:
    """Whether the process that a run's tag names works; one on another machine counts as alive."""
    host, pid, started = tags.get(TAG_PROCESS, "? 0 ?").split(" ")
    return host != socket.gethostname() or lease.process_start(int(pid)) == started


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m legal_tasks.tracking", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("action", choices=["close", "replay", "reap"])
    parser.add_argument("--dag-run", help="close: id of the DAG run")
    parser.add_argument("--status", choices=["FINISHED", "FAILED", "KILLED"], help="close: how it ended")
    parser.add_argument("--keep", action="append", default=[], help="reap: id of a DAG run that is at work")
    arguments = parser.parse_args(argv)
    if arguments.action == "close" and not (arguments.dag_run and arguments.status):
        parser.error("close needs --dag-run and --status")
    if uri() is None:
        print("MLFLOW_TRACKING_URI is not set: nothing to do")
        return 0
    try:
        return _do(arguments)
    except failures() as error:
        print(f"error: {error}", file=sys.stderr)
        if arguments.action == "close":
            close_later(arguments.dag_run, arguments.status)
            print("noted: the run is closed when MLflow is back", file=sys.stderr)
        return 2


def _do(arguments: argparse.Namespace) -> int:
    if arguments.action == "close":
        close_run(arguments.dag_run, arguments.status)
    elif arguments.action == "reap":
        print(f"{len(reap(arguments.keep))} runs ended")
    else:
        left = replay()
        print(f"{left} journals could not be sent" if left else "MLflow has everything")
        return 2 if left else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
