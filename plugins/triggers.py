"""A trigger that cannot work, or asks for what only the installation may set, is refused where it is made, with field and reason.

Airflow checks a form by JSON Schema alone and shows "Bad Request". This stands before its API: it reads the body of what starts a
run (a trigger, a backfill), asks `legal_tasks.settings.form` and the DAG's own form, and answers 422 with plain words, which the
page shows and the API has in `detail`. What comes in another way is refused by the run's first task (`turns.begin`).
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from legal_tasks.data.costs import depth_of
from legal_tasks.evaluation import law
from legal_tasks.settings import SettingsError, form
from legal_tasks.step import StepError

LARGEST = 1 << 20  # bytes of a body; a form comes to a few thousand
TRIGGER = re.compile(r"/api/v2/dags/([^/]+)/dagRuns/?")
BACKFILL = re.compile(r"/api/v2/backfills(?:/dry_run)?/?")
RETRAINS = (form.MONTHLY, form.QUARTERLY)
TAG = "legal-llm"  # of all our DAGs; other people's are none of our business
DEEPEST = 10  # lists and objects of a conf within each other
MOST = 20  # things that are told at once


class Triggers:
    """ASGI middleware; everything but the body of a POST that starts runs passes untouched."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette._utils import get_route_path

        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        path = get_route_path(scope)
        trigger = TRIGGER.fullmatch(path)
        if not trigger and not BACKFILL.fullmatch(path):
            return await self.app(scope, receive, send)
        messages, body = await read(receive)
        if body is None:
            return await answer(
                send, 413, f"the request is larger than {LARGEST} bytes: a run's conf holds the form's fields only"
            )
        asked = parse(body)
        dag_id = trigger[1] if trigger else asked.get("dag_id")
        if asked and isinstance(dag_id, str) and await is_allowed(scope, dag_id):
            from fastapi.concurrency import run_in_threadpool

            wrong = await run_in_threadpool(problems, scope.get("app"), dag_id, asked, "conf" if trigger else "dag_run_conf")
            if wrong:
                more = [f"… and {len(wrong) - MOST} more"] if len(wrong) > MOST else []
                return await answer(send, 422, "\n".join([*wrong[:MOST], *more]))
        await self.app(scope, replay(messages, receive), send)


async def read(receive: Any) -> tuple[list[Any], bytes | None]:
    """(the messages of a request, its body); None for a body that is too large, of which no more is read."""
    messages, body = [], bytearray()
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":  # the client has gone
            return messages, b""
        body += message.get("body", b"")
        if len(body) > LARGEST:
            return messages, None
        if not message.get("more_body"):
            return messages, bytes(body)


def replay(messages: list[Any], receive: Any) -> Any:
    """What gives the messages again, then what comes after them."""
    left = list(messages)

    async def again() -> Any:
        return left.pop(0) if left else await receive()

    return again


def parse(body: bytes) -> Mapping[str, Any]:
    """The body's JSON object as Airflow will read it; {} for what it is going to refuse by itself."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


async def answer(send: Any, status: int, detail: str) -> None:
    """An error as FastAPI gives it; ASCII, because what somebody sent may be no Unicode."""
    content = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def is_allowed(scope: Any, dag_id: str) -> bool:
    """Whether the session's user may start runs of this DAG; whoever may not gets Airflow's own answer, and learns nothing."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
    from fastapi import HTTPException, Request
    from jwt import InvalidTokenError
    from pages import session_token

    token = session_token(Request(scope))
    if not token:
        return False
    manager = get_auth_manager()
    try:
        user = await manager.get_user_from_token(token)
    except (InvalidTokenError, HTTPException):
        return False
    details = DagDetails(id=dag_id)
    return manager.is_authorized_dag(method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user)


def problems(app: Any, dag_id: str, asked: Mapping[str, Any], name: str) -> list[str]:
    """What is wrong with the conf of a run to be, a sentence each."""
    conf = asked.get(name)
    if conf is not None and not isinstance(conf, dict):
        return []  # Airflow says so, and names the field
    conf = conf or {}
    deep = [
        f"{name}: {depth} lists or objects within each other, at most {DEEPEST}" for depth in [depth_of(conf)] if depth > DEEPEST
    ]
    if deep:  # showing it would need more stack than there is
        return deep
    if dag_id in RETRAINS:
        try:
            wrong = form.check(conf, dag_id) or (older_law(conf, asked) if name == "conf" else [])
        except (SettingsError, StepError) as error:
            wrong = [f"this installation's own settings cannot be used: {error}"]
        if wrong:
            return wrong
    return misfits(app, dag_id, conf)


def older_law(conf: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Whether the run's law would be older than production's without a word for it."""
    if conf.get("older_law"):
        return []
    try:
        moment = datetime.datetime.fromisoformat(asked["run_after"])
    except (KeyError, TypeError, ValueError):
        moment = datetime.datetime.now(datetime.UTC)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    behind = law.older(form.first_day(form.month_of(conf, moment)), law.served())
    return [f"month: {behind}: {law.WAY_OUT}"] if behind else []


def misfits(app: Any, dag_id: str, conf: Mapping[str, Any]) -> list[str]:
    """What does not fit the form of one of our DAGs by JSON Schema: the same that Airflow finds, in one line each."""
    from airflow.utils.session import create_session
    from jsonschema import Draft202012Validator, FormatChecker

    with create_session(scoped=False) as session:
        dag = app.state.dag_bag.get_latest_version_of_dag(dag_id, session=session)
    if dag is None or TAG not in dag.tags:
        return []
    names = list(dag.params)
    wrong = form.unknown(conf, names)
    for key in names:
        if key in conf:
            schema = dag.params.get_param(key).schema
            errors = Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(conf[key])
            wrong += [f"{key}: {shorten(error.message)}" for error in errors]
            if not is_finite(conf[key]):
                wrong.append(f"{key}: must be a number, got NaN or Infinity")
    return wrong


def is_finite(value: Any) -> bool:
    """Python reads NaN and Infinity as JSON, and every bound of a schema lets NaN pass."""
    return all(math.isfinite(part) for part in (value if isinstance(value, list) else [value]) if isinstance(part, float))


def shorten(text: str, most: int = 300) -> str:
    return text if len(text) <= most else text[:most] + "…"


class TriggersPlugin(AirflowPlugin):
    """Stands before Airflow's API server."""

    name = "lexloop_triggers"
    fastapi_root_middlewares = [{"middleware": Triggers, "name": "Refuse what cannot work at the trigger"}]
