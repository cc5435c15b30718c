"""The page "Legal models" in Airflow's navigation: months, decisions, production. Read-only, behind Airflow's login.

Airflow puts no login before a plugin's page: `reader` verifies the session's token itself and asks the auth manager whether
this user may read the retrain's runs.
"""

from __future__ import annotations

import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response

PREFIX = "/legal-models"
DAG = "monthly_retrain"
ZONE = ZoneInfo("Asia/Shanghai")
MOST_ROWS = 120
HEADERS = {
    # Nothing from elsewhere, no script but our own; shown inside Airflow's own pages only.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
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


async def reader(request: Request) -> Any:
    """The user of the session; 401 without a valid one, 403 where it may not read the retrain's runs."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
    from jwt import InvalidTokenError

    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    token = bearer if scheme.lower() == "bearer" else request.cookies.get(COOKIE_NAME_JWT_TOKEN)
    if not token:
        raise HTTPException(401, "log in to Airflow first")
    manager = get_auth_manager()
    try:
        user = await manager.get_user_from_token(token)
    except InvalidTokenError:
        raise HTTPException(401, "the session has ended: log in to Airflow again") from None
    details = DagDetails(id=DAG)
    if not manager.is_authorized_dag(method="GET", access_entity=DagAccessEntity.RUN, details=details, user=user):
        raise HTTPException(403, f"you may not read the runs of {DAG}")
    return user


@lru_cache
def template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"percent": percent, "size": size, "time": time_of, "address": lambda text: quote(text, safe="")}
    return environment.get_template("legal_models.html")


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
    await reader(request)
    from fastapi.concurrency import run_in_threadpool

    return HTMLResponse(await run_in_threadpool(render), headers=HEADERS)


@app.get("/links.js")
async def links() -> Response:
    return Response(LINKS, media_type="text/javascript")


def render() -> str:
    from legal_tasks import months

    found = months.overview()
    return template().render(
        production=found.production,
        rows=found.rows[:MOST_ROWS],
        hidden=max(0, len(found.rows) - MOST_ROWS),
        refusals=found.refusals(),
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
            "href": f"{PREFIX}/page",
            "destination": "nav",
            "url_route": "legal-models",
            "nav_top_level": True,
        }
    ]
