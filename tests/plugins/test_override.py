"""A refusal is overridden on the page by two users with a role, each with a form of their own; nothing else does it."""

import socket

import pytest

from legal_tasks import artifacts
from legal_tasks.serving.state import Database
from tests import judged
from tests.conftest import REPOSITORY
from tests.plugins.orchestrator import ask, command
from tests.plugins.runs import retrain

RUN = "manual__refused"
PAGE = """<!doctype html><h1>不予发布 Refused</h1><p id="reach"></p><script>
let reach = "the session is within reach";
try { document.cookie; } catch { reach = "the session is out of reach"; }
document.getElementById("reach").textContent = reach;
</script>"""


def refused_run(var):
    """A retrain whose model the gate refused, with its artifacts; the candidate's artifact."""
    store = artifacts.Store(var / "store")
    one = judged.model(store, "one")
    gate, candidate = judged.judge(store, one, "refused", files={"report.html": PAGE}), one.compress
    Database.create(var / "release.sqlite")
    compress = {"artifact": str(candidate.path), "report": {"formats": {}}}
    skipped = {"skipped": True, "reason": "refused: general ability"}
    retrain(var, RUN, "2026-11", 1_793_500_000.0, gate.path, compress=compress, release=skipped)
    return candidate


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """(what the probe saw, the release history afterwards, digest of the candidate)."""
    home = tmp_path_factory.mktemp("home")
    candidate = refused_run(home / "var")
    folders = {"AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags")}
    for argv in (["db", "migrate"], ["dags", "reserialize"]):
        done = command(home, ["-m", "airflow", *argv], **folders)
        assert done.returncode == 0, done.stderr[-2000:]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    seen = ask(home, "override_probe.py", {"port": port}, **folders)
    return seen, Database(home / "var" / "release.sqlite").history(), candidate.digest


def test_every_other_way_is_refused(answered):
    assert answered[0]["refused"] == {
        "no session": 401,
        "no token": 403,
        "bob's token": 403,
        "token of another run": 403,
        "viewer without a form": 403,
        "viewer with a token": 403,
        "the same run of another DAG": 403,
        "no such run of that DAG": 404,
        "no such run": 404,
        "outside the folder": 404,
        "no reason": 409,
        "the same person": 409,
        "confirm without token": 403,
        "confirm as viewer": 403,
        "no number": 409,
    }
    assert not answered[0]["viewer sees a form"]


def test_two_users_override_and_both_stand_in_the_history_with_the_reason(answered):
    seen, history, digest = answered
    assert (seen["asked"], seen["confirmed"]) == (303, 303)
    assert seen["shown"] == ["200 /legal-models/page"] * 2
    assert [(line.event, line.actor, line.evidence["reason"]) for line in history] == [
        ("override asked", "alice", "The court's new form is due on Monday."),
        ("override confirmed", "bob", "The court's new form is due on Monday."),
    ]
    assert {line.after["digest"] for line in history} == {digest}


def test_the_second_user_is_asked_and_the_first_is_told_to_wait(answered):
    alice, bob = answered[0]["alice's page"], answered[0]["bob's page"]
    assert "alice wants it released against this recommendation" in alice and "court&#39;s new form" in alice
    assert "override-confirm" not in alice and "A second person" in alice
    assert "override-confirm" in bob


def test_the_release_runs_again_in_the_name_of_who_confirmed(answered):
    seen = answered[0]
    assert (seen["before"], seen["still"], seen["after"]) == ("skipped", "skipped", None)
    assert seen["log"] == ["bob"]
    # Airflow lets the tasks of a DAG that is off wait: it is on until the run has ended.
    assert (seen["paused before"], seen["paused"]) == (True, False)


def test_the_report_is_shown_to_who_may_read_runs_out_of_reach_of_the_session(answered):
    seen = answered[0]["report"]
    assert {name: part["status"] for name, part in seen.items()} == {
        **dict.fromkeys(("alice", "bob", "eve"), 200),
        "nobody": 401,
        "other": 404,
    }
    assert seen["eve"]["text"] == PAGE
    policy = seen["eve"]["headers"]["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;") and "allow-same-origin" not in policy
    assert "form-action 'none'; base-uri 'none'" in policy
