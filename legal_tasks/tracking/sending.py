"""Journals are brought to MLflow: runs are found or made, told what happened, and ended."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from legal_tasks import journal, lease
from legal_tasks.tracking import parents
from legal_tasks.tracking.datasets import inputs_of
from legal_tasks.tracking.server import (
    NOTE,
    TAG_DAG_RUN,
    TAG_DIGEST,
    TAG_JOURNAL,
    TAG_KEY,
    TAG_LIMIT,
    TAG_PROCESS,
    TAG_REUSED,
    TAG_SEAT,
    TAG_STEP,
    _note_path,
    check_reachable,
    dag_name,
    experiment_of,
    experiment_url,
    failures,
    mlflow_client,
    restore,
    run_url,
    seat,
    uri,
)


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
                self._send()
            except failures() as error:
                if not self.told:
                    self.told = True
                    print(f"MLflow is away, the journal keeps what it does not have yet: {error}", flush=True)
                return False
            self.told = False
            return True

    def _send(self) -> None:
        check_reachable(uri() or "")
        if self.run_id is None:
            self.connect()
        try:
            while self.sent < len(self.entries):
                self.sent = self._send_some(self.sent)
        except failures():
            if not self._bring_back():
                raise
            if self.run_id is None:
                self.connect()
            while self.sent < len(self.entries):
                self.sent = self._send_some(self.sent)

    def _bring_back(self) -> bool:
        """Restore this journal's runs where somebody deleted them; False where that was not the fault.

        A run that was deleted for good is made again, with everything that the journal holds.
        """
        from mlflow.exceptions import MlflowException

        done = False
        for run_id in filter(None, (self.parent_id, self.run_id)):
            try:
                run = self.client.get_run(run_id)
                experiment = self.client.get_experiment(run.info.experiment_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                self.run_id = self.parent_id = None
                self.sent = 0
                return True
            if "deleted" in (run.info.lifecycle_stage, experiment.lifecycle_stage):
                restore(self.client, run)
                done = True
        return done

    def connect(self) -> None:
        """Find or make the run of this journal."""
        from mlflow.entities import ViewType

        client = self.client = self.client or mlflow_client()
        about = self.entries[0]["open"]
        parent = find_parent(client, about["dag_run"], experiment=about["experiment"]) if about["dag_run"] else None
        experiment = parent.info.experiment_id if parent else experiment_of(client, about["experiment"])
        self.parent_id = parent.info.run_id if parent else None
        found = client.search_runs([experiment], f"tags.`{TAG_JOURNAL}` = '{about['id']}'", ViewType.ALL, max_results=1)
        if found:
            run_id = found[0].info.run_id
            restore(client, found[0])
        else:
            tags = {**about["tags"], TAG_JOURNAL: about["id"], **(_reuse_tags(client, about) if about.get("reused") else {})}
            tags |= {"mlflow.parentRunId": self.parent_id, TAG_DAG_RUN: about["dag_run"]} if self.parent_id else {}
            run_id = client.create_run(experiment, start_time=about["start"], tags=tags, run_name=about["name"]).info.run_id
            _log_start(client, run_id, about["params"], about["inputs"])
        self.url = run_url(uri() or "", experiment, run_id)
        note = _note_path(about["tags"][TAG_KEY])
        if not (about.get("reused") and note.exists()):  # which names the run that made the artifact
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(self.url, "utf-8")
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
            for name, value in entry.get("tags", {}).items():
                self.client.set_tag(self.run_id, name, value)
            if "parent" in entry and self.parent_id is not None:
                parents.tell(self.client, self.parent_id, entry["parent"])
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


def _log_start(client: Any, run_id: str, params: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(name, str(value)) for name, value in params.items()])
    datasets = inputs_of(inputs)
    if datasets:
        client.log_inputs(run_id, datasets)


def find_original(client: Any, step: str, key: str) -> Any:
    """The newest run that made the artifact of this key itself; None where MLflow has none any more."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"tags.`{TAG_KEY}` = '{key}' and tags.`{TAG_STEP}` = '{step}' and attributes.status = 'FINISHED'"
    found = client.search_runs(experiments, wanted, max_results=1000, order_by=["attributes.start_time DESC"])
    return next((run for run in found if TAG_REUSED not in run.data.tags), None)


def _reuse_tags(client: Any, about: Mapping[str, Any]) -> dict[str, str]:
    """What tags a run whose step found its result in the store: from which run it is, and which artifact."""
    original = find_original(client, about["tags"][TAG_STEP], about["tags"][TAG_KEY])
    reused = about["reused"]
    tags = {TAG_REUSED: original.info.run_id if original else "a run that MLflow does not have", TAG_DIGEST: reused["digest"]}
    words = f"Reused: `{reused['artifact']}`, made by run {reused['run']}. 复用已有结果。"
    if original:
        page = run_url(uri() or "", original.info.experiment_id, original.info.run_id)
        tags["reused_from_url"] = page
        words += f"\n\n[The run that made it 原运行]({page})"
    return tags | {NOTE: words}


def find_parent(client: Any, dag_run: str, create: bool = True, experiment: str | None = None) -> Any:
    """The parent run of a DAG run, made on first use, running again where the DAG run goes on after its end."""
    from mlflow.entities import ViewType

    experiment_id = experiment_of(client, experiment or dag_name())
    escaped = dag_run.replace("'", "")
    found = client.search_runs(
        [experiment_id], f"tags.`{TAG_DAG_RUN}` = '{escaped}' and tags.`{TAG_STEP}` = 'parent'", ViewType.ALL, max_results=1
    )
    if found:
        restore(client, found[0])
        if create and found[0].info.status != "RUNNING" and dag_run == os.environ.get("LEXLOOP_DAG_RUN"):
            client.update_run(found[0].info.run_id, status="RUNNING")
        return found[0]
    if not create:
        return None
    reap([dag_run], client)  # the turn has passed on: what another DAG run left open will not be closed by it
    tags = {TAG_DAG_RUN: escaped, TAG_STEP: "parent", TAG_SEAT: seat(), "month": parents.this_month()}
    return client.create_run(experiment_id, tags=tags, run_name=dag_run)


def replay(dag_run: str | None = None, reused: bool = True) -> int:
    """Send what finished or killed steps left in journals; how many could not be sent.

    `dag_run`: that DAG run has ended. Its steps that were killed end as KILLED, and their journals go. `reused`: also what
    reused steps left, which can wait.
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
            if not reused and entries[0]["open"].get("reused"):
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


def close_run(dag_run: str, status: str) -> None:
    """End the parent run of a DAG run, with its decision and numbers, and children that were left RUNNING.

    TrackingError where MLflow is away.
    """
    if uri() is None:
        return
    facts = asdict(parents.of_run(dag_name(), dag_run, status))
    client = mlflow_client()
    replay(dag_run)
    parent = find_parent(client, dag_run, create=False)
    if parent is None:
        return
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    for child in children:
        if child.info.status == "RUNNING":
            client.set_terminated(child.info.run_id, "KILLED")
    _tell_end(client, parent, facts)
    client.set_terminated(parent.info.run_id, status)
    _note_of_end(dag_run).unlink(missing_ok=True)


def _tell_end(client: Any, parent: Any, facts: dict[str, Any]) -> None:
    """What a parent run learns at its end; the month that its steps have told stays."""
    kept = {"month"} & client.get_run(parent.info.run_id).data.tags.keys() if parents.given_month() is None else set()
    tags = {name: value for name, value in facts.get("tags", {}).items() if name not in kept}
    if NOTE in tags:
        months = f" · [all months 各月]({experiment_url(uri() or '', parent.info.experiment_id)})"
        tags[NOTE] = tags[NOTE] + months if len(tags[NOTE] + months) <= TAG_LIMIT else tags[NOTE]
    parents.tell(client, parent.info.run_id, {**facts, "tags": tags})


def _note_of_end(dag_run: str) -> Path:
    return journal.folder() / (hashlib.sha256(f"{dag_name()}\n{dag_run}".encode()).hexdigest()[:32] + ".close")


def close_later(dag_run: str, status: str) -> None:
    """Note that a DAG run has ended, and how, for when MLflow is back."""
    path = _note_of_end(dag_run)
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = asdict(parents.of_run(dag_name(), dag_run, status))
    path.write_text(json.dumps({"dag": dag_name(), "dag_run": dag_run, "status": status, "facts": facts}), "utf-8")


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
        noted[note["dag_run"]] = (note["status"], path, note.get("facts", {}))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{TAG_SEAT}` = '{seat()}' and attributes.status = 'RUNNING'")
    ended = []
    for run in found:
        dag_run = run.data.tags.get(TAG_DAG_RUN, "")
        if (dag_run and dag_run in keep) or (run.data.tags.get(TAG_STEP) != "parent" and _alive(run.data.tags)):
            continue
        status, _, facts = noted.get(dag_run, ("KILLED", None, {}))
        if run.data.tags.get(TAG_STEP) == "parent":
            dag = client.get_experiment(run.info.experiment_id).name
            _tell_end(client, run, facts or asdict(parents.of_run(dag, dag_run, status)))
        client.set_terminated(run.info.run_id, status)
        ended.append(run.info.run_id)
    for dag_run, (_, path, _) in noted.items():
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
