"""Airflow's pages in a real browser: log in, fill in the form, trigger, follow the link into MLflow (make test-all).

Runs on the seat of the whole loop, so the finished steps are reused. LEXLOOP_SCREENSHOTS=folder keeps pictures.
"""

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests import browser

pytestmark = [pytest.mark.slow, pytest.mark.loop]
DAG = "monthly_retrain"


@pytest.fixture(scope="module")
def page():
    lacking = browser.missing()
    if lacking:
        pytest.skip(lacking)
    with browser.open_page() as page:
        yield page


@pytest.fixture(scope="module")
def api(seat, released):
    """Airflow's REST API on the seat."""
    from legal_tasks.retrain import Airflow

    return Airflow(seat.url("AIRFLOW"), password(seat))


def password(seat) -> str:
    return json.loads((seat.var / "airflow" / "passwords.json").read_text("utf-8"))["admin"]


def picture(page, name: str) -> None:
    folder = os.environ.get("LEXLOOP_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def open_form(page, seat) -> None:
    browser.open_form(page, seat.url("AIRFLOW"), DAG, "Thresholds", "p95_s")


def runs(api) -> dict[str, dict]:
    return {run["dag_run_id"]: run for run in api.call("GET", f"/dags/{DAG}/dagRuns")["dag_runs"]}


def wait_for_new_run(api, before: set[str], timeout_s: float = 400) -> dict:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        fresh = [run for name, run in runs(api).items() if name not in before]
        if fresh and fresh[0]["state"] in ("success", "failed"):
            return fresh[0]
        time.sleep(2)
    raise AssertionError(f"no run that was triggered in the form ended in {timeout_s:.0f} s")


def test_a_user_logs_in_and_the_form_refuses_a_bad_value(page, seat, api):
    browser.sign_in(page, seat.url("AIRFLOW"), password(seat))
    before = set(runs(api))
    open_form(page, seat)
    page.locator("input[name=element_p95_s]").fill("-1")
    browser.press_trigger(page)
    page.get_by_text("p95_s: must be more than 0 s").first.wait_for()
    page.wait_for_timeout(2000)
    picture(page, "refused")
    assert set(runs(api)) == before


def test_the_form_triggers_a_run_with_the_typed_value_and_links_into_mlflow(page, seat, api):
    before = set(runs(api))
    open_form(page, seat)
    page.locator("input[name=element_p95_s]").fill("900 ms")
    picture(page, "form")
    browser.press_trigger(page)
    run = wait_for_new_run(api, before)
    assert run["state"] == "success" and run["conf"]["p95_s"] == "900 ms"
    address = f"{seat.url('AIRFLOW')}/dags/{DAG}/runs/{run['dag_run_id']}"
    page.goto(address)
    page.get_by_text("Success").first.wait_for()
    picture(page, "run")
    page.goto(f"{address}/tasks/train/details")
    link = page.get_by_role("link", name="MLflow run")
    link.wait_for()
    target = link.get_attribute("href")
    shown, metrics = read_mlflow(page, seat, target)
    for name in ("train_loss", "validation_loss"):
        assert str(metrics[name]) == shown[shown.index(name) + 1], name


def read_mlflow(page, seat, address: str) -> tuple[list[str], dict[str, float]]:
    """(lines on the run's page, its metrics by the API)."""
    run_id = address.rsplit("/", 1)[1]
    with urllib.request.urlopen(f"{seat.url('MLFLOW')}/api/2.0/mlflow/runs/get?run_id={run_id}") as answer:
        metrics = {metric["key"]: metric["value"] for metric in json.load(answer)["run"]["data"]["metrics"]}
    page.goto(address)
    page.get_by_text("validation_loss_before").first.wait_for()
    picture(page, "mlflow")
    shown = page.inner_text("body").splitlines()
    sys.stdout.write("\n".join(shown[:60]))
    return shown, metrics
