"""The trigger form in a real browser, on a real API server: what is typed is what is sent, what cannot work is said on the page.

LEXLOOP_SCREENSHOTS=folder keeps pictures.
"""

import os
from pathlib import Path

import pytest

from tests import browser
from tests.plugins.test_override_page import airflow  # noqa: F401 - the server

pytestmark = pytest.mark.slow
DAG = "monthly_retrain"


@pytest.fixture(scope="module")
def page(airflow):  # noqa: F811
    with browser.open_page() as page:
        browser.sign_in(page, airflow[0], "alice's", "alice")
        yield page


def picture(page, name):
    folder = os.environ.get("LEXLOOP_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def runs(page, address):
    found = page.request.get(f"{address}/api/v2/dags/{DAG}/dagRuns?limit=100").json()["dag_runs"]
    return {run["dag_run_id"]: run["conf"] for run in found}


def open_form(page, address, section="Thresholds", field="p95_s"):
    browser.open_form(page, address, DAG, section, field)


def fill(page, section, fields):
    """One section is unfolded at a time; what was filled in stays."""
    first = page.locator(f"input[name=element_{next(iter(fields))}]")
    if not first.is_visible():
        page.get_by_text(section, exact=True).first.click()
    first.wait_for()
    for name, text in fields.items():
        page.locator(f"input[name=element_{name}]").fill(text)


def test_each_field_is_a_line_of_text_with_the_profiles_values_in_markdown(page, airflow):  # noqa: F811
    open_form(page, airflow[0], "Training", "learning_rate")
    said = page.get_by_text("Empty = small: 2e-3; chatglm3_6b, llama2_7b, qwen3_8b: 2e-4.").first
    said.wait_for()
    page.wait_for_timeout(1000)  # the section unfolds
    picture(page, "form")
    assert said.locator("code", has_text="2e-4").count() == 1
    assert "faults" not in page.inner_text("body")


def test_a_looser_bound_is_refused_on_the_page_in_words_and_no_run_is_made(page, airflow):  # noqa: F811
    before = runs(page, airflow[0])
    open_form(page, airflow[0])
    fill(page, "Thresholds", {"p95_s": "9 s", "general_drop": "0.5"})
    browser.press_trigger(page)
    page.get_by_text("whose value is 1 s (profile small)").first.wait_for()
    said = page.get_by_test_id("error-alert").inner_text()
    page.get_by_test_id("error-alert").scroll_into_view_if_needed()
    picture(page, "refused")
    assert "p95_s: evaluation.gate.p95_s=9 s" in said and "two people" in said and "general_drop: '0.5' may mean" in said
    assert "Bad Request" not in said and runs(page, airflow[0]) == before


def test_what_is_typed_is_what_is_sent(page, airflow):  # noqa: F811
    before = runs(page, airflow[0])
    open_form(page, airflow[0])
    thresholds = {"domain_bound": "75", "general_drop": "2 个百分点", "p95_s": "900 ms"}
    training = {"learning_rate": "2e-4", "epochs": "1e-1"}
    fill(page, "Thresholds", thresholds)
    fill(page, "Training", training)
    page.wait_for_timeout(1000)
    picture(page, "typed")
    browser.press_trigger(page)
    page.wait_for_url("**/runs/**")
    ((_, conf),) = [(name, each) for name, each in runs(page, airflow[0]).items() if name not in before]
    typed = training | thresholds
    assert {name: conf[name] for name in typed} == typed and conf["seed"] is None and conf["recompute"] == []
