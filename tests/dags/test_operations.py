"""The DAGs that look after the seat: documented, scheduled, owned, one run at a time."""

import json

import pytest

from tests.conftest import REPOSITORY
from tests.plugins.orchestrator import command

NAMES = ["housekeeping", "watch"]


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


def test_housekeeping_does_each_part_with_options_that_exist_and_no_password(dags):
    import re

    from legal_tasks import gc

    tasks = dags["housekeeping"]["tasks"]
    assert [task["id"] for task in tasks] == list(gc.PARTS)
    for task in tasks:
        assert f"-m legal_tasks.gc --parts {task['id']} " in task["command"]
        plain = re.sub(r"\{\{.*?\}\}", "1", task["command"].split("legal_tasks.gc")[1])
        options = re.findall(r"--[a-z-]+", task["command"].split("legal_tasks.gc")[1])
        assert {"--dry-run", "--older-than-days", "--keep-gib", "--ledger-months", "--keep-days"} <= set(options)
        assert plain.startswith(f" --parts {task['id']}") and "canary" not in str(task)
