"""The report in a real browser: filters, both languages, a phone's width, and inside a frame without an origin.

LEXLOOP_SCREENSHOTS=folder keeps pictures.
"""

import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("scipy")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright comes with the ml environment")

from tests.legal_tasks.evaluation.test_gate import comparison, decide  # noqa: E402
from tests.legal_tasks.evaluation.test_report import TABLES, lines  # noqa: E402
from tests.legal_tasks.evaluation.test_report import report as reports  # noqa: E402
from tests.plugins.servers import http_server  # noqa: E402

pytestmark = pytest.mark.slow
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def html():
    """Twelve items: base and challenger differ on four, of which three are lost; one more only the champion has wrong."""
    rows = lines("111100001111", "111100001110", "000110001111")
    return reports.render_page(decide(), comparison(), rows, TABLES)


@pytest.fixture(scope="module")
def chromium():
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Debian's chromium is missing: apt-get install chromium")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, html):
    """open_page(path, viewport) -> page; errors of its scripts end up in `page.faults`."""
    texts = {"/report": html, "/frame": '<!doctype html><iframe sandbox="allow-scripts" src="/report" width="380"></iframe>'}
    with http_server(lambda method, path, body: (200, texts.get(path, "")), kind="text/html") as (port, _):
        pages = []

        def go(path="/report", viewport=None):
            page = chromium.new_page(viewport=viewport or {"width": 1280, "height": 900})
            page.faults = []
            page.on("pageerror", lambda error: page.faults.append(str(error)))
            page.goto(f"http://127.0.0.1:{port}{path}")
            pages.append(page)
            return page

        yield go
        for page in pages:
            page.close()


def picture(page, name):
    folder = os.environ.get("LEXLOOP_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_it_opens_on_the_items_that_differ_and_keeps_the_filter_in_its_address(open_page):
    page = open_page()
    assert page.locator("#count").inner_text() == "5 / 12"
    page.locator('[data-filter="lost"]').click()
    assert page.locator("#count").inner_text() == "3 / 12" and "filter=lost" in page.url
    page.locator('[data-filter="all"]').click()
    assert page.locator("#matrix tbody tr").count() == 12
    page.reload()
    assert page.locator("#count").inner_text() == "12 / 12"
    assert page.faults == []


def test_it_is_chinese_or_english_and_never_both(open_page):
    page = open_page()
    assert page.locator("#verdict").inner_text() == "可以发布"
    assert "must exceed" not in page.locator("#rules").inner_text()
    picture(page, "report")
    page.locator("#language").click()
    assert page.locator("#verdict").inner_text() == "May be released"
    assert "指标" not in page.locator("#metrics").inner_text() and "Gain" in page.locator("#metrics").inner_text()
    picture(page, "report-english")


def test_a_phone_shows_it_without_scrolling_sideways(open_page):
    page = open_page(viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 14
    picture(page, "report-phone")


def test_it_works_in_a_frame_that_keeps_the_session_out_of_its_reach(open_page):
    page = open_page("/frame")
    frame = page.frame_locator("iframe")
    frame.locator('[data-filter="lost"]').click()
    assert frame.locator("#count").inner_text() == "3 / 12"
    assert page.faults == []
