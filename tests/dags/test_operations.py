"""The DAGs that look after the seat: documented, scheduled, owned, one run at a time."""

import json

import pytest

from tests.conftest import REPOSITORY
from tests.plugins.orchestrator import command

NAMES = ["watch"]


@pytest.fixture(scope="module")
def dags(tmp_path_factory):
    argv = ["tests/dags/operations_probe.py", str(REPOSITORY), *NAMES]
    done = command(tmp_path_factory.mktemp("home"), argv, LEXLOOP_DB="postgresql://u:canary@h/d")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_each_has_docs_tags_a_schedule_and_an_owner(dags):
    assert sorted(dags) == sorted(NAMES)
    for name, dag in dags.items():
        assert "When it fails" in dag["doc"] and "Who owns it" in dag["doc"] and "legal-llm" in dag["tags"], name
        assert "Asia/Shanghai" in dag["schedule"] and dag["runs"] == 1 and all(dag["params"].values()), name
        for task in dag["tasks"]:
            assert task["owner"] == "legal-llm" and task["doc"] and 0 < task["timeout"] <= 7200, (name, task["id"])
