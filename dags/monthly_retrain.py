"""Retrain the legal model on this month's sources, prove that it is better, and put it in production.

**What it does.** collect → clean → check → split → train → merge → evaluate → compress → compare → prove → gate → release.
Finished work is reused by content: a second run with nothing changed ends `unchanged` within a minute or two. A model that
the gate refuses never reaches production; the reasons stand in the gate's log and its artifact `decision.json`.

**Who owns it.** The team that owns the legal model (`legal-llm`).

**When it fails.** Open the red task, read its last lines: they name the option, the value and the way out. Mend it, then
*clear* the task: it goes on from there, with everything before it kept (training resumes from its checkpoint). To do
finished steps again, trigger with `recompute` naming them. Production is untouched until `release`; `make rollback` puts the
previous model back and needs neither Airflow nor MLflow.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param
from airflow.timetables.trigger import CronTriggerTimetable
from steps import MACROS, close_tracking, step

TASKS = (
    *("collect", "clean", "check", "split", "train", "merge"),
    *("evaluate", "compress", "compare", "prove", "gate", "release"),
)
SETTINGS = Path(__file__).resolve().parents[1] / "legal_tasks" / "settings"
PROFILES = sorted(path.stem for path in SETTINGS.glob("*.yaml"))


def optional(kind: str, title: str, text: str, section: str, **bounds: float) -> Param:
    """A field that keeps the profile's value while it is empty."""
    text += " Empty: the profile's value."
    return Param(None, type=["null", kind], title=title, description=text, section=section, **bounds)


PARAMS = {
    "profile": Param(
        "small",
        type="string",
        enum=PROFILES,
        title="Profile",
        section="Run",
        description="The seat: which settings file gives the values below.",
    ),
    "sources": optional(
        "string",
        "Sources",
        "A YAML that lists the sources, or `embedded` for the small world that comes with the project.",
        "Run",
    ),
    "base": optional("string", "Base model", "`embedded`, a folder, or a name on the hub.", "Run"),
    "recompute": Param(
        [],
        type="array",
        items={"type": "string", "enum": list(TASKS)},
        examples=list(TASKS),
        title="Recompute",
        section="Run",
        description="Tasks to do again although their result is there.",
    ),
    "overrides": Param(
        [],
        type="array",
        items={"type": "string", "pattern": r"^\w+\.\w+\.\w+=.*$"},
        title="Overrides",
        section="Run",
        description="Any other setting, as area.module.field=value, one per line.",
    ),
    "lora_r": optional("integer", "LoRA rank", "Rank r of the update matrices.", "LoRA", minimum=1, maximum=512),
    "lora_alpha": optional("integer", "LoRA alpha", "Scale of the update: alpha / r.", "LoRA", minimum=1, maximum=1024),
    "lora_dropout": optional("number", "LoRA dropout", "Share of inputs dropped in training.", "LoRA", minimum=0, maximum=0.9),
    "learning_rate": optional("number", "Learning rate", "Peak learning rate.", "Training", exclusiveMinimum=0, maximum=1),
    "epochs": optional("number", "Epochs", "Passes over the training set.", "Training", exclusiveMinimum=0, maximum=100),
    "batch_size": optional("integer", "Batch", "Records per step and device.", "Training", minimum=1, maximum=1024),
    "seed": optional("integer", "Seed", "Seed of training.", "Training", minimum=0),
    "domain_bound": optional(
        "number", "Legal accuracy", "Share of the domain suite that must be right.", "Thresholds", minimum=0, maximum=1
    ),
    "general_drop": optional(
        "number", "General ability", "Largest loss against the base, as a share.", "Thresholds", minimum=0, maximum=1
    ),
    "p95_s": optional("number", "P95", "Largest P95 of the first token, seconds.", "Thresholds", exclusiveMinimum=0),
}

DATA = {"sources": "data.collect.sources"}
TRAIN = {
    "base": "training.lora.base",
    "lora_r": "training.lora.r",
    "lora_alpha": "training.lora.alpha",
    "lora_dropout": "training.lora.dropout",
    "learning_rate": "training.lora.learning_rate",
    "epochs": "training.lora.epochs",
    "batch_size": "training.lora.batch",
    "seed": "training.lora.seed",
}
GATE = {
    "domain_bound": "evaluation.gate.domain_bound",
    "general_drop": "evaluation.gate.general_drop",
    "p95_s": "evaluation.gate.p95_s",
}

with DAG(
    dag_id="monthly_retrain",
    doc_md=__doc__,
    description="The monthly loop: data, training, evaluation, compression, proof, gate, release",
    # No start_date, and a second of grace: switching the schedule on starts no run for a month that has passed.
    schedule=CronTriggerTimetable("0 3 1 * *", timezone="Asia/Shanghai", run_immediately=timedelta(seconds=1)),
    catchup=False,
    max_active_runs=1,
    max_active_tasks=1,
    dagrun_timeout=timedelta(hours=48),
    tags=["legal-llm", "retrain"],
    params=PARAMS,
    user_defined_macros=MACROS,
    user_defined_filters={"quote": MACROS["quote"]},
    on_success_callback=close_tracking,
    on_failure_callback=close_tracking,
    render_template_as_native_obj=False,
) as dag:
    collect = step(
        "data.collect",
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
        inputs={"model": "merge", "data": "split", "exams": "collect"},
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
        inputs={"model": "compress", "data": "split"},
        doc_md="Served answers equal evaluated answers; load test. Skipped where the candidate is what production runs.",
    )
    gate = step(
        "evaluation.gate",
        inputs={"comparison": "compare", "proof": "prove", "data": "clean", "compression": "compress"},
        fields=GATE,
        doc_md="Every rule with its number, interval and bound; pass or refuse.",
    )
    release = step(
        "serving.release",
        inputs={"decision": "gate", "model": "compress"},
        doc_md="Writes the intent; the releaser serves it; registers the version. Skipped where the gate refused.",
    )
    collect >> clean >> check >> split >> train >> merge >> evaluate >> compress >> compare >> prove >> gate >> release
