"""Links from Airflow's pages to MLflow: a task's button, there from its first moment on, and a tab of a run.

A link names the DAG run and the step, no run of MLflow's: it stands before the step has one there, and after it failed or was
skipped. `to_mlflow` finds the page when somebody follows it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from airflow.plugins_manager import AirflowPlugin
from airflow.providers.common.compat.sdk import XCom
from airflow.sdk import BaseOperatorLink

PREFIX = "/mlflow-run"
log = logging.getLogger(__name__)


def address(dag_id: str, run_id: str, step: str = "") -> str:
    """Where the MLflow run of a step of a DAG run is found, the DAG run's own without a step."""
    from airflow.configuration import conf

    query = {"dag": dag_id, "run": run_id} | ({"step": step} if step else {})
    return f"{conf.get('api', 'base_url', fallback='').rstrip('/')}{PREFIX}/open?{urlencode(query)}"


class MlflowRunLink(BaseOperatorLink):
    """The button "MLflow run" of a task: the run that its result names, else the one that is found by DAG run and step."""

    name = "MLflow run"

    def __init__(self, step: str = ""):
        self.step = step

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        from legal_tasks.notes import web_address

        result = XCom.get_value(ti_key=ti_key, key="return_value")
        known = result.get("mlflow_run_url") if isinstance(result, dict) else None
        # An XCom can be written by whoever may change a run: what is no web address becomes no link.
        return web_address(known) or address(ti_key.dag_id, ti_key.run_id, self.step)


def show(step: str, then: Callable[[Any], None]) -> Callable[[Any], None]:
    """A hook for `pre_execute`: the link on the task's page and in its log before anything else, then `then`."""

    def begin_task(context: Any) -> None:
        ti, link = context["ti"], MlflowRunLink(step)
        found = address(ti.dag_id, context["dag_run"].run_id, step)
        log.info("MLflow: %s", found)
        ti.xcom_push(key=link.xcom_key, value=found)
        then(context)

    return begin_task


class LexLoopPlugin(AirflowPlugin):
    """Makes the link known to the API server."""

    name = "lexloop"
    operator_extra_links = [MlflowRunLink()]
