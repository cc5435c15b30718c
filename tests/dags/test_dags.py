"""Every DAG: imports in the orchestrator's environment, has owner, tags, docs, schedule; parses fast; no heavy import."""

import json
import subprocess

import pytest


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    import os

    from tests.conftest import REPOSITORY

    folder = os.environ.get("LEXLOOP_ENV_DIR", str(REPOSITORY / "var" / "env"))
    home = tmp_path_factory.mktemp("airflow")
    done = subprocess.run(
        [f"{folder}/orchestrator/bin/python", str(REPOSITORY / "tests" / "dags" / "probe.py"), str(REPOSITORY)],
        capture_output=True,
        text=True,
        env={"AIRFLOW_HOME": str(home), "PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().split("\n")[-1])


@pytest.fixture(scope="module", params=["monthly_retrain", "quarterly_retrain"])
def dag(parsed, request):
    return next(one for one in parsed["dags"] if one["dag_id"] == request.param)


DATA = ["collect", "clean", "check", "split"]
CANDIDATE = ["train", "merge", "evaluate", "compress", "compare", "prove", "gate"]


def test_a_retrain_has_its_tasks_in_order(dag):
    names = {
        "monthly_retrain": [*DATA, *CANDIDATE, "release"],
        "quarterly_retrain": [*DATA, "bases", *CANDIDATE, "choose", "release"],
    }[dag["dag_id"]]
    assert [task["id"] for task in dag["tasks"]] == names
    for before, task in zip(names, dag["tasks"][1:], strict=False):
        assert before in task["up"]


def test_the_quarterly_tasks_from_train_to_gate_are_mapped_and_the_choice_waits_for_all_of_them(parsed):
    monthly, quarterly = ({task["id"]: task for task in one["tasks"]} for one in parsed["dags"])
    assert [name for name, task in quarterly.items() if task["mapped"]] == CANDIDATE
    assert not any(task["mapped"] for task in monthly.values())
    assert quarterly["choose"]["rule"] == "all_done" and quarterly["release"]["rule"] == "all_success"
    # What stands further down comes first, so that one candidate is done early.
    assert {quarterly[name]["weight"] for name in CANDIDATE} != {quarterly["collect"]["weight"]}


def test_a_retrain_is_documented_and_scheduled(dag):
    cron = {"monthly_retrain": "0 3 1 * *", "quarterly_retrain": "0 3 1 1,4,7,10 *"}[dag["dag_id"]]
    assert dag["tags"] and "When it fails" in dag["doc"] and "Who owns it" in dag["doc"]
    assert cron in dag["schedule"] and "Asia/Shanghai" in dag["schedule"]
    assert dag["max_active_runs"] == 1 and not dag["catchup"]


def test_the_two_dags_differ_in_dates_in_bases_and_in_what_is_rebuilt_only(parsed):
    monthly, quarterly = parsed["dags"]
    commands = [{task["id"]: task["command"] for task in one["tasks"]} for one in (monthly, quarterly)]
    assert all(commands[0][name] == commands[1][name] for name in [*DATA, *CANDIDATE])
    different = {name for name in monthly["params"] if monthly["params"][name] != quarterly["params"][name]}
    assert different == {"recompute"} and quarterly["params"].keys() - monthly["params"].keys() == {"bases"}
    assert quarterly["params"]["bases"]["default"] == ["current"]
    assert quarterly["params"]["recompute"]["default"] == ["collect", "clean", "check", "split"]


def test_every_task_has_owner_retries_timeout_pool_and_doc(dag):
    for task in dag["tasks"]:
        assert task["owner"] == "legal-llm" and task["retries"] >= 1 and task["timeout"] > 0 and task["pool"] and task["doc"], (
            task["id"]
        )
    assert next(t for t in dag["tasks"] if t["id"] == "train")["pool"] == "training"
    assert all(task["links"] == ["MLflow run"] for task in dag["tasks"] if task["id"] != "bases")


def test_the_dag_files_parse_fast_and_import_no_torch(parsed):
    assert parsed["seconds"] < 1 and not parsed["torch"]


def test_the_trigger_form_is_typed_described_and_sectioned(dag):
    for name, param in dag["params"].items():
        # Airflow's page shows the Markdown only where there is no plain description.
        assert param["schema"]["description_md"] and not param["description"], name
        assert param["schema"].get("section") and param["schema"].get("title") and param["schema"].get("type"), name


def test_what_may_stay_empty_is_not_required(dag):
    """What Airflow's page marks as required: a type without null (an emptied list, too, is null there)."""
    required = {name for name, param in dag["params"].items() if "null" not in param["schema"]["type"]}
    assert required == {"profile", "older_law", "uses_period"} | ({"bases"} & dag["params"].keys())


def test_numbers_are_lines_of_text_that_take_what_is_typed_and_the_apis_numbers(dag):
    from legal_tasks.settings import form

    for name, field in form.FIELDS.items():
        schema = dag["params"][name]["schema"]
        # Without examples the page shows six lines for a field of two types, and reads what is typed as JSON.
        assert schema["examples"] == list(field.examples) and schema["type"] == ["null", "string", "number"]
    said = dag["params"]["learning_rate"]["schema"]["description_md"]
    assert "Empty = small: 2e-3; chatglm3_6b, llama2_7b, qwen3_8b: 2e-4." in said
    assert "faults" not in json.dumps(dag["params"])


def test_airflows_own_check_takes_what_the_parser_takes_and_refuses_what_is_no_number(orchestrate):
    found = orchestrate("""
import json, retraining
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError
def takes(name, value):
    try:
        ParamsDict({name: retraining.PARAMS[name]})[name] = value
    except ParamValidationError:
        return False
    return True
good = [(name, value) for name, field in retraining.form.FIELDS.items()
        for value in (None, *field.examples, field.kind.parse(field.examples[0]))]
good += [("domain_bound", "80％"), ("domain_bound", "75"), ("general_drop", "2 个百分点"), ("p95_s", 0.9)]
good += [("learning_rate", "２e-4"), ("month", "2026-10"), ("recompute", None), ("overrides", None)]
bad = [(name, value) for name in retraining.form.FIELDS for value in ("much", True, [1], "1" * 41)]
bad += [("profile", "faults"), ("month", "October"), ("recompute", ["gate "]), ("older_law", None)]
print(json.dumps([[each for each in good if not takes(*each)], [each for each in bad if takes(*each)]]))
""")
    assert found == [[], []]


def test_every_task_calls_a_module_that_exists_with_options_that_it_has(dag, repository):
    import importlib
    import re

    from legal_tasks.step import Output, describe_params

    for task in dag["tasks"]:
        if task["id"] == "bases":  # the one task that is no step: it reads the form
            continue
        name = re.search(r"-m (legal_tasks\.[\w.]+)", task["command"]).group(1)
        options = set(re.findall(r" --([a-z0-9-]+)", re.sub(r"\{\{.*?\}\}", "", task["command"]))) - {"profile"}
        specs = describe_params(importlib.import_module(name).Params)
        known = {s.flag[2:] for s in specs if not isinstance(s.option, Output)}
        assert options <= known, f"{task['id']}: {options - known}"
        for step, field in re.findall(r"'(\w+\.\w+)\.(\w+)'", task["command"]):
            fields = {s.name for s in describe_params(importlib.import_module(f"legal_tasks.{step}").Params)}
            assert field in fields, f"{task['id']}: {step}.{field}"
