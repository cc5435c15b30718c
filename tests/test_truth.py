"""A running Airflow whose steps take no time: the schedule stays as it was, notes tell the verdict, links and times are right."""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from legal_tasks.tracking.server import TRAINING
from tests import browser
from tests.conftest import REPOSITORY
from tests.plugins.servers import http_server
from tests.seat import Seat

pytestmark = [pytest.mark.slow, pytest.mark.loop]
DAG = "monthly_retrain"
PARENT = {"info": {"run_id": "p1"}, "data": {"tags": [{"key": "lexloop.step", "value": "parent"}]}}


def mlflow(method, path, body):
    """As much of MLflow as the link needs."""
    if "/experiments/get-by-name" in path:
        return 200, json.dumps({"experiment": {"experiment_id": "7", "name": DAG, "lifecycle_stage": "active"}})
    return 200, json.dumps(
        {"runs": [PARENT]} if json.loads(body or "{}").get("filter", "").startswith("tags.`lexloop.dag") else {}
    )


@pytest.fixture(scope="module")
def seat():
    with tempfile.TemporaryDirectory(prefix="lexloop-truth-") as folder, http_server(mlflow) as (port, _):
        seat = Seat(Path(folder) / "var", REPOSITORY)
        environments = Path(folder) / "env"
        (environments / "ml" / "bin").mkdir(parents=True)
        (environments / "orchestrator").symlink_to(seat.python.parents[1])
        python = environments / "ml" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} {REPOSITORY}/tests/dags/stand_in.py "$@"\n')
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        seat.values |= {"LEXLOOP_ENV_DIR": str(environments), "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
        seat.mlflow = seat.values["MLFLOW_TRACKING_URI"]
        ends(seat)
        assert seat.run("legal_tasks.services", "up", timeout_s=400).returncode == 0
        try:
            yield seat
        finally:
            seat.stop()


def ends(seat, **codes):
    seat.var.mkdir(exist_ok=True)
    (seat.var / "stand_in.json").write_text(json.dumps(codes))


@pytest.fixture(scope="module")
def api(seat):
    from legal_tasks.retrain import Airflow

    airflow = Airflow(seat.url("AIRFLOW"), password(seat))
    airflow.wait_for_dag(DAG, 180)
    return airflow


def password(seat):
    return json.loads((seat.var / "airflow" / "passwords.json").read_text())["admin"]


def wait_for(check, timeout_s=180):
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain"
        time.sleep(1)
    return found


def paused(api):
    return api.call("GET", f"/dags/{DAG}")["is_paused"]


def newest(api):
    return api.call("GET", f"/dags/{DAG}/dagRuns", params={"limit": 1, "order_by": "-run_after"})["dag_runs"][0]


def test_make_retrain_leaves_the_schedule_off_and_the_run_says_what_became_of_it(seat, api):
    assert paused(api)
    done, result = seat.retrain(timeout_s=400)
    assert done.returncode == 0 and f"schedule off, as before: {DAG} is switched on for this run alone" in done.stdout
    assert paused(api) and result["decision"] == "released"
    run = wait_for(lambda: (row := newest(api))["note"] and row)
    assert run["dag_run_id"] == result["dag_run_id"]
    assert run["note"] == "**LexLoop** 已上线：版本 7\n\nreleased version 7"
    scheduled = api.call("GET", f"/dags/{DAG}/dagRuns", params={"run_type": ["scheduled"]})["dag_runs"]
    assert scheduled == []


def test_what_is_triggered_in_a_dag_that_is_off_waits(api):
    api.call("POST", f"/dags/{DAG}/dagRuns", json={"dag_run_id": "waits", "logical_date": None})
    time.sleep(15)
    assert api.call("GET", f"/dags/{DAG}/dagRuns/waits")["state"] == "queued"
    api.call("DELETE", f"/dags/{DAG}/dagRuns/waits")


def test_a_command_that_is_gone_leaves_the_run_at_work_and_the_schedule_off_at_its_end(seat, api):
    ends(seat, **{"training.lora": 2})
    argv = [str(seat.python), "-m", "legal_tasks.retrain"]
    with open(seat.var / "out.txt", "w") as out:
        command = subprocess.Popen(argv, env=seat.values, stdout=out, stderr=out, cwd=seat.repository)
        wait_for(lambda: "schedule off" in (seat.var / "out.txt").read_text())
        command.send_signal(signal.SIGKILL)
        command.wait()
    assert not paused(api)
    wait_for(lambda: paused(api))
    run = wait_for(lambda: (row := newest(api))["note"] and row)
    ends(seat)
    assert run["state"] == "failed"
    last = "train: training.lora was told to end with 2"
    assert run["note"] == f"**LexLoop** 失败：{last}\n\nfailed: {last}"


def test_the_link_of_a_failed_task_leads_to_mlflow(seat, api):
    place = f"/dags/{DAG}/dagRuns/{newest(api)['dag_run_id']}/taskInstances/train/links"
    [link] = api.call("GET", place)["extra_links"].values()
    assert link.startswith(f"{seat.url('AIRFLOW')}/mlflow-run/open?dag={DAG}&run=make__") and link.endswith("step=training.lora")
    answer = httpx.get(link, headers={"Authorization": api.client.headers["Authorization"]}, trust_env=False, timeout=20)
    assert (answer.status_code, answer.headers["location"]) == (307, f"{seat.mlflow}/#/experiments/7/runs/p1{TRAINING}")
    assert httpx.get(link, trust_env=False, timeout=20).status_code == 401


def test_a_browser_elsewhere_sees_the_note_and_the_times_of_shanghai(seat, api):
    if browser.missing():
        pytest.skip(browser.missing())
    run = newest(api)
    with browser.open_page() as first:
        page = first.context.browser.new_page(timezone_id="America/New_York", viewport={"width": 1400, "height": 900})
        page.set_default_timeout(60_000)
        browser.sign_in(page, seat.url("AIRFLOW"), password(seat))
        page.goto(f"{seat.url('AIRFLOW')}/dags/{DAG}/runs/{run['dag_run_id']}")
        page.locator("time").first.wait_for()
        assert page.evaluate("localStorage.getItem('timezone')") == '"Asia/Shanghai"'
        shown = page.locator("time").first.inner_text()
        picture(page, "run-page")
        page.get_by_role("button", name="Edit note").first.click()
        page.get_by_text("failed: train").first.wait_for()
        picture(page, "run-note")
        page.keyboard.press("Escape")
        page.evaluate("localStorage.setItem('timezone', '\"UTC\"')")
        page.reload()
        page.locator("time").first.wait_for()
        assert page.evaluate("localStorage.getItem('timezone')") == '"UTC"' and page.locator("time").first.inner_text() != shown
        page.goto(f"{seat.url('AIRFLOW')}/dags/{DAG}/runs/{run['dag_run_id']}")
        page.get_by_role("link", name="MLflow").first.click()
        page.frame_locator("iframe").get_by_text("in MLflow").wait_for()
        picture(page, "run-mlflow-tab")


def picture(page, name):
    folder = os.environ.get("LEXLOOP_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_asked_for_the_schedule_goes_on_and_its_next_run_is_told(seat, api):
    done, _ = seat.retrain("--schedule", timeout_s=400)
    assert done.returncode == 0 and "schedule on, next run: 20" in done.stdout and "-01 03:00 CST" in done.stdout
    assert not paused(api)
