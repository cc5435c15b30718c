"""The retraining pipeline as a DAG: what monthly_retrain and quarterly_retrain share, which is everything but their dates.

`build(...)` makes the twelve tasks, the trigger form and the schedule. A DAG file names its own id, docs and due dates. Where
its form has the field `bases`, the tasks from train to gate are mapped over them, and `choose` says which result is released.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import candidates
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Param, task_group
from due_dates import DueDates
from steps import MACROS, OWNER, close_tracking, deadline, step
from turns import begin, take_turn
from verdicts import tell_verdict

from legal_tasks.settings import form, policy
from legal_tasks.settings.typed import LONGEST

CANDIDATE = {
    "weight_rule": "upstream",  # what stands further down comes first, so that one candidate is done early
    "map_index_template": "{{ base_name(ti) }}",
}


def text_field(title: str, text: str, section: str, default: str | None = None, **schema: Any) -> Param:
    """A field that may stay empty. Airflow shows `description_md` where there is no plain description."""
    return Param(default, type=["null", "string"], title=title, description_md=text, section=section, **schema)


def number_field(field: form.Field) -> Param:
    """A number as text, which Airflow's own number field would change without a word (`2e-4` became 1).

    A number of the API is taken as well; with `examples` the page shows one line of text for both.
    """
    return Param(
        None,
        type=["null", "string", "number"],
        pattern=field.kind.pattern,
        maxLength=LONGEST,
        examples=list(field.examples),
        title=field.title,
        description_md=field.words(),
        section=field.section,
    )


def switch(title: str, text: str) -> Param:
    return Param(False, type="boolean", title=title, description_md=text, section="Run")


def recompute_field(default: list[str], text: str) -> Param:
    """An emptied list is `null` in Airflow's form."""
    return Param(
        default,
        type=["null", "array"],
        items={"type": "string", "enum": list(form.TASKS)},
        examples=list(form.TASKS),
        title="Recompute",
        section="Run",
        description_md=text,
    )


PARAMS = {
    "profile": Param(
        policy.installation(),
        type="string",
        enum=policy.offered(),
        title="Profile",
        section="Run",
        description_md="The settings file that gives the values below. Others than this installation's "
        f"(`{policy.installation()}`) are offered where they judge a model in the same way.",
    ),
    "sources": text_field(
        "Sources",
        "A YAML that lists the sources, or `embedded` for the small world. Empty: what the profile says, or `embedded`.",
        "Run",
        os.environ.get("LEXLOOP_SOURCES"),
    ),
    "base": text_field(
        "Base model", "`embedded`, `embedded-small`, a folder, or a name on the hub. Empty: the profile's.", "Run"
    ),
    "month": text_field(
        "Month",
        "The month that the run stands for, as `2026-10`: the law of its first day counts. Empty: the month in which the run is "
        "due.",
        "Run",
        pattern=r"^(\s*[0-9]{4}-(0[1-9]|1[0-2])\s*)?$",
    ),
    "older_law": switch(
        "Older law",
        "This run may put the law of an earlier month into production than what serves now. Without it such a run is refused.",
    ),
    "recompute": recompute_field([], "Tasks to do again although their result is there."),
    "overrides": Param(
        [],
        type=["null", "array"],
        items={"type": "string", "maxLength": form.LONGEST},
        maxItems=form.MOST,
        title="Overrides",
        section="Run",
        description_md="Any other setting, as `area.module.field=value`, one per line. What is measured, what runs code and what "
        "sends a key is the installation's; bounds can only be made tighter (docs/settings.md).",
    ),
    "uses_period": switch("Stands for the month", "This run is the month's: the scheduled one skips, unless this one fails."),
    **{name: number_field(field) for name, field in form.FIELDS.items()},
}

BASES = Param(
    [candidates.CURRENT],
    type="array",
    items={"type": "string", "minLength": 1},
    minItems=1,
    maxItems=8,
    uniqueItems=True,
    examples=[candidates.CURRENT, "embedded-small"],
    title="Bases",
    section="Run",
    description_md="Bases to train on; the best that passes the gate is released. `current` is the field Base model, or the "
    "profile's.",
)

DATA = {"sources": "data.collect.sources"}
BASE = {"base": "training.lora.base"}
TRAIN = BASE | {name: field.setting for name, field in form.FIELDS.items() if field.setting.startswith("training.lora.")}
GATE = {name: field.setting for name, field in form.FIELDS.items() if field.setting.startswith("evaluation.gate.")}
GATE["older_law"] = "evaluation.gate.older_law"


def build(dag_id: str, *, cron: str, doc: str, description: str, params: dict[str, Param] | None = None) -> DAG:
    """The whole loop as a DAG whose runs are due by `cron`; `params` replace fields of the trigger form or add to it."""
    fields = {**PARAMS, **(params or {})}
    with DAG(
        dag_id=dag_id,
        doc_md=doc,
        description=description,
        # No start date: the timetable plans ahead from the moment that the DAG is switched on.
        schedule=DueDates(cron, dag_id=dag_id),
        catchup=False,
        max_active_runs=1,
        max_active_tasks=1,
        dagrun_timeout=timedelta(hours=48),
        deadline=deadline(timedelta(hours=36)),
        tags=["legal-llm", "retrain"],
        params=fields,
        user_defined_macros=MACROS,
        user_defined_filters={"quote": MACROS["quote"]},
        on_success_callback=[close_tracking, tell_verdict],
        on_failure_callback=[close_tracking, tell_verdict],
        render_template_as_native_obj=False,
    ) as dag:
        split = add_data()
        if "bases" in fields:
            add_candidates(split)
        else:
            train, gate = add_candidate()
            split >> train
            gate >> add_release({"decision": "gate", "model": "compress"})
    return dag


def add_data() -> Any:
    """The tasks that make the data; the last of them. Each task of a run holds the turn while it works."""
    collect = step(
        "data.collect",
        pre_execute=begin,
        arguments={"as-of": "{{ first_day(dag_run) }}"},
        fields=DATA,
        doc_md="Read the sources; every item gets an id.",
    )
    clean = step(
        "data.clean",
        inputs={"items": "collect"},
        arguments={"as-of": "{{ first_day(dag_run) }}"},
        doc_md="Clean, check citations, mask personal data, drop duplicates and exam leaks; each item set aside has a reason.",
    )
    check = step(
        "data.check", inputs={"records": "clean"}, doc_md="Check the records against the profile's bounds; write the data card."
    )
    split = step("data.split", inputs={"records": "clean"}, doc_md="Split into train and validation; relatives stay together.")
    collect >> clean >> check >> split
    return split


def add_candidate() -> tuple[Any, Any]:
    """The tasks from a base to the gate's word about the model trained on it; the first and the last of them."""
    train = step(
        "training.lora",
        task_id="train",
        inputs={"data": "split"},
        fields=TRAIN,
        pool="training",
        timeout_minutes=24 * 60,
        retries=2,
        doc_md="LoRA; live curves in MLflow; a retry resumes from the last complete checkpoint.",
    )
    merge = step(
        "training.merge",
        inputs={"adapter": "train"},
        fields={"base": "training.merge.base"},
        doc_md="Merge the adapter in float32 and verify the result.",
    )
    evaluate = step(
        "evaluation.harness",
        task_id="evaluate",
        inputs={"challenger": "merge", "items": "collect"},
        fields={"base": "evaluation.harness.base"},
        timeout_minutes=12 * 60,
        doc_md="Base, champion and challenger answer the same items (lm-evaluation-harness).",
    )
    compress = step(
        "compression.compress",
        inputs={"model": "merge", "data": "split", "exams": "collect", "records": "clean"},
        timeout_minutes=12 * 60,
        doc_md="GPTQ with act-order, GPTQ for the engine, GGUF Q4_0; sizes and losses in a table.",
    )
    compare = step(
        "evaluation.compare",
        inputs={"evaluation": "evaluate", "compression": "compress"},
        doc_md="Paired differences with intervals.",
    )
    prove = step(
        "serving.prove",
        inputs={"model": "compress", "data": "split", "exams": "collect", "training": "train"},
        doc_md="Served answers equal evaluated ones, per format; load test, costs. Skipped where production runs the candidate.",
    )
    gate = step(
        "evaluation.gate",
        inputs={"comparison": "compare", "proof": "prove", "data": "clean", "compression": "compress"},
        fields=GATE,
        arguments={"triggered-by": "{{ triggered_by(dag_run) | quote }}"},
        doc_md="Every rule with its number, interval and bound; pass or refuse.",
    )
    train >> merge >> evaluate >> compress >> compare >> prove >> gate
    return train, gate


def add_candidates(split: Any) -> None:
    """The candidates' tasks, mapped over the bases of the form, and the choice among those that the gate let pass.

    A candidate that fails loses the others nothing: the choice waits for all of them and names it.
    """
    bases = PythonOperator(
        task_id=candidates.TASK,
        python_callable=candidates.show_bases,
        pre_execute=take_turn,
        owner=OWNER,
        retries=1,
        retry_delay=timedelta(seconds=10),
        execution_timeout=timedelta(minutes=5),
        doc_md="Which bases the run trains on: the form's, each once.",
    )

    @task_group(group_id="candidate", prefix_group_id=False, default_args=CANDIDATE)
    def candidate(base: Any) -> None:
        """One base, from training to the gate's word about it."""
        add_candidate()

    choose = step(
        "evaluation.choose",
        pre_execute=candidates.begin_choice,
        trigger_rule="all_done",
        arguments={"candidates": "{{ candidates(ti) | quote }}", "failed": "{{ failed_candidates(ti) | quote }}"},
        doc_md="Of the candidates that the gate let pass, the best by legal accuracy; every one is named with its decision.",
    )
    release = add_release({"decision": "choose"}, {"model": "{{ chosen(ti, 'model') }}"})
    split >> bases >> candidate.expand(base=bases.output) >> choose >> release


def add_release(inputs: dict[str, str], arguments: dict[str, str] | None = None) -> Any:
    return step(
        "serving.release",
        inputs=inputs,
        arguments=arguments,
        doc_md="Writes the intent; the releaser serves it; registers the version. Skipped where the gate refused.",
    )
