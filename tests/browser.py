"""Airflow's pages in a real browser: what the tests and the fault injections that use one share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync")


def missing() -> str | None:
    """What there would have to be for a browser, None where it is there."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright comes with the ml environment: make setup"
    return None if shutil.which("chromium") else "Debian's chromium is missing: apt-get install chromium"


@contextmanager
def open_page() -> Iterator[Any]:
    """A page of Debian's Chromium; the browser is closed at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=list(QUIET))
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, locale="en-GB")
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def sign_in(page: Any, airflow_url: str, password: str, name: str = "admin") -> None:
    """Log in, whoever was logged in before."""
    page.context.clear_cookies()
    page.goto(f"{airflow_url}/auth/login" if name != "admin" else airflow_url)
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    page.wait_for_selector("[data-testid=nav-home-link]")


def open_models(page: Any, airflow_url: str) -> Any:
    """The page "Legal models" inside Airflow's own frame."""
    page.goto(f"{airflow_url}/plugin/legal-models")
    frame = page.frame_locator("iframe")
    frame.locator("h1").wait_for()
    return frame


def open_form(page: Any, airflow_url: str, dag: str, section: str, field: str) -> None:
    """The trigger form of a DAG with one of its sections unfolded and its field there to be filled."""
    page.goto(f"{airflow_url}/dags/{dag}")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_text(section, exact=True).first.click()
    page.locator(f"input[name=element_{field}]").wait_for()


def press_trigger(page: Any) -> None:
    """The form's own button."""
    page.get_by_role("button", name="Trigger", exact=True).last.click()
