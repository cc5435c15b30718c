"""`/mlflow-run/open?dag=…&run=…&step=…`: from a run in Airflow to its page in MLflow, behind Airflow's login.

MLflow is asked when somebody follows the link, for a few seconds at most, never when a page of Airflow's is built.
"""

from __future__ import annotations

import html
import os
from typing import Any
from urllib.parse import urlsplit

from airflow.plugins_manager import AirflowPlugin
from credentials import mlflow_address, of_step
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from links import PREFIX
from pages import base_path, may, signed_in

from legal_tasks.addresses import take_login
from legal_tasks.tracking.server import TRAINING

TIMEOUT_S = 5.0
MOST_RUNS = 200  # of a DAG run in MLflow: a dozen steps for each of eight candidates
TAG_DAG_RUN, TAG_STEP, PARENT = "lexloop.dag_run_id", "lexloop.step", "parent"  # as legal_tasks.tracking writes them
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; frame-ancestors 'self'; "
    "form-action 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

app = FastAPI(title="MLflow", docs_url=None, redoc_url=None, openapi_url=None)


class NotFound(Exception):
    """There is no page in MLflow (yet); the text says why and what to do."""


async def check(request: Request, dag: str) -> None:
    """401 without a valid session, 403 where its user may not read the runs of this DAG."""
    user = await signed_in(request)
    if not may(user, "GET", dag):
        raise HTTPException(403, f"you may not read the runs of {dag}")


@app.get("/open")
async def open_run(request: Request, dag: str, run: str, step: str = "") -> Response:
    """Sends the browser to MLflow's page; in Airflow's frame, which MLflow does not let itself be shown in, gives the link."""
    await check(request, dag)
    try:
        target = await run_in_threadpool(find, dag, run, step)
    except NotFound as error:
        return page(f"<p>{html.escape(str(error))}</p>", 404)
    if request.headers.get("sec-fetch-dest") == "iframe":
        shown = html.escape(target, quote=True)
        return page(f'<p><a href="{shown}" target="_blank" rel="noopener">{html.escape(run)} in MLflow</a></p>')
    return RedirectResponse(target, 307, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def page(body: str, status: int = 200) -> HTMLResponse:
    head = '<meta charset="utf-8"><title>MLflow</title><style>body{font:16px sans-serif;margin:2em}</style>'
    # The frame lets no link out; this script of ours lets the page around open it.
    script = '<script src="../legal-models/links.js" defer></script>'
    return HTMLResponse(f"<!doctype html>{head}{script}{body}", status, headers=HEADERS)


def find(dag: str, run: str, step: str) -> str:
    """Address of MLflow's page for a step of a DAG run, or for the DAG run where the step has no run, or several."""
    server = mlflow_address()
    if not server.startswith(("http://", "https://")):
        raise NotFound("MLFLOW_TRACKING_URI names no server with pages: start one (make up), or name it")
    public = take_login(os.environ.get("LEXLOOP_MLFLOW_URL", server))[0].rstrip("/")
    if urlsplit(public).scheme not in ("http", "https"):
        raise NotFound("LEXLOOP_MLFLOW_URL must begin with http:// or https://")
    experiment, runs = ask(server.rstrip("/"), dag, run)
    if not runs and " " in run:  # Airflow does not quote a run's id in the address of a tab
        experiment, runs = ask(server.rstrip("/"), dag, run.replace(" ", "+"))
    if not runs:
        raise NotFound(f"MLflow has no run of {run} of {dag} yet: it is there once the first step works. Load this page again.")
    tagged = [(tags(each).get(TAG_STEP), each["info"]["run_id"]) for each in runs]
    of_step_ = [run_id for name, run_id in tagged if step and name == step]
    parents = [run_id for name, run_id in tagged if name == PARENT]
    chosen = of_step_[0] if len(of_step_) == 1 else (parents or of_step_ or [tagged[0][1]])[0]
    return f"{public}/#/experiments/{experiment}/runs/{chosen}{TRAINING}"


def tags(run: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["value"] for each in run["data"].get("tags", [])}


def ask(server: str, dag: str, run: str) -> tuple[str, list[dict[str, Any]]]:
    """(id of the DAG's experiment, MLflow's runs of a DAG run); NotFound where MLflow is away or refuses."""
    import httpx

    given = of_step("links")
    headers = {"Authorization": f"Bearer {given['MLFLOW_TRACKING_TOKEN']}"} if "MLFLOW_TRACKING_TOKEN" in given else {}
    login = (
        (given["MLFLOW_TRACKING_USERNAME"], given["MLFLOW_TRACKING_PASSWORD"]) if "MLFLOW_TRACKING_USERNAME" in given else None
    )
    trusted: Any = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True
    verify = False if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS") == "true" else trusted
    options: dict[str, Any] = {"timeout": TIMEOUT_S, "headers": headers, "auth": login, "verify": verify}
    try:
        with httpx.Client(base_url=f"{server}/api/2.0/mlflow", **options) as client:
            found = client.get("/experiments/get-by-name", params={"experiment_name": dag})
            if found.status_code == 404:
                return "", []
            experiment = found.raise_for_status().json()["experiment"]["experiment_id"]
            wanted = f"tags.`{TAG_DAG_RUN}` = '{run.replace(chr(39), '')}'"
            body = {"experiment_ids": [experiment], "filter": wanted, "max_results": MOST_RUNS}
            return experiment, client.post("/runs/search", json=body).raise_for_status().json().get("runs", [])
    except httpx.HTTPStatusError as error:
        raise NotFound(f"MLflow at {server} answers {error.response.status_code}: see the Connection lexloop_mlflow") from error
    except httpx.HTTPError as error:
        raise NotFound(f"MLflow at {server} does not answer ({type(error).__name__}): make status") from error


class ToMlflowPlugin(AirflowPlugin):
    """The way to MLflow, and a run's tab with it."""

    name = "to_mlflow"
    fastapi_apps = [{"app": app, "url_prefix": PREFIX, "name": "MLflow"}]
    external_views = [
        {
            "name": "MLflow",
            "href": f"{base_path()}{PREFIX}/open?dag={{DAG_ID}}&run={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "mlflow",
        },
    ]
