"""Which variables a step may see: each is on a list, and what is on none is denied."""

import json
import re

import pytest

from plugins import credentials
from tests.conftest import REPOSITORY
from tests.plugins.orchestrator import command


def test_every_variable_that_the_code_reads_is_on_a_list():
    found = set()
    for folder in ("legal_tasks", "plugins", "dags"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            found |= set(re.findall(r"LEXLOOP_[A-Z0-9_]*[A-Z0-9]", path.read_text("utf-8")))
    secret = {name for each in credentials.SECRETS.values() for name in each.variables}
    listed = {*credentials.PASSED, *credentials.SET, *credentials.WITHHELD, *secret}
    assert len(found) > 20 and found - listed == set()
    assert not {name for name in credentials.PASSED if credentials.is_secret(name)}
    assert not set(credentials.PASSED) & secret


def test_every_step_of_the_table_exists():
    for step, names in credentials.STEPS.items():
        assert (REPOSITORY / "legal_tasks" / f"{step.replace('.', '/')}.py").is_file(), step
        assert set(names) <= credentials.SECRETS.keys()


def test_no_stored_dag_holds_a_value_that_nobody_allowed(tmp_path):
    names = [*credentials.WITHHELD, "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "TEAM_TOKEN", "LEXLOOP_SALT", "LEXLOOP_REWRITE_KEY"]
    names += ["LEXLOOP_JUDGE_API_KEY", "LEXLOOP_ENDPOINT_API_KEY", "LEXLOOP_ENGINE_ARGV", *credentials.MLFLOW]
    given = {name: f"canary-{name}" for name in names}
    given |= {
        "HF_ENDPOINT": "https://u:canary-mirror@hub.example",
        "MLFLOW_TRACKING_URI": "https://u:canary-url@mlflow.example/x",
    }
    done = command(tmp_path, ["tests/plugins/secrets_probe.py", str(REPOSITORY)], **given)
    assert done.returncode == 0, done.stderr[-3000:]
    stored = done.stdout.strip().splitlines()[-1]
    assert len(json.loads(stored)) == 5 and "DockerOperator" in stored and "KubernetesPodOperator" in stored
    assert "https://mlflow.example/x" in stored
    at = stored.find("canary")
    assert at < 0, stored[max(at - 200, 0) : at + 60]


@pytest.mark.parametrize(
    ("given", "shown", "handed"),
    [
        ("http://u:p@h:5000/m", "http://h:5000/m", {"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"}),
        ("http://h:5000", "http://h:5000", {}),
        (
            "http://u:p%40%2F@[::1]:5000",
            "http://[::1]:5000",
            {"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p@/"},
        ),
        ("postgresql://u:p@h/mlflow", "", {"MLFLOW_TRACKING_URI": "postgresql://u:p@h/mlflow"}),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db", {}),
        ("", "", {}),
    ],
)
def test_mlflows_address_is_shown_without_its_login(monkeypatch, given, shown, handed):
    for name in (*credentials.PASSED, *credentials.MLFLOW):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert credentials.mlflow_address() == shown and credentials.of_addresses() == handed


@pytest.mark.parametrize("name", ["LEXLOOP_JUDGE_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_USERNAME"])
def test_a_secret_is_known_by_its_name(name):
    assert credentials.is_secret(name)
    assert not any(map(credentials.is_secret, ("AWS_REGION", "TOKENIZERS_PARALLELISM", "MLFLOW_TRACKING_URI", "KEYBOARD")))
