"""The MLflow server that is named: its client, its experiments, addresses of its pages."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from legal_tasks import journal
from legal_tasks.addresses import take_login

TAG_DAG_RUN = "lexloop.dag_run_id"
TAG_KEY = "lexloop.key"
TAG_STEP = "lexloop.step"
TAG_JOURNAL = "lexloop.journal"
TAG_SEAT = "lexloop.seat"
TAG_PROCESS = "lexloop.process"  # host pid start-time
TAG_DIGEST = "lexloop.digest"  # of the artifact
TAG_REUSED = "reused_from"  # id of the run that made the artifact
TAG_SKIPPED = "lexloop.skipped"  # why a step did nothing
TAG_NAMES = "lexloop.metric_names"  # JSON {metric: as the report spells it}
NOTE = "mlflow.note.content"  # what MLflow's pages show as the description, Markdown
# Which page an experiment opens on: MLflow 3's UI guesses from what lies in it, and notes its guess, unless this says so.
KIND, RUNS_FIRST = "mlflow.experimentKind", "custom_model_development"
GUESSED = ("", "no_inferred_type", "genai_development_inferred", "custom_model_development_inferred")
# From 3.17 on a switch at the page's head, "GenAI | Model training", goes before that; an address may set it.
TRAINING = "?workflowType=machine_learning"
EXPERIMENT_NOTE = """One run per retrain, with a run per step below it. To compare months, filter by tags and select runs:
`tags.month = '2026-11'`, `tags.decision = 'refused'` (released, refused, unchanged, failed), `tags.version = '7'`.

每次重训一个运行，各步骤为其子运行。按标签筛选并选中若干运行即可比较各月。"""
PARAM_LIMIT, TAG_LIMIT = 6000, 8000  # characters, MLflow's bounds


class TrackingError(Exception):
    """MLflow is named but cannot be reached or refuses; the message says where and what to do."""


def uri() -> str | None:
    """MLflow's address without a login; see `log_in`."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or None
    return take_login(given)[0] if given and given.startswith(("http://", "https://")) else given


def log_in() -> None:
    """Give MLflow's client the login that the address carries, unless the environment names one."""
    _, login, password = take_login(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if login and "MLFLOW_TRACKING_USERNAME" not in os.environ:
        os.environ.update(MLFLOW_TRACKING_USERNAME=login, MLFLOW_TRACKING_PASSWORD=password)


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


def failures() -> tuple[type[Exception], ...]:
    """What talking to a server that is away, restarting or too slow raises."""
    from mlflow.exceptions import MlflowException

    return (TrackingError, MlflowException, OSError)


def mlflow_client() -> Any:
    """A client of the server that is named, which answers; None where none is named. TrackingError where it is away."""
    address = uri()
    if address is None:
        return None
    check_reachable(address)
    log_in()
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=address, registry_uri=address)


def experiment_of(client: Any, name: str) -> str:
    """Id of the experiment of this name: made on first use, restored where somebody deleted it, opening on its runs."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, tags={KIND: RUNS_FIRST, NOTE: EXPERIMENT_NOTE})
        except MlflowException:  # another step made it at the same moment
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
        print(f"the experiment {name} had been deleted in MLflow: restored", flush=True)
    if found.tags.get(KIND, "") in GUESSED:
        client.set_experiment_tag(found.experiment_id, KIND, RUNS_FIRST)
    return found.experiment_id


def restore(client: Any, run: Any) -> None:
    """Take a run out of MLflow's bin, and its experiment, so that it can be written again."""
    experiment = client.get_experiment(run.info.experiment_id)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
        run = client.get_run(run.info.run_id)
    if run.info.lifecycle_stage == "deleted":
        client.restore_run(run.info.run_id)
        print(f"the run {run.info.run_name} had been deleted in MLflow: restored", flush=True)


def run_url(address: str, experiment_id: str, run_id: str) -> str:
    """Page of a run."""
    return f"{_experiments(address)}/{experiment_id}/runs/{run_id}{TRAINING}"


def experiment_url(address: str, experiment_id: str) -> str:
    """Page of an experiment that opens on its runs, whatever the browser showed last."""
    return f"{_experiments(address)}/{experiment_id}{TRAINING}"


def _experiments(address: str) -> str:
    return f"{take_login(os.environ.get('LEXLOOP_MLFLOW_URL', address))[0].rstrip('/')}/#/experiments"


def dag_name() -> str:
    return os.environ.get("LEXLOOP_DAG", "command_line")


def candidate() -> str:
    """Base of the candidate that this step works for; empty where it works for the whole run."""
    return os.environ.get("LEXLOOP_CANDIDATE", "")


def seat() -> str:
    """Which machine and var folder runs belong to: servers are shared, and a reaper ends its own seat's runs only."""
    return f"{socket.gethostname()}:{journal.folder().parent}"


def url_of(key: str) -> str | None:
    """Page of the newest child run that made an artifact with this key; None where MLflow is not named."""
    address = uri()
    note = _note_path(key)
    if address is None or not note.is_file():
        return None
    return note.read_text("utf-8").strip()


def _note_path(key: str) -> Path:
    root = Path(os.environ.get("LEXLOOP_VAR", Path(__file__).resolve().parents[2] / "var"))
    return root / "mlflow-runs" / key[:32]
