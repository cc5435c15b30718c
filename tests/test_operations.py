"""A team's seat, really up: Airflow on our own PostgreSQL, housekeeping, messages, the page in a browser, and a clean stop."""

import json
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from legal_tasks import postgres
from tests import browser
from tests.conftest import REPOSITORY
from tests.plugins.runs import three_months
from tests.plugins.servers import connection, http_server
from tests.seat import Seat, free_ports

pytestmark = [pytest.mark.slow, pytest.mark.loop]
TOLD = []


def keep(method, path, body):
    TOLD.append(json.loads(body))
    return 200, "{}"


@pytest.fixture(scope="module")
def team():
    """A seat on PostgreSQL in which three months have passed, with a webhook; stopped at the end."""
    if not postgres.is_installed():
        pytest.skip("Debian's postgresql is missing: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="lexloop-team-") as folder, http_server(keep) as (hook, _):
        os.chmod(folder, 0o755)  # the server's user must be able to enter it
        seat = Seat(Path(folder), REPOSITORY)
        [port] = free_ports(1)
        seat.values |= {"LEXLOOP_DB": "postgres", "LEXLOOP_POSTGRES_PORT": str(port)}
        webhook = connection(conn_type="http", password=f"http://127.0.0.1:{hook}/h?token=canary-hook")
        seat.values |= {"AIRFLOW_CONN_LEXLOOP_WEBHOOK": webhook}
        three_months(seat.var)
        done = seat.run("legal_tasks.services", "up", timeout_s=400)
        assert done.returncode == 0
        seat.database_port = port
        yield seat
        seat.stop()


@pytest.fixture(scope="module")
def api(team):
    from legal_tasks.retrain import Airflow

    words = json.loads((team.var / "airflow" / "passwords.json").read_text())
    airflow = Airflow(team.url("AIRFLOW"), words["admin"])
    for dag in ("housekeeping", "watch"):
        airflow.wait_for_dag(dag)
    return airflow


def follow(api, dag, conf, timeout_s=300):
    """The tasks' states of a run that was triggered with `conf`, once it has ended."""
    run = f"test__{uuid.uuid4().hex[:6]}"
    api.call("PATCH", f"/dags/{dag}", params={"update_mask": "is_paused"}, json={"is_paused": False})
    api.call("POST", f"/dags/{dag}/dagRuns", json={"dag_run_id": run, "logical_date": None, "conf": conf})
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if api.call("GET", f"/dags/{dag}/dagRuns/{run}")["state"] in ("success", "failed"):
            break
        time.sleep(1)
    tasks = api.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
    return run, {task["task_id"]: task["state"] for task in tasks}


def result(api, dag, run, task):
    return api.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value")["value"]


def test_airflow_runs_on_our_own_postgresql(team):
    config = (team.var / "airflow" / "airflow.cfg").read_text()
    assert f"@127.0.0.1:{team.database_port}/airflow" in config and not (team.var / "airflow" / "airflow.db").exists()
    status = team.run("legal_tasks.services", "status")
    assert status.returncode == 0 and "postgres" in status.stdout


def test_housekeeping_does_its_five_parts(team, api):
    run, states = follow(api, "housekeeping", {"dry_run": True})
    assert states == dict.fromkeys(("store", "documents", "logs", "airflow", "mlflow"), "success")
    run, states = follow(api, "housekeeping", {})
    assert set(states.values()) == {"success"}
    stored = result(api, "housekeeping", run, "store")
    assert stored["store"]["removed"] == 0
    assert result(api, "housekeeping", run, "mlflow")["mlflow"] == {"deleted_runs": 0, "purged": True}


def test_the_channel_gets_the_test_message_and_no_log_holds_its_key(team, api):
    _, states = follow(api, "watch", {"test": True})
    assert states == {"tell": "success"}
    assert [each["event"] for each in TOLD] == ["test"]
    logs = "".join(path.read_text("utf-8", "replace") for path in (team.var / "airflow" / "logs").rglob("*.log"))
    assert "told to webhook" in logs and "canary-hook" not in logs


def test_the_page_stands_in_airflows_navigation_and_shows_the_artifacts_numbers(team, api):
    lacking = browser.missing()
    if lacking:
        pytest.skip(lacking)
    words = json.loads((team.var / "airflow" / "passwords.json").read_text())
    with browser.open_page() as page:
        assert page.goto(f"{team.url('AIRFLOW')}/legal-models/page").status == 401
        browser.sign_in(page, team.url("AIRFLOW"), words["admin"])
        page.get_by_text("Legal models").first.click()
        frame = page.frame_locator("iframe")
        frame.locator("#runs").wait_for()
        measured = json.loads((team.var / "store/evaluation.gate/a/decision.json").read_text())["metrics"]["legal_exam"]
        cell = frame.locator('tr[data-run="scheduled__2026-09"] td[data-value]').first
        assert cell.get_attribute("data-value") == str(measured["challenger"])
        assert cell.inner_text() == f"{100 * measured['challenger']:.1f} %"
        assert frame.locator("#production-version").inner_text() == "7"
        assert frame.locator("svg circle").count() == 1 and frame.locator("svg rect").count() == 1
        folder = os.environ.get("LEXLOOP_SCREENSHOTS")
        if folder:
            page.screenshot(path=str(Path(folder) / "legal-models.png"))
        with page.context.expect_page() as opened:
            frame.locator('tr[data-run="scheduled__2026-09"] a').first.click()
        assert opened.value.url.endswith("/dags/monthly_retrain/runs/scheduled__2026-09")


def test_stop_leaves_no_process_and_no_port(team):
    import socket

    done = team.stop()
    assert "no process left" in done.stdout
    for port in [*team.ports.values(), team.database_port]:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, port
    words = (team.var / "secrets" / "postgres").read_text().strip()
    logs = "".join(path.read_text("utf-8", "replace") for path in (team.var / "logs").glob("*.log*"))
    sys.stdout.write(logs[-500:])
    assert words not in logs and "canary-hook" not in logs
