"""What cannot work, or is the installation's to set, is refused by Airflow's own API server where it is triggered, in words."""

import json
import socket

import pytest

from legal_tasks.serving.state import Database
from tests.conftest import REPOSITORY
from tests.plugins.orchestrator import ask, command

GATE = "evaluation.gate"
MONTHLY = "/api/v2/dags/monthly_retrain/dagRuns"


def conf(path=MONTHLY, **values):
    return {"path": path, "body": {"logical_date": None, "conf": values}}


def of(dag, **values):
    return conf(f"/api/v2/dags/{dag}/dagRuns", **values)


def nested(depth):
    value = "law"
    for _ in range(depth):
        value = [value]
    return value


REFUSED = {  # what is sent -> words of the answer
    "a field that there is not": (conf(learning_rat=1), ["'learning_rat'", "did you mean learning_rate?"]),
    "an override that there is not": (conf(overrides=[f"{GATE}.p95=1"]), [f"{GATE}.p95 is not a setting", "nearest: p95_s"]),
    "a looser override": (conf(overrides=[f"{GATE}.general_drop=1"]), ["general_drop=1.0", "0.03", "two people", "Legal models"]),
    "a looser field": (conf(p95_s=1e9), ["p95_s: evaluation.gate.p95_s=1000000000 s", "1 s (profile small)"]),
    "another name of the profile": (
        conf(overrides=[f"{GATE}.profile_name=faults", f"{GATE}.domain_bound=0"]),
        [f"{GATE}.profile_name=faults", f"{GATE}.domain_bound=0.0"],
    ),
    "another profile": (conf(profile="qwen3_8b"), ["profile: profile qwen3_8b would set", "LEXLOOP_PROFILE=qwen3_8b"]),
    "the profile of fault injections": (conf(profile="faults"), ["LEXLOOP_FAULTS=1"]),
    "a file as a profile": (conf(profile="/tmp/own.yaml"), ["A file can only be the installation's own"]),
    "a program beside a base": (
        conf(base="/tmp/base", overrides=['training.lora.remote_code={"modeling.py": "0"}']),
        ["training.lora.remote_code", "only the installation"],
    ),
    "an address that would get a key": (conf(overrides=["data.clean.rewrite_url=http://x/v1"]), ["only the installation"]),
    "fewer questions": (conf(overrides=["evaluation.harness.limit=10"]), ["evaluation.harness.limit=10"]),
    "an override with aliases": (
        conf(overrides=["training.lora.remote_code={a: &a [x], b: [*a, *a]}"]),
        ["overrides: --set", "may not hold the alias"],
    ),
    "lists without end": (conf(overrides=nested(800)), ["conf: 801 lists or objects within each other, at most 10"]),
    "lists without end for housekeeping": (of("housekeeping", older_than_days=nested(400)), ["conf: 401 lists"]),
    "a number that is none": (conf(learning_rate="fast"), ["learning_rate: must be a number such as `2e-4`, got 'fast'"]),
    "a number that may mean two": (conf(general_drop="0.5"), ["general_drop: '0.5' may mean"]),
    "an older law": (conf(month="2020-01"), ["month: production (version 7)", "older_law"]),
    "a month to come": (conf(month="2999-01"), ["month: 2999-01 lies in the future"]),
    "a date of the run that is older": (
        {"body": {"logical_date": None, "run_after": "2020-01-05T00:00:00Z", "conf": {}}},
        ["month: production (version 7)"],
    ),
    "no base": (of("quarterly_retrain", bases=[]), ["bases: [] should be non-empty"]),
    "a base twice": (of("quarterly_retrain", bases=["a", "a"]), ["bases: ", "non-unique"]),
    "a field of another DAG": (conf(bases=["embedded"]), ["'bases': there is no such field"]),
    "housekeeping, a field that there is not": (of("housekeeping", dry=True), ["'dry'", "did you mean dry_run?"]),
    "housekeeping, a text for a number": (
        of("housekeeping", older_than_days="1; touch /tmp/x"),
        ["older_than_days: '1; touch /tmp/x' is not of type 'number'"],
    ),
    "housekeeping, no number": (
        {"path": "/api/v2/dags/housekeeping/dagRuns", "raw": "days that are no number"},
        ["older_than_days: must be a number"],
    ),
    "watch": (of("watch", days=0), ["days: 0 is less than or equal to the minimum of 0"]),
    "a path in other words": (conf("/api/v2/dags/%6Donthly_retrain/dagRuns", p95_s=9), ["p95_s"]),
    "a backfill": (
        {
            "path": "/api/v2/backfills",
            "body": {
                "dag_id": "monthly_retrain",
                "from_date": "2026-01-01T00:00:00Z",
                "to_date": "2026-02-01T00:00:00Z",
                "dag_run_conf": {"p95_s": 9},
            },
        },
        ["p95_s"],
    ),
    "UTF-16": ({"raw": "utf-16"}, ["p95_s"]),
    "UTF-8 with its mark": ({"raw": "utf-8 with its mark"}, ["p95_s"]),
    "an integer of many digits": ({"raw": "integer"}, ["seed: must be"]),
    "not a number": ({"raw": "not a number"}, ["p95_s: must be"]),
    "infinite": ({"raw": "infinite"}, ["p95_s: must be"]),
    "half a character": ({"raw": "half a character"}, ["'base': it holds a character"]),
    "half a character as a name": ({"raw": "half a character as a name"}, ["no such field"]),
    "nul": ({"raw": "nul"}, ["'base': it holds a character"]),
    "named twice": ({"raw": "named twice"}, ["p95_s"]),
    "many names": ({"raw": "many names"}, ["'name0'", "more"]),
    "blanks": ({"raw": "blanks"}, ["'epochs': at most 2000 characters"]),
}
# What Airflow answers by itself; it must do so, and soon.
AIRFLOWS = {
    **{raw: {"raw": raw} for raw in ("no Unicode", "nested", "long integer", "empty", "a list", "conf is a text")},
    "packed": {"body": {"logical_date": None, "conf": {}}, "headers": {"Content-Encoding": "gzip"}},
    "too large": {"raw": "too large"},
    "too large in pieces": {"raw": "too large", "chunked": True},
    "nobody": conf(p95_s=1e9) | {"role": None},
    "a viewer": conf(p95_s=1e9) | {"role": "viewer"},
    "a forged session": conf(p95_s=1e9) | {"role": None, "headers": {"Authorization": "Bearer x.y.z"}},
    "no such DAG": of("nowhere", p95_s=1e9),
}
TAKEN = {
    "nothing": conf(),
    "texts": conf(learning_rate="2e-4", domain_bound="80 %", general_drop="2 个百分点", p95_s="900 ms", epochs=None),
    "numbers": conf(learning_rate=2e-4, domain_bound=0.99, p95_s=0.9, seed=41),
    "empty texts": conf(learning_rate="", month="", base="", overrides=[], p95_s=""),
    "tighter": conf(profile="small", overrides=[f"{GATE}.general_drop=0.01", "training.lora.epochs=2"]),
    "older law with a word for it": conf(month="2020-01", older_law=True),
    "the quarter": of("quarterly_retrain", bases=["current", "embedded-small"], recompute=None),
    "housekeeping": of("housekeeping", dry_run=True, older_than_days=30),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "var").mkdir()
    database = Database.create(home / "var" / "release.sqlite")
    model = {"digest": "d" * 64, "path": str(home), "version": "7"}
    database.record("released", "test", database.intend(model).revision, actual=model)
    variables = {"AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags")}
    for argv in (["db", "migrate"], ["dags", "reserialize"]):
        done = command(home, ["-m", "airflow", *argv], **variables)
        assert done.returncode == 0, done.stderr[-2000:]
    return home


def serve(home, asked, **more):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return ask(home, "triggers_probe.py", {"port": port, "asked": asked, **more}, LEXLOOP_PROFILE="small")


@pytest.fixture(scope="module")
def answered(home):
    asked = [*(each for each, _ in REFUSED.values()), *AIRFLOWS.values(), *TAKEN.values()]
    found = serve(home, asked)
    return dict(zip([*REFUSED, *AIRFLOWS, *TAKEN], found["answers"], strict=True)), found["runs"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_with_the_field_and_the_reason(answered, name):
    answer = answered[0][name]
    assert answer["status"] == 422 and answer["seconds"] < 20, answer
    said = json.loads(answer["text"])["detail"]
    assert all(word in said for word in REFUSED[name][1]), said
    assert len(said) < 5000 and "Traceback" not in said


def test_what_airflow_refuses_by_itself_it_still_does_and_soon(answered):
    states = {name: answered[0][name]["status"] for name in AIRFLOWS}
    assert (states.pop("nobody"), states.pop("a viewer"), states.pop("no such DAG")) == (401, 403, 404)
    assert states.pop("a forged session") in (401, 403)
    assert states.pop("too large") == 413 and states.pop("too large in pieces") == 413
    assert states.pop("packed") in (200, 422)  # Airflow takes no notice of the header
    assert set(states.values()) <= {400, 422}, states
    assert all(answered[0][name]["seconds"] < 20 for name in AIRFLOWS)
    assert "1 s" not in answered[0]["a viewer"]["text"] + answered[0]["nobody"]["text"]  # the bounds are not told


def test_what_tightens_or_is_free_is_taken_as_text_and_as_number(answered):
    states = {name: answered[0][name]["status"] for name in TAKEN}
    assert set(states.values()) == {200}, {name: answered[0][name] for name in TAKEN}


def test_nothing_that_was_refused_became_a_run(answered):
    wanted = [asked["body"]["conf"] for asked in TAKEN.values()]
    assert all(given in wanted or given == {} for _, given in answered[1]) and len(answered[1]) in (len(TAKEN), len(TAKEN) + 1)


def test_below_a_path_the_same_is_refused(home):
    asked = [conf(p95_s=1e9), conf(learning_rate="1e-4")]
    first, second = serve(home, asked, prefix="/airflow")["answers"]
    assert first["status"] == 422 and "p95_s" in first["text"] and second["status"] == 200
