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
    return json.loads(done.stdout.strip().split("\n")[-1])


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
    assert sorted(task["id"] for task in tasks) == sorted(gc.PARTS)
    assert sorted(gc.PARTS, key=lambda part: -next(task["priority"] for task in tasks if task["id"] == part)) == list(gc.PARTS)
    for task in tasks:
        assert f"-m legal_tasks.gc --parts {task['id']} " in task["command"]
        plain = re.sub(r"\{\{.*?\}\}", "1", task["command"].split("legal_tasks.gc")[1])
        options = re.findall(r"--[a-z-]+", task["command"].split("legal_tasks.gc")[1])
        assert {"--dry-run", "--older-than-days", "--keep-gib", "--ledger-months", "--keep-days"} <= set(options)
        assert plain.startswith(f" --parts {task['id']}") and "canary" not in str(task)


def test_what_somebody_puts_into_a_run_s_conf_is_one_word_of_the_command_and_no_command(orchestrate):
    words = orchestrate("""
import json, subprocess
import housekeeping
task = housekeeping.dag.get_task("store")
smuggled = "1; echo gone $(echo gone) `echo gone` ' --store /"
params = {"dry_run": True, "older_than_days": smuggled, "ledger_months": 12, "keep_days": 400,
          "keep_gib": smuggled, "documents_gib": None}
text = task.render_template(task.bash_command, {"params": params}, housekeeping.dag.get_template_env())
argv = text.split("legal_tasks.gc", 1)[1]
said = subprocess.run(["bash", "-c", "printf '%s\\\\n' " + argv], text=True, capture_output=True)
print(json.dumps(said.stdout.splitlines()))
""")
    smuggled = "1; echo gone $(echo gone) `echo gone` ' --store /"
    assert words == [
        *("--parts", "store", "--dry-run", f"--older-than-days={smuggled}", "--ledger-months=12", "--keep-days=400"),
        f"--keep-gib={smuggled}",
    ]


def test_rows_of_the_watch_go_after_days_and_those_of_other_dags_stay(tmp_path):
    for argv in (["-m", "airflow", "db", "migrate"], ["-m", "airflow", "dags", "reserialize"], ["tests/dags/frequent_probe.py"]):
        done = command(tmp_path, argv, AIRFLOW__CORE__DAGS_FOLDER=str(REPOSITORY / "dags"))
        assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.strip().split("\n")[-1])
    assert seen["dry"] == 120 and seen["before"] == 2 * 125
    # The newest stays although it is old: the schedule counts from it. One that has not ended stays too.
    assert seen["gone"] == 120 and seen["watch"] == ["100-at-work", "121", "122", "123", "124"]
    assert seen["housekeeping"] == 125
    assert seen["paused"] == 3 and seen["left"] == ["100-at-work", "124"]
