"""The override and the report in a real browser, on a real API server with a login: two people, one after the other.

LEXLOOP_SCREENSHOTS=folder keeps pictures.
"""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from legal_tasks.serving.state import Database
from tests import browser
from tests.conftest import REPOSITORY
from tests.plugins.orchestrator import ENVIRONMENTS, command
from tests.plugins.test_override import RUN, refused_run

pytestmark = pytest.mark.slow
REASON = "The court's new form is due on Monday, and the old model does not know it."


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """(address, var folder) of Airflow's API server with the users alice, bob (user) and eve (viewer)."""
    if browser.missing():
        pytest.skip(browser.missing())
    home = tmp_path_factory.mktemp("home")
    refused_run(home / "var")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({name: f"{name}'s" for name in ("alice", "bob", "eve")}))
    values = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "alice:user,bob:user,eve:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": "a key that every worker of the API server has",
        "AIRFLOW__API_AUTH__JWT_SECRET": "another key, longer than the thirty-two bytes that are asked for",
    }
    for argv in (["db", "migrate"], ["dags", "reserialize"], ["dags", "trigger", "monthly_retrain", "--run-id", RUN]):
        done = command(home, ["-m", "airflow", *argv], **values)
        assert done.returncode == 0, done.stderr[-2000:]
    inherited = {"PATH": "/usr/bin:/bin", "HOME": str(home), "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    inherited |= {"AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"), "LEXLOOP_VAR": str(home / "var")}
    inherited |= {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"}
    argv = [f"{ENVIRONMENTS}/orchestrator/bin/python", "-m", "airflow", "api-server", "--port", str(port), "--host", "127.0.0.1"]
    with open(home / "api-server.log", "w") as log:
        server = subprocess.Popen([*argv, "--workers", "1"], env=inherited | values, stdout=log, stderr=log, cwd=REPOSITORY)
        try:
            wait_for(f"http://127.0.0.1:{port}/api/v2/version", server)
            yield f"http://127.0.0.1:{port}", home / "var"
        finally:
            server.terminate()
            server.wait(timeout=30)


def wait_for(address: str, server: subprocess.Popen, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert server.poll() is None, "the API server ended"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    raise AssertionError(f"{address} does not answer after {timeout_s:.0f} s")


def picture(page, name: str) -> None:
    folder = os.environ.get("LEXLOOP_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_two_people_override_a_refusal_and_the_report_is_a_tab_of_the_run(airflow):
    address, var = airflow
    with browser.open_page() as page:
        assert page.goto(f"{address}/legal-models/page").status == 401
        browser.sign_in(page, address, "eve's", "eve")
        frame = browser.open_models(page, address)
        assert frame.locator("#refusals").inner_text().count("general ability: fail") == 1
        assert frame.locator("form").count() == 0
        browser.sign_in(page, address, "alice's", "alice")
        frame = browser.open_models(page, address)
        frame.locator("summary").click()
        frame.locator("textarea").fill(REASON)
        picture(page, "override-asked")
        frame.get_by_role("button", name="Ask for an override").click()
        frame.get_by_text("A second person").first.wait_for()
        assert frame.get_by_role("button", name="Confirm").count() == 0
        browser.sign_in(page, address, "bob's", "bob")
        frame = browser.open_models(page, address)
        picture(page, "override-confirm")
        frame.get_by_role("button", name="Confirm").click()
        frame.get_by_text("override confirmed").first.wait_for()
        picture(page, "override-confirmed")
        page.goto(f"{address}/dags/monthly_retrain/runs/{RUN}")
        page.get_by_role("link", name="Evaluation").click()
        report = page.frame_locator("iframe")
        report.get_by_text("不予发布").first.wait_for()
        assert report.locator("#reach").inner_text() == "the session is out of reach"
        picture(page, "report-tab")
    told = [(line.event, line.actor, line.evidence["reason"]) for line in Database(var / "release.sqlite").history()]
    assert told == [("override asked", "alice", REASON), ("override confirmed", "bob", REASON)]
