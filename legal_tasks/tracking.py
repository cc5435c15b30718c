"""MLflow: one parent run per DAG run, one child per step, data lineage, the registry `legal-llm` and its aliases.

Without MLFLOW_TRACKING_URI everything here does nothing, so that a step runs alone on a laptop. A server that does not
answer when a step starts is a TrackingError (the caller can start it); one that goes away later never costs the result:
what could not be logged is said, and stands in the artifact's report.

    python -m legal_tasks.tracking close --dag-run ID --status FINISHED|FAILED|KILLED
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MODEL = "legal-llm"
TAG_DAG_RUN = "lexloop.dag_run_id"
TAG_KEY = "lexloop.key"
TAG_STEP = "lexloop.step"
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


class Run:
    """A child run that is being written, or nothing at all where no MLflow is named."""

    def __init__(self, client: Any = None, run_id: str | None = None, parent_id: str | None = None, url: str | None = None):
        self.client, self.run_id, self.parent_id, self.url = client, run_id, parent_id, url
        self.pending: list[Any] = []

    def log_metrics(self, numbers: Mapping[str, float], step: int = 0) -> None:
        if self.client is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.pending += [Metric(metric_name(name), float(value), now, step) for name, value in numbers.items()]
        self._flush(self.run_id)

    def _flush(self, run_id: str | None) -> None:
        from mlflow.exceptions import MlflowException

        try:
            while self.pending:
                self.client.log_batch(run_id, metrics=self.pending[:900])
                del self.pending[:900]
        except (MlflowException, OSError) as error:
            print(f"MLflow: {len(self.pending)} numbers not logged yet ({type(error).__name__}); trying again later", flush=True)

    def finish(self, report: Mapping[str, Any], summary: bool = False) -> None:
        if self.client is None:
            return
        numbers = flatten(report)
        self.log_metrics(numbers)
        if self.pending:
            print("MLflow: it stays away; the numbers stand in the artifact's report.json", flush=True)
            return
        if summary and self.parent_id:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            self.client.log_batch(self.parent_id, metrics=[Metric(n, v, now, 0) for n, v in list(numbers.items())[:900]])


_active: list[Run] = []


def log_metrics(numbers: Mapping[str, float], step: int = 0) -> None:
    """Log numbers of the running step, e.g. a training curve; does nothing without MLflow."""
    if _active:
        _active[-1].log_metrics(numbers, step)


def _client() -> Any:
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


def find_parent(client: Any, dag_run: str, create: bool = True) -> Any:
    """The parent run of a DAG run, made on first use."""
    experiment = _experiment(client, dag_name())
    escaped = dag_run.replace("'", "")
    found = client.search_runs(
        [experiment], f"tags.`{TAG_DAG_RUN}` = '{escaped}' and tags.`{TAG_STEP}` = 'parent'", max_results=1
    )
    if found:
        return found[0]
    if not create:
        return None
    tags = {TAG_DAG_RUN: escaped, TAG_STEP: "parent"}
    return client.create_run(experiment, tags=tags, run_name=dag_run)


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
    client = _client()
    if client is None:
        yield Run()
        return
    address = uri() or ""
    dag_run = os.environ.get("LEXLOOP_DAG_RUN")
    parent = find_parent(client, dag_run) if dag_run else None
    experiment = parent.info.experiment_id if parent else _experiment(client, dag_name())
    tags = {TAG_STEP: step, TAG_KEY: key}
    if parent is not None:
        tags |= {"mlflow.parentRunId": parent.info.run_id, TAG_DAG_RUN: dag_run or ""}
    created = client.create_run(experiment, tags=tags, run_name=step)
    run_id = created.info.run_id
    url = run_url(address, experiment, run_id)
    run = Run(client, run_id, parent.info.run_id if parent else None, url)
    _log_start(client, run_id, params, inputs)
    note = _note_path(key)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(url, "utf-8")
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
        _terminate(client, run_id, status)


def _log_start(client: Any, run_id: str, params: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    values = [Param(name, str(value)[:PARAM_LIMIT]) for name, value in params.items()]
    client.log_batch(run_id, params=values)
    datasets = [
        DatasetInput(
            Dataset(name[:200], digest[:36], "local", f'{{"sha256": "{digest}"}}'), [InputTag("mlflow.data.context", name[:200])]
        )
        for name, digest in inputs.items()
    ]
    if datasets:
        client.log_inputs(run_id, datasets)


def _terminate(client: Any, run_id: str, status: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.set_terminated(run_id, status)
    except (MlflowException, OSError) as error:
        print(f"MLflow: could not close run {run_id} as {status} ({type(error).__name__})", flush=True)


def register_model(digest: str, source: str, tags: Mapping[str, str], aliases: Mapping[str, str] | None = None) -> str | None:
    """Register a version of `legal-llm` whose artifact has this digest (once) and return its number.

    `aliases` maps an alias to a digest; each is set to that digest's version, so that they follow the release state.
    Returns None without MLflow.
    """
    client = _client()
    if client is None:
        return None
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(MODEL)
    except MlflowException:
        client.create_registered_model(MODEL)
    versions = {v.tags.get("digest"): v for v in client.search_model_versions(f"name='{MODEL}'")}
    version = versions.get(digest)
    if version is None:
        version = _create_version(client, digest, source, tags)
        versions[digest] = version
    else:
        for name, value in tags.items():  # the gate's word on a model may change from one run to the next
            if version.tags.get(name) != str(value)[:8000]:
                client.set_model_version_tag(MODEL, version.version, name, str(value)[:8000])
    for alias, wanted in (aliases or {}).items():
        if wanted in versions:
            client.set_registered_model_alias(MODEL, alias, versions[wanted].version)
    return str(version.version)


def _create_version(client: Any, digest: str, source: str, tags: Mapping[str, str]) -> Any:
    """A new version whose files in MLflow are the artifact's manifest and report; the weights stay in the store.

    MLflow takes no local folder as a source that is not below a run's artifacts, and large uploads through it fail.
    """
    if not _active or _active[-1].run_id is None:
        raise TrackingError("a model version is registered from inside a step's run only: call it from run()")
    run_id = _active[-1].run_id
    for name in ("manifest.json", "report.json", "table.md"):
        if (Path(source) / name).is_file():
            client.log_artifact(run_id, str(Path(source) / name), "model")
    texts = {name: str(value)[:8000] for name, value in {**tags, "digest": digest, "store_path": source}.items()}
    return client.create_model_version(MODEL, f"runs:/{run_id}/model", run_id=run_id, tags=texts)


def close_run(dag_run: str, status: str) -> None:
    """End the parent run of a DAG run, and children that were left RUNNING."""
    client = _client()
    if client is None:
        return
    parent = find_parent(client, dag_run, create=False)
    if parent is None:
        return
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    for child in children:
        if child.info.status == "RUNNING":
            _terminate(client, child.info.run_id, "KILLED")
    _terminate(client, parent.info.run_id, status)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m legal_tasks.tracking", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("action", choices=["close"])
    parser.add_argument("--dag-run", required=True, help="id of the DAG run")
    parser.add_argument("--status", required=True, choices=["FINISHED", "FAILED", "KILLED"])
    arguments = parser.parse_args(argv)
    try:
        close_run(arguments.dag_run, arguments.status)
    except TrackingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
