"""Candidates: which bases a run trains on, what each candidate's tasks are called with, and what the choice is told."""

import pytest

TI = """
import json, shlex
from types import SimpleNamespace
import candidates, steps
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from retraining import TRAIN

PARAMS = {"profile": "small", "bases": ["current"], "base": None, "overrides": [], "recompute": []}

class Task:
    dag_id, run_id, task_id = "quarterly_retrain", "manual/1", "train"

    def __init__(self, map_index=-1, results=None, states=None):
        self.map_index, self.results, self.states = map_index, results or {}, states or {}

    def xcom_pull(self, task_ids, map_indexes):
        return self.results.get((task_ids, map_indexes))

    def get_task_states(self, dag_id, task_ids, run_ids):
        assert (dag_id, run_ids) == (self.dag_id, [self.run_id])
        return {self.run_id: {k: v for k, v in self.states.items() if k.rpartition("_")[0] in task_ids or k in task_ids}}

def form(**values):
    return {**PARAMS, **values}

def words(params, map_index=-1, fields=TRAIN):
    ti = Task(map_index, {("bases", -1): candidates.list_bases(params)})
    return shlex.split(steps.overrides(params, fields, ti))
"""


@pytest.fixture
def ask(orchestrate):
    return lambda code: orchestrate(TI + code)


def test_current_is_the_forms_base_else_the_overrides_else_the_profiles(ask):
    found = ask("""
print(json.dumps([candidates.list_bases(each)[0] for each in (
    form(), form(base="/models/a"), form(overrides=["training.lora.base=/models/b"]), form(profile="qwen3_8b"))]))
""")
    assert found[:3] == [
        {"base": "embedded", "given": None},
        {"base": "/models/a", "given": "/models/a"},
        {"base": "/models/b", "given": None},
    ]
    assert "Qwen3-8B" in found[3]["base"] and found[3]["given"] is None


def test_a_base_named_twice_is_one_candidate(ask):
    found = ask('print(json.dumps(candidates.list_bases(form(bases=["current", "embedded-small", "embedded"]))))')
    assert found == [{"base": "embedded", "given": None}, {"base": "embedded-small", "given": "embedded-small"}]


def test_the_current_candidate_is_called_with_the_words_of_the_monthly_run(ask):
    monthly, current, other = ask("""
params = form(bases=["current", "embedded-small"], overrides=["training.lora.base=embedded"], lora_r=8)
print(json.dumps([words(params), words(params, 0), words(params, 1)]))
""")
    assert monthly == current == ["--set", "training.lora.base=embedded", "--set", "training.lora.r=8"]
    assert other == [*monthly[:2], "--set", 'training.lora.base="embedded-small"', *monthly[2:]]


def test_a_base_among_the_overrides_is_the_base_of_the_comparison_too(ask):
    monthly, current, other = ask("""
params = form(bases=["current", "embedded-small"], overrides=["training.lora.base=/m/a"])
print(json.dumps([words(params, index, {"base": "evaluation.harness.base"}) for index in (-1, 0, 1)]))
""")
    assert monthly == current == ["--set", "training.lora.base=/m/a", "--set", 'evaluation.harness.base="/m/a"']
    assert other[-1] == 'evaluation.harness.base="embedded-small"'


def test_what_was_typed_reaches_the_step_as_the_number_that_was_meant(ask):
    found = ask("""
params = form(learning_rate="2e-4", epochs="3", batch_size=" 16 ", seed=None, lora_dropout="")
gate = form(domain_bound="80 %", general_drop="2 个百分点", p95_s="900 ms", older_law=False)
from retraining import GATE
print(json.dumps([words(params), words(gate, fields=GATE), words(form(older_law=True), fields=GATE)]))
""")
    assert found[0][1::2] == ["training.lora.learning_rate=0.0002", "training.lora.epochs=3.0", "training.lora.batch=16"]
    gate = ["evaluation.gate.domain_bound=0.8", "evaluation.gate.general_drop=0.02", "evaluation.gate.p95_s=0.9"]
    assert sorted(found[1][1::2]) == sorted(gate) and found[2] == ["--set", "evaluation.gate.older_law=true"]


def test_a_candidates_task_takes_its_own_results_and_those_of_the_whole_run(ask):
    found = ask("""
results = {("merge", 0): {"artifact": "/m/0"}, ("merge", 1): {"artifact": "/m/1"}, ("collect", -1): {"artifact": "/c"}}
ti = Task(1, results)
print(json.dumps([steps.artifact(ti, "merge"), steps.artifact(ti, "collect"), steps.artifact(Task(-1, results), "collect")]))
""")
    assert found == ["/m/1", "/c", "/c"]


def test_each_candidate_notes_its_results_in_a_folder_of_its_own(ask):
    run, first, told = ask("""
import turns
env = steps.environment("train")["LEXLOOP_RESULT"]
from jinja2 import Template
def shown(index):
    dag, run = SimpleNamespace(dag_id="quarterly_retrain"), SimpleNamespace(run_id="manual/1")
    return Template(env).render(dag=dag, dag_run=run, ti=SimpleNamespace(map_index=index), **steps.MACROS)
ti = Task(-1, {("bases", -1): candidates.list_bases(form(bases=["current", "embedded-small"]))})
same = [turns.run_folder("quarterly_retrain", "manual/1", index) / "train.json" for index in (-1, 0)]
assert [str(path) for path in same] == [shown(-1), shown(0)], (same, shown(0))
print(json.dumps([shown(-1), shown(0), json.loads(candidates.candidates(ti))]))
""")
    place = "/runs/quarterly_retrain@manual%2F1"
    assert run.endswith(f"{place}/train.json") and first.endswith(f"{place}/0/train.json")
    assert list(told) == ["embedded", "embedded-small"] and told["embedded-small"].endswith(f"{place}/1")


def test_a_candidate_fails_by_its_first_task_that_did_not_end_well_and_not_by_being_unchanged(ask):
    found = ask("""
well = {f"{task}_{index}": "success" for task in candidates.TASKS for index in range(3)}
states = {**well, "prove_0": "skipped", "gate_0": "skipped", "merge_1": "failed"}
states |= {f"{task}_1": "upstream_failed" for task in candidates.TASKS[2:]}
ti = Task(-1, {("bases", -1): [{"base": name} for name in "abc"]}, states)
print(candidates.failed_candidates(ti))
""")
    assert found == {"b": "merge"}


def test_a_run_that_did_not_come_so_far_has_no_candidates(ask):
    assert ask("print(json.dumps([candidates.candidates(Task()), candidates.failed_candidates(Task())]))") == ["{}", "{}"]


def test_the_choice_is_skipped_with_a_skipped_run_and_fails_with_a_failed_one(ask):
    found = ask("""
said = []
for state in ("skipped", "failed", "upstream_failed"):
    try:
        candidates.begin_choice({"ti": Task(-1, {}, {"bases": state})})
    except (AirflowSkipException, AirflowFailException) as error:
        said.append(type(error).__name__)
print(json.dumps(said))
""")
    assert found == ["AirflowSkipException", "AirflowFailException", "AirflowFailException"]
