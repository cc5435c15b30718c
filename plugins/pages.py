"""The page "Legal models" in Airflow's navigation, and the evaluation's report as a tab of a run, behind Airflow's login.

Airflow puts no login before a plugin's page: `reader` verifies the session's token itself and asks the auth manager whether
this user may read a retrain's runs; of the rows each is shown to who may read the runs of its own DAG. The page reads; the one
thing that it writes is an override of a refusal, in two steps by two users (`legal_tasks.serving.override`).
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

PREFIX = "/legal-models"
DAGS = ("monthly_retrain", "quarterly_retrain")
ZONE = ZoneInfo("Asia/Shanghai")
MOST_ROWS = 120
TOKEN_S = 3600  # a form that lay open longer has to be loaded again
HEADERS = {
    # Nothing from elsewhere, no script but our own; shown inside Airflow's own pages only.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
# The report brings its own script: it runs in an origin of its own, where Airflow's session is out of its reach.
REPORT_HEADERS = HEADERS | {
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
}
# Airflow's frame lets no link out of it (its sandbox has neither allow-popups nor allow-top-navigation), but it is of the same
# origin: the page around opens the link. Can go when the frame allows popups.
LINKS = """document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || window.parent === window) return;
  event.preventDefault();
  const outside = window.parent.document.createElement("a");
  outside.href = link.href;
  outside.target = "_blank";
  outside.rel = "noopener";
  window.parent.document.body.append(outside);
  outside.click();
  outside.remove();
});
"""
# The picture, in units of its view box.
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 260, 48, 14, 16, 34

app = FastAPI(title="Legal models", docs_url=None, redoc_url=None, openapi_url=None)


def session_token(request: Request) -> str | None:
    """The JWT of the session: from the header, else from Airflow's cookie."""
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN

    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    return bearer if scheme.lower() == "bearer" else request.cookies.get(COOKIE_NAME_JWT_TOKEN)


async def signed_in(request: Request) -> Any:
    """The user of the session; 401 without a valid one."""
    from airflow.api_fastapi.app import get_auth_manager
    from jwt import InvalidTokenError

    token = session_token(request)
    if not token:
        raise HTTPException(401, "log in to Airflow first")
    try:
        return await get_auth_manager().get_user_from_token(token)
    except InvalidTokenError:
        raise HTTPException(401, "the session has ended: log in to Airflow again") from None


async def reader(request: Request) -> Any:
    """The user of the session; 401 without a valid one, 403 where it may read the runs of no retrain."""
    user = await signed_in(request)
    if not any(may(user, "GET", dag) for dag in DAGS):
        raise HTTPException(403, f"you may not read the runs of {' or '.join(DAGS)}")
    return user


def base_path() -> str:
    """The path below which Airflow is reached, without the last slash: /airflow, or empty."""
    from airflow.configuration import conf

    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


def may(user: Any, method: Any, dag: str) -> bool:
    """Whether Airflow lets this user read (GET) or change (PUT) the runs of a retrain."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails

    manager, details = get_auth_manager(), DagDetails(id=dag)
    return manager.is_authorized_dag(method=method, access_entity=DagAccessEntity.RUN, details=details, user=user)


def signer() -> Any:
    """Signs the forms' tokens with the API server's key, so that every worker knows them."""
    from airflow.configuration import conf
    from itsdangerous import URLSafeTimedSerializer

    return URLSafeTimedSerializer(conf.get_mandatory_value("api", "secret_key"), salt="legal-models override")


async def writer(request: Request) -> tuple[Any, Any, Any]:
    """(user, row of the run, form) of a POST; 403 without this user's own token for this run, or with too small a role."""
    from itsdangerous import BadSignature

    from legal_tasks import months
    from legal_tasks.step import var_folder

    user, form = await reader(request), await request.form()
    dag, run = str(form.get("dag", "")), str(form.get("run", ""))
    try:
        signed = signer().loads(str(form.get("token", "")), max_age=TOKEN_S)
    except BadSignature:
        signed = None
    if signed != [str(user.get_id()), dag, run]:
        raise HTTPException(403, "the form's token is missing, old or somebody else's: load the page again")
    row = await run_in_threadpool(months.find, var_folder(), dag, run)
    if row is None:
        raise HTTPException(404, f"there is no retrain {run} of {dag}")
    if not may(user, "PUT", row.dag):
        raise HTTPException(403, f"you may not change the runs of {row.dag}")
    return user, row, form


@lru_cache
def template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"percent": percent, "size": size, "time": time_of, "address": address_part}
    return environment.get_template("legal_models.html")


def address_part(text: str) -> str:
    """A text as one part of an address; a dot too, because browsers take `.` and `..` out of a path."""
    return quote(text, safe="").replace(".", "%2E")


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def size(count: int | None) -> str:
    if count is None:
        return "–"
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


def time_of(seconds: float | None) -> str:
    return "–" if seconds is None else f"{datetime.datetime.fromtimestamp(seconds, ZONE):%Y-%m-%d %H:%M}"


def picture(rows: list[Any]) -> dict[str, Any]:
    """Where the points, whiskers, bounds and labels of the picture stand; accuracies from 0 to 1 upwards."""
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    step = inner_width / max(len(rows), 1)

    def y(value: float) -> float:
        return round(TOP + inner_height * (1 - value), 1)

    points = []
    for number, row in enumerate(rows):
        point = {"row": row, "x": round(LEFT + step * (number + 0.5), 1), "y": y(row.accuracy), "half": round(step / 2, 1)}
        point |= {"low": y(row.low) if row.low is not None else None, "high": y(row.high) if row.high is not None else None}
        points.append(point | {"bound": y(row.bound) if row.bound is not None else None})
    grid = [{"y": y(value / 4), "label": f"{25 * value} %"} for value in range(5)]
    every = max(1, -(-len(rows) // 12))
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "points": points,
        "grid": grid,
        "every": every,
    }


@app.get("/page", response_class=HTMLResponse)
async def page(request: Request) -> HTMLResponse:
    user = await reader(request)
    return HTMLResponse(await run_in_threadpool(render, user), headers=HEADERS)


@app.get("/links.js")
async def links() -> Response:
    return Response(LINKS, media_type="text/javascript")


@app.get("/report", response_class=HTMLResponse)
async def report(request: Request, run: str, dag: str = "") -> HTMLResponse:
    """The evaluation's report of a run, as its artifact holds it; without `dag` of the first retrain that has this run."""
    from legal_tasks import months
    from legal_tasks.step import var_folder

    user = await reader(request)
    named = [await run_in_threadpool(months.find, var_folder(), name, run) for name in ([dag] if dag else DAGS)]
    found = [row for row in named if row]
    readable = [row for row in found if may(user, "GET", row.dag)]
    if found and not readable:
        raise HTTPException(403, f"you may not read the runs of {' or '.join(row.dag for row in found)}")
    row = next(iter(readable), None)
    path = Path(row.report) / "report.html" if row and row.report else None
    if path is None or not path.is_file():
        return HTMLResponse("<!doctype html><p>This run has no evaluation report (yet).</p>", 404, headers=REPORT_HEADERS)
    return HTMLResponse(path.read_text("utf-8"), headers=REPORT_HEADERS)


@app.post("/override")
async def ask_for_override(request: Request) -> Response:
    """The first person's part: the reason."""
    from legal_tasks.serving import override

    user, row, form = await writer(request)
    return await settle(
        user, lambda store: override.ask(store, *judged(row), *identity(user), reason=str(form.get("reason", "")))
    )


@app.post("/override-confirm")
async def confirm_override(request: Request) -> Response:
    """The second person's part; the retrain's release then runs again."""
    from legal_tasks.serving import override

    user, row, form = await writer(request)
    number = str(form.get("number", ""))
    answer = await settle(
        user, lambda store: override.confirm(store, int(number) if number.isdecimal() else 0, *identity(user), about=judged(row))
    )
    if answer.status_code < 400:
        trouble = await release_again(session_token(request), row)
        if trouble:
            shown = f"Confirmed. Airflow did not take up the release by itself ({trouble}): clear the run's task release."
            return HTMLResponse(await run_in_threadpool(render, user, shown), headers=HEADERS)
    return answer


def judged(row: Any) -> tuple[Path, Path]:
    """(decision, candidate) of a run: folders of artifacts."""
    if row.state != "refused" or not row.gate or not row.candidate:
        raise HTTPException(409, f"{row.run} is {row.state}: only a refusal can be overridden")
    return Path(row.gate), Path(row.candidate)


def identity(user: Any) -> tuple[str, str]:
    """(id, name) as the auth manager knows a user."""
    return str(user.get_id()), str(user.get_name())


async def settle(user: Any, change: Callable[[Any], Any]) -> Response:
    """Write to the release history and show the page again; 409 with the reason where that is not allowed."""
    from legal_tasks.artifacts import ArtifactError
    from legal_tasks.serving.state import Database
    from legal_tasks.step import StepError

    try:
        await run_in_threadpool(lambda: change(Database()))
    except (StepError, ArtifactError) as error:
        return HTMLResponse(await run_in_threadpool(render, user, str(error)), 409, headers=HEADERS)
    return RedirectResponse("page", 303, headers=HEADERS)  # relative: Airflow may live below a prefix


async def release_again(token: str | None, row: Any) -> str:
    """Clear the task release of the run through Airflow's own API, as the user who confirmed; what went wrong, or nothing."""
    import httpx
    from airflow.configuration import conf

    body = {"dry_run": False, "only_failed": False, "dag_run_id": row.run, "task_ids": ["release"], "reset_dag_runs": True}
    address = f"{conf.get_mandatory_value('api', 'base_url').rstrip('/')}/api/v2/dags/{quote(row.dag)}/clearTaskInstances"
    try:
        async with httpx.AsyncClient(timeout=30, trust_env=False, headers={"Authorization": f"Bearer {token}"}) as client:
            answer = await client.post(address, json=body)
    except httpx.TransportError as error:
        return str(error) or type(error).__name__
    if not answer.is_success:
        return f"{answer.status_code}: {answer.text[:200]}"
    return await run_in_threadpool(switch_on, token, row)


class AirflowApi:
    """Airflow's own API as the user of a session, for `legal_tasks.schedule`."""

    def __init__(self, token: str | None):
        from airflow.configuration import conf

        self.address, self.token = f"{conf.get_mandatory_value('api', 'base_url').rstrip('/')}/api/v2", token

    def call(self, method: str, path: str, **options: Any) -> Any:
        import httpx

        with httpx.Client(timeout=30, trust_env=False, headers={"Authorization": f"Bearer {self.token}"}) as client:
            answer = client.request(method, f"{self.address}{path}", **options)
        answer.raise_for_status()
        return answer.json()


def switch_on(token: str | None, row: Any) -> str:
    """Airflow lets the tasks of a DAG that is off wait: let the run's work, without its schedule; what went wrong."""
    import httpx

    from legal_tasks import schedule

    try:
        schedule.switch_on(AirflowApi(token), row.dag, row.run, keep=False, now=time.time())
    except httpx.HTTPError as error:
        return f"{row.dag} could not be switched on: {error}"
    return ""


def render(user: Any, said: str = "") -> str:
    """The page for this user; `said` stands above it."""
    from legal_tasks import months

    found = months.overview(shown=lru_cache(lambda dag: may(user, "GET", dag)))
    refusals, signs = found.refusals(), signer()
    identifier = str(user.get_id())
    return template().render(
        production=found.production,
        trouble=found.trouble,
        rows=found.rows[:MOST_ROWS],
        hidden=max(0, len(found.rows) - MOST_ROWS),
        refusals=refusals,
        asked=found.asked,
        user=identifier,
        tokens={
            (row.dag, row.run): signs.dumps([identifier, row.dag, row.run])
            for row in refusals
            if row.gate and may(user, "PUT", row.dag)
        },
        base=base_path(),
        said=said,
        changes=found.changes[:12],
        picture=picture(found.months()),
    )


class LegalModelsPlugin(AirflowPlugin):
    """The page and its place in the navigation."""

    name = "legal_models"
    fastapi_apps = [{"app": app, "url_prefix": PREFIX, "name": "Legal models"}]
    external_views = [
        {
            "name": "Legal models",
            "href": f"{base_path()}{PREFIX}/page",
            "destination": "nav",
            "url_route": "legal-models",
            "nav_top_level": True,
        },
        {
            "name": "Evaluation",
            "href": f"{base_path()}{PREFIX}/report?dag={{DAG_ID}}&run={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "evaluation-report",
        },
    ]
