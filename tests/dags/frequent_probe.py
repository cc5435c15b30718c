"""Runs of two DAGs in a database of its own, cleaned through Airflow's own API (orchestrator's environment)."""

import datetime
import json
import os
import sys

from airflow.api_fastapi.app import cached_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from fastapi.testclient import TestClient
from sqlalchemy import select

from legal_tasks import upkeep

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def run(dag, number):
    """125 runs an hour apart, the last four of them within three days; the hundredth has not ended."""
    at = NOW - (125 - number) * datetime.timedelta(hours=1) - (DAY * 3 if number <= 120 else DAY * 0)
    name, state = (f"{number}-at-work", DagRunState.RUNNING) if number == 100 else (str(number), DagRunState.SUCCESS)
    return DagRun(
        dag_id=dag, run_id=name, run_type=DagRunType.SCHEDULED, logical_date=at, run_after=at, start_date=at,
        data_interval=(at, at), state=state, triggered_by=DagRunTriggeredByType.TIMETABLE,
    )  # fmt: skip


def names(dag):
    with create_session() as session:
        return sorted(session.scalars(select(DagRun.run_id).where(DagRun.dag_id == dag)))


class Client:
    def __init__(self, client):
        self.client = client

    def call(self, method, path, **options):
        answer = self.client.request(method, f"/api/v2{path}", **options)
        assert answer.status_code < 400, answer.text
        return answer.json()


with create_session() as session:
    for dag in ("watch", "housekeeping"):
        session.add_all(run(dag, number) for number in range(125))
seen = {"before": len(names("watch")) + len(names("housekeeping"))}
with TestClient(cached_app(apps="all")) as client:
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="admin", role="admin"))
    client.headers["Authorization"] = f"Bearer {token}"
    airflow = Client(client)
    seen["dry"] = upkeep.clean_frequent(airflow, NOW - 3 * DAY, dry_run=True)
    seen["gone"] = upkeep.clean_frequent(airflow, NOW - 3 * DAY, dry_run=False)
    seen |= {"watch": names("watch"), "housekeeping": len(names("housekeeping"))}
    seen["paused"] = upkeep.clean_frequent(airflow, NOW, dry_run=False)  # as if nothing had run since
    seen["left"] = names("watch")
print(json.dumps(seen))
sys.stdout.flush()
os._exit(0)
