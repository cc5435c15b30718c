"""Airflow's pages in a real browser: log in, fill in the form, trigger, follow the link into MLflow (make test-all).

Needs Debian's chromium and a seat that has run once (`make retrain`): the finished steps are reused, so it is quick.
"""

import json
import shutil
import time
import urllib.request

import pytest

from legal_tasks import services

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright comes with the ml environment")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Debian's chromium is missing: apt-get install chromium")
    if not services.is_up():
        pytest.skip("no seat is up: make retrain first")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


def api():
    from legal_tasks.retrain import Airflow

    return Airflow(services.airflow_url(), services.admin_password())


def test_the_form_triggers_a_run_with_the_typed_value_and_links_into_mlflow(page):
    page.goto(services.airflow_url())
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", services.admin_password())
    page.click("button[type=submit]")
    page.wait_for_selector("[data-testid=nav-home-link]")
    page.goto(f"{services.airflow_url()}/dags/monthly_retrain")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_text("Thresholds").first.click()
    page.locator("input[name=element_p95_s]").fill("0.9")
    before = {run["dag_run_id"] for run in api().call("GET", "/dags/monthly_retrain/dagRuns")["dag_runs"]}
    page.get_by_role("button", name="Trigger", exact=True).last.click()
    deadline = time.monotonic() + 300
    run = None
    while time.monotonic() < deadline:
        runs = api().call("GET", "/dags/monthly_retrain/dagRuns")["dag_runs"]
        fresh = [one for one in runs if one["dag_run_id"] not in before]
        if fresh and fresh[0]["state"] in ("success", "failed"):
            run = fresh[0]
            break
        time.sleep(2)
    assert run is not None and run["state"] == "success"
    assert run["conf"]["p95_s"] == 0.9
    page.goto(f"{services.airflow_url()}/dags/monthly_retrain/runs/{run['dag_run_id']}/tasks/train/details")
    link = page.get_by_role("link", name="MLflow run")
    link.wait_for()
    address = link.get_attribute("href")
    run_id = address.rsplit("/", 1)[1]
    with urllib.request.urlopen(f"{services.mlflow_url()}/api/2.0/mlflow/runs/get?run_id={run_id}") as answer:
        metrics = {m["key"]: m["value"] for m in json.load(answer)["run"]["data"]["metrics"]}
    page.goto(address)
    page.get_by_text("validation_loss_before").first.wait_for()
    shown = page.inner_text("body").splitlines()
    for name in ("train_loss", "validation_loss"):
        assert str(metrics[name]) == shown[shown.index(name) + 1], name
