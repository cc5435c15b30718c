"""Links from Airflow's pages to MLflow."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin
from airflow.providers.common.compat.sdk import XCom
from airflow.sdk import BaseOperatorLink


class MlflowRunLink(BaseOperatorLink):
    """The button "MLflow run" of a task: the page of the run that the task's result names."""

    name = "MLflow run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        result = XCom.get_value(ti_key=ti_key, key="return_value")
        return (result or {}).get("mlflow_run_url") or ""


class LexLoopPlugin(AirflowPlugin):
    """Makes the link known to the API server."""

    name = "lexloop"
    operator_extra_links = [MlflowRunLink()]
