"""The page "Legal models": nobody without a session and a role sees it, its numbers are the artifacts', its text is escaped."""

import html
import json
import re
import shutil

import pytest

from legal_tasks.serving.state import Database
from tests.plugins.orchestrator import ask, command
from tests.plugins.runs import MARKUP, decision, three_months, two_bases
from tests.plugins.servers import http_server


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "var").mkdir()
    three_months(home / "var")
    assert command(home, ["-m", "airflow", "db", "migrate"]).returncode == 0
    return home / "var", ask(home, "pages_probe.py", {})


def test_only_a_session_with_a_role_sees_the_page(answered):
    states = {name: answer["status"] for name, answer in answered[1].items() if name not in ("views", "script", "start")}
    refused = {"none": 401, "forged": 401, "expired": 401, "no role": 403}
    assert states == {**refused, "viewer": 200, "admin": 200, "bearer": 200, "post": 405}
    assert all("legal_exam" not in answered[1][name]["text"] for name in refused)


def test_airflows_start_page_shows_times_in_shanghai_unless_a_reader_has_chosen(answered):
    start, deep, version = answered[1]["start"]
    for page in (start, deep):
        own, airflows = (
            page["text"].index('setItem("timezone", \'"Asia/Shanghai"\')'),
            page["text"].index('<script type="module"'),
        )
        assert page["status"] == 200 and own < airflows and 'getItem("timezone") === null' in page["text"]
        assert int(page["headers"]["content-length"]) == len(page["text"].encode())
    assert version["status"] == 200 and "timezone" not in version["text"]
    assert "timezone" not in answered[1]["admin"]["text"]


def test_the_numbers_on_the_page_are_the_artifacts(answered):
    var, answers = answered
    page = answers["admin"]["text"]
    rows = dict(re.findall(r'<tr data-run="([^"]+)">(.*?)</tr>', page, re.S))
    assert list(rows) == ["scheduled__2026-11", "manual__x", "scheduled__2026-10", "scheduled__2026-09"]
    measured = json.loads((var / "store/evaluation.gate/a/decision.json").read_text())["metrics"]["legal_exam"]
    row = rows["scheduled__2026-09"]
    assert f'data-value="{measured["challenger"]}"' in row and "82.7 %" in row and "77.6 % – 87.5 %" in row
    assert 'data-bytes="8857616">8.4 MiB' in row and 'data-bytes="1550600">1.5 MiB' in row
    states = [re.search(r'<td class="[\w-]+">([\w ]+)</td>', row).group(1) for row in rows.values()]
    assert states == ["unchanged", "failed", "refused", "released"]
    production = Database(var / "release.sqlite").current().actual
    assert f'<code id="production-digest">{production["digest"]}</code>' in page
    assert f'<span id="production-version">{production["version"]}</span>' in page
    assert "<li>better for certain</li>" in page and "release scheduled__2026-09" in page


def test_refusals_are_shown_escaped_and_nothing_from_elsewhere_is_loaded_or_run(answered):
    answer = answered[1]["admin"]
    section = answer["text"].split('id="refusals"')[1]
    assert "legal_exam: fail: 51.0 %" in section and html.escape(MARKUP, quote=True).replace("&#x27;", "&#39;") in section
    assert re.findall(r"<script.*?>", answer["text"]) == ['<script src="links.js" defer>']
    assert answer["text"].count("src=") == 1 and "@import" not in answer["text"]
    assert answer["headers"]["content-security-policy"].startswith("default-src 'none'")
    assert len(answer["text"]) < 100_000


def test_the_picture_shows_a_month_as_high_as_its_accuracy(answered):
    picture = answered[1]["admin"]["text"].split("<svg")[1].split("</svg>")[0]
    titles = re.findall(r"<title>(.*?)</title>", picture)
    assert titles == ["2026-09: 82.7 % [77.6 %, 87.5 %], released", "2026-10: 51.0 % [45.0 %, 57.0 %], refused"]
    # The picture is 260 high with 14 above and 34 below: 14 + 212 * (1 - 0.82685...) = 50.7.
    assert re.search(r'<circle class="mark-good" cx="[\d.]+" cy="([\d.]+)"', picture).group(1) == "50.7"
    assert 'class="mark-bad"' in picture


def test_the_page_stands_in_airflows_navigation(answered):
    [view] = [view for view in answered[1]["views"] if view["name"] == "Legal models"]
    assert view["destination"] == "nav" and view["href"] == "/legal-models/page"


@pytest.mark.slow
def test_a_link_leaves_airflows_frame_although_its_sandbox_lets_none_out(answered):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright comes with the ml environment")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Debian's chromium is missing: apt-get install chromium")
    sandbox = "allow-scripts allow-same-origin allow-forms allow-downloads"  # as Airflow 3.3 writes it
    outer = f'<!doctype html><iframe sandbox="{sandbox}" src="/legal-models/page" width="1200" height="800"></iframe>'
    texts = {
        "/": outer,
        "/legal-models/page": answered[1]["admin"]["text"],
        "/legal-models/links.js": answered[1]["script"]["text"],
    }

    def serve(method, path, body):
        return 200, texts.get(path, "<!doctype html>run")

    with http_server(serve, kinds={"/legal-models/links.js": "text/javascript"}, kind="text/html") as (port, _):
        with playwright.sync_playwright() as play:
            browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            with page.context.expect_page(timeout=30_000) as opened:
                page.frame_locator("iframe").locator('tr[data-run="scheduled__2026-09"] a').first.click()
            assert opened.value.url == f"http://127.0.0.1:{port}/dags/monthly_retrain/runs/scheduled__2026-09"
            browser.close()


def test_a_run_with_several_bases_names_each_with_its_decision_and_accuracy(tmp_path):
    var = tmp_path / "var"
    gates = [decision(var, "a", "refused", 0.7, 0.6, 0.8, [MARKUP]), decision(var, "b", "pass", 0.8, 0.7, 0.9, ["better"])]
    two_bases(var, "scheduled__q", "2026-10", 1_790_800_000.0, gates, release={"report": {"version": "9"}})
    code = "import json, pages; from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser as User; "
    done = command(tmp_path, ["-c", code + "print(json.dumps(pages.render(User(username='eve', role='viewer'))))"])
    assert done.returncode == 0, done.stderr[-1500:]
    page = json.loads(done.stdout.strip().splitlines()[-1])
    listed = re.findall(r'<li data-base="([^"]+)" title="([^"]*)">([^<]*)(<strong>chosen</strong>)?', page.replace(", <", " <"))
    assert [(base, text.strip(), bool(chosen)) for base, _, text, chosen in listed] == [
        ("embedded", "embedded: refused, 70.0 %", False),
        ("embedded-small", "embedded-small: pass, 80.0 %", True),
    ]
    assert "<script>alert" not in page and "80.0 %" in page.split('data-run="scheduled__q"')[1]
