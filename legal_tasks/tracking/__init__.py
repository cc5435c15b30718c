"""MLflow: one parent run per DAG run, one child per step, data lineage (the registry: legal_tasks/registry.py).

Without MLFLOW_TRACKING_URI everything here does nothing, so that a step runs alone on a laptop. A server that is away
costs no step its work: what it should be told lies in a journal (legal_tasks/journal.py) and is sent by a thread, or by
who comes later. A promotion needs the server: it waits, then fails with the address.

    python -m legal_tasks.tracking close --dag-run ID --status FINISHED|FAILED|KILLED
    python -m legal_tasks.tracking replay        # send what lies in journals
    python -m legal_tasks.tracking reap [--keep ID ...]   # end runs that nobody works on any more
"""

from __future__ import annotations

from legal_tasks.tracking.names import flatten, metric_name
from legal_tasks.tracking.runs import (
    Run,
    current_run_id,
    log_file,
    log_metrics,
    log_table,
    note_reuse,
    require,
    set_profile,
    step_run,
)
from legal_tasks.tracking.sending import Sender, close_later, close_run, find_original, find_parent, reap, replay
from legal_tasks.tracking.server import (
    NOTE,
    PARAM_LIMIT,
    TAG_DAG_RUN,
    TAG_JOURNAL,
    TAG_KEY,
    TAG_LIMIT,
    TAG_NAMES,
    TAG_PROCESS,
    TAG_REUSED,
    TAG_SEAT,
    TAG_SKIPPED,
    TAG_STEP,
    TrackingError,
    candidate,
    check_reachable,
    dag_name,
    failures,
    log_in,
    mlflow_client,
    run_url,
    seat,
    uri,
    url_of,
)

__all__ = [
    "NOTE",
    "PARAM_LIMIT",
    "TAG_DAG_RUN",
    "TAG_JOURNAL",
    "TAG_KEY",
    "TAG_LIMIT",
    "TAG_NAMES",
    "TAG_PROCESS",
    "TAG_REUSED",
    "TAG_SEAT",
    "TAG_SKIPPED",
    "TAG_STEP",
    "Run",
    "Sender",
    "TrackingError",
    "candidate",
    "check_reachable",
    "close_later",
    "close_run",
    "current_run_id",
    "dag_name",
    "failures",
    "find_original",
    "find_parent",
    "flatten",
    "log_file",
    "log_in",
    "log_metrics",
    "log_table",
    "metric_name",
    "mlflow_client",
    "reap",
    "replay",
    "note_reuse",
    "require",
    "run_url",
    "seat",
    "set_profile",
    "step_run",
    "uri",
    "url_of",
]
