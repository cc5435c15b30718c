"""The page "Legal models": nobody without a session and a role sees it, its numbers are the artifacts', its text is escaped."""

import html
import json
import re
import shutil
import socket

import pytest

from legal_tasks import months, services
from legal_tasks.notes import web_address
from legal_tasks.serving.state import Database
from tests.conftest import REPOSITORY
from tests.plugins.orchestrator import ask, command
from tests.plugins.runs import MARKUP, decision, retrain, three_months, two_bases
from tests.plugins.servers import http_server

COLLECT = {"report": {"as_of": "2026-11-01"}, "dag": "monthly_retrain"}


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
    rows = dict(re.findall(r'<tr data-run="([^"]+)" data-dag="[^"]+">(.*?)</tr>', page, re.S))
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
    policy = answer["headers"]["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "form-action 'self'; base-uri 'none'" in policy
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


@pytest.mark.parametrize(
    "value",
    ["javascript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "//evil.example", "http:", 7],
)
def test_only_web_addresses_become_links(value, tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    retrain(
        tmp_path,
        "manual__1",
        "2026-11",
        1_793_500_000.0,
        train={"mlflow_run_url": value},
        collect=COLLECT | {"mlflow_run_url": value},
    )
    [row] = months.overview(tmp_path).rows
    assert row.mlflow == "" and web_address(value) == ""
    assert web_address("https://mlflow.example/#/experiments/1/runs/2") != ""


QUARTERLY = COLLECT | {"dag": "quarterly_retrain"}


@pytest.fixture(scope="module")
def restricted(tmp_path_factory):
    """What users see who may read the runs of one DAG alone; both DAGs have a run of one name."""
    home = tmp_path_factory.mktemp("restricted")
    var = home / "var"
    for dag, month, share in (("monthly_retrain", "2026-10", 0.51), ("quarterly_retrain", "2026-11", 0.62)):
        gate = decision(var, dag, "refused", share, 0.4, 0.7, [f"reason of {dag}"])
        (gate / "report.html").write_text(f"report of {dag}")
        skipped = {"skipped": True, "reason": "refused: x"}
        retrain(var, "same", month, 1_793_500_000.0, gate, collect=COLLECT | {"dag": dag}, release=skipped)
    retrain(var, "own", "2026-09", 1_788_200_000.0, collect=QUARTERLY)
    manager = {"AIRFLOW__CORE__AUTH_MANAGER": "tests.plugins.dagwise.DagwiseManager"}
    assert command(home, ["-m", "airflow", "db", "migrate"]).returncode == 0
    return ask(home, "dagwise_probe.py", {}, **manager)


@pytest.mark.parametrize("dag", ["monthly_retrain", "quarterly_retrain"])
def test_each_row_is_shown_to_who_may_read_the_runs_of_its_dag(restricted, dag):
    seen, other = restricted[dag], ({"monthly_retrain", "quarterly_retrain"} - {dag}).pop()
    rows = re.findall(r'<tr data-run="([^"]+)" data-dag="([^"]+)">', seen["page"])
    assert rows == [("same", dag), *([("own", dag)] if dag == "quarterly_retrain" else [])]
    assert f"reason of {dag}" in seen["page"] and f"reason of {other}" not in seen["page"]
    assert seen["own report"] == seen["report by run alone"] == [200, f"report of {dag}"]
    assert seen["other's report"][0] == 403 and other not in seen["page"].replace("/dags/monthly_retrain", "")


def test_who_may_read_no_retrain_sees_nothing(restricted):
    seen = restricted["housekeeping"]
    assert seen["status"] == 403 and seen["own report"][0] == seen["report by run alone"][0] == 403


def test_below_a_prefix_behind_nginx_every_link_leads_to_a_page(tmp_path):
    """Airflow's base URL has a path; what the page, the menu and the answers name is asked through Nginx."""
    nginx = services.nginx_path()
    if nginx is None:
        pytest.skip("nginx is not installed")
    three_months(tmp_path / "var")
    for name in "ab":
        (tmp_path / f"var/store/evaluation.gate/{name}/report.html").write_text("<!doctype html>report")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port, front = one.getsockname()[1], two.getsockname()[1]
    folders = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{front}/team/airflow",
    }
    for argv in (["db", "migrate"], ["dags", "reserialize"]):
        assert command(tmp_path, ["-m", "airflow", *argv], **folders).returncode == 0
    seen = ask(tmp_path, "prefix_probe.py", {"port": port, "front": front, "nginx": str(nginx)}, **folders)
    assert {status for status in seen["visited"].values()} == {200}
    paths = set(seen["visited"])
    assert (
        "/team/airflow/dags/monthly_retrain/runs/scheduled__2026-09" in paths and "/team/airflow/legal-models/links.js" in paths
    )
    assert any(path.startswith("/team/airflow/legal-models/report?dag=monthly_retrain") for path in paths)
    # No MLflow is named here: what answers is our page, which says so, and not Airflow's word for an address that it has not.
    assert "MLFLOW_TRACKING_URI names no server" in seen["views"].pop("MLflow")
    assert seen["views"] == {"Legal models": 200, "Evaluation": 200}
    assert seen["form"].startswith("/team/airflow/legal-models/override")


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
    code = "import json, pages; from airflow.api_fastapi.app import init_auth_manager; init_auth_manager(); "
    code += "from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser as User; "
    done = command(tmp_path, ["-c", code + "print(json.dumps(pages.render(User(username='eve', role='viewer'))))"])
    assert done.returncode == 0, done.stderr[-1500:]
    page = json.loads(done.stdout.strip().split("\n")[-1])
    listed = re.findall(r'<li data-base="([^"]+)" title="([^"]*)">([^<]*)(<strong>chosen</strong>)?', page.replace(", <", " <"))
    assert [(base, text.strip(), bool(chosen)) for base, _, text, chosen in listed] == [
        ("embedded", "embedded: refused, 70.0 %", False),
        ("embedded-small", "embedded-small: pass, 80.0 %", True),
    ]
    assert "<script>alert" not in page and "80.0 %" in page.split('data-run="scheduled__q"')[1]
