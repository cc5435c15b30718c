"""A refused retrain that two people release all the same, as one run: gate, page, release, production, registry, report."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from legal_tasks import months
from legal_tasks.services import airflow_url
from legal_tasks.serving.state import Database
from tests import browser
from tests.faults import _seat
from tests.faults.orchestration import mlflow

pytestmark = [pytest.mark.slow, pytest.mark.loop]
REASON = "The court's new form is due on Monday, and the old model does not know it."
RUN = "refused"


@pytest.fixture(scope="module")
def seat():
    """A seat with the users alice and bob, in which one model was released and the next one refused."""
    if browser.missing():
        pytest.skip(browser.missing())
    before = os.environ.get("LEXLOOP_USERS")
    os.environ["LEXLOOP_USERS"] = "alice:user,bob:user"
    try:
        with tempfile.TemporaryDirectory(prefix="lexloop-R-") as folder, _seat.seat(Path(folder)) as one:
            one.trigger("first")
            one.wait_end("first")
            assert one.decision("first") == "released"
            one.trigger(RUN, seed=7, domain_bound=0.99)
            one.wait_end(RUN)
            yield one
    finally:
        if before is None:
            os.environ.pop("LEXLOOP_USERS", None)
        else:
            os.environ["LEXLOOP_USERS"] = before


def test_the_gate_refuses_and_production_stays(seat):
    assert seat.decision(RUN).startswith("refused: ") and "domain accuracy (legal_exam): fail" in seat.decision(RUN)
    assert seat.production()["digest"] == seat.note("first", "compress")["digest"]


def test_two_people_release_it_against_the_recommendation(seat):
    words = json.loads((seat.var / "airflow" / "passwords.json").read_text())
    candidate = seat.note(RUN, "compress")["digest"]
    with browser.open_page() as page:
        browser.sign_in(page, airflow_url(), words["alice"], "alice")
        frame = browser.open_models(page, airflow_url())
        frame.locator("summary").click()
        frame.locator("textarea").fill(REASON)
        frame.get_by_role("button", name="Ask for an override").click()
        frame.get_by_text("A second person").first.wait_for()
        assert frame.get_by_role("button", name="Confirm").count() == 0
        assert seat.production()["digest"] != candidate
        browser.sign_in(page, airflow_url(), words["bob"], "bob")
        frame = browser.open_models(page, airflow_url())
        frame.get_by_role("button", name="Confirm").click()
        frame.get_by_text("override confirmed").first.wait_for()
    _seat.wait_for(lambda: seat.production()["digest"] == candidate, "the refused model in production", 180)
    assert seat.wait_end(RUN) == "success" and seat.decision(RUN) == "released"


def test_history_registry_page_and_report_say_that_it_was_against_the_recommendation(seat):
    candidate = seat.note(RUN, "compress")["digest"]
    told = [(line.event, line.actor) for line in Database(seat.var / "release.sqlite").history()]
    at = told.index(("override asked", "alice"))
    assert told[at : at + 2] == [("override asked", "alice"), ("override confirmed", "bob")]
    assert [event for event, _ in told[at + 2 :]].count("released") == 1
    assert seat.production()["override"]["reason"] == REASON
    champion = mlflow("registered-models/alias?name=legal-llm&alias=champion")["model_version"]
    tags = {tag["key"]: tag["value"] for tag in champion["tags"]}
    assert (
        tags["digest"] == candidate and REASON in tags["override"] and "alice" in tags["override"] and "bob" in tags["override"]
    )
    row = next(row for row in months.overview(seat.var).rows if row.run == RUN)
    assert row.state == "released" and row.gate
    report = (Path(seat.note(RUN, "release")["artifact"]) / "report.html").read_text("utf-8")
    assert "Released against the recommendation" in report and "alice" in report
