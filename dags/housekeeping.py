"""Make room once a week: old artifacts, logs, Airflow's rows, MLflow's runs.

**What it does.** `store` removes artifacts that nobody needs (merged weights first; never what is, was or may be in production,
nor what a run uses), `documents` forgets what the cleaning knew of documents that no run meets any more, `logs` rotates and
removes, `airflow` cleans Airflow's database, `mlflow` deletes runs that gave no registered version. Each task's log says what
went and how many bytes; trigger it with `dry_run` to see it first. The same by hand: `make gc ARGS=--dry-run`.

**Who owns it.** The team that owns the legal model (`legal-llm`).

**When it fails.** The run fails where one of its tasks does, and `watch` tells it; the others have done their work. The last
lines of the red one name what is wrong; nothing is half removed. Clear it when that is mended, or wait for the next week.
Without a readable release state `store` removes nothing and fails.
"""

from __future__ import annotations

import json
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param
from airflow.timetables.trigger import CronTriggerTimetable
from credentials import hand_over
from steps import MACROS, OWNER, REPOSITORY, deadline, environment, python

PARTS = {
    "store": "Artifacts by age and size, and abandoned checkpoints.",
    "documents": "What data.clean remembers of single documents, by age and size; what the newest cleaning used stays.",
    "logs": "Task logs, notes of runs and long service logs.",
    "airflow": "Rows of Airflow's database, older than `keep_days`.",
    "mlflow": "MLflow's runs without a registered version, older than `keep_days`.",
}


def number(default: float | None, title: str, text: str) -> Param:
    kinds = "number" if default is not None else ["null", "number"]
    return Param(default, type=kinds, minimum=0, title=title, description=text)


# Quoted although the form takes numbers only: a run's conf comes from elsewhere, too. With = so that none becomes an option.
OPTIONS = (
    "{{ '--dry-run' if params.dry_run else '' }} --older-than-days={{ params.older_than_days | quote }} "
    "--ledger-months={{ params.ledger_months | quote }} --keep-days={{ params.keep_days | quote }} "
    "{{ '--keep-gib=' ~ params.keep_gib | quote if params.keep_gib is not none else '' }} "
    "{{ '--documents-gib=' ~ params.documents_gib | quote if params.documents_gib is not none else '' }}"
)

with DAG(
    dag_id="housekeeping",
    doc_md=__doc__,
    description="Weekly: artifacts, logs, Airflow's and MLflow's databases",
    schedule=CronTriggerTimetable("30 4 * * 0", timezone="Asia/Shanghai", run_immediately=timedelta(seconds=1)),
    catchup=False,
    max_active_runs=1,
    max_active_tasks=1,
    dagrun_timeout=timedelta(hours=6),
    deadline=deadline(timedelta(hours=4)),
    user_defined_macros=MACROS,
    tags=["legal-llm", "operations"],
    user_defined_filters={"quote": MACROS["quote"]},
    params={
        "dry_run": Param(False, type="boolean", title="Dry run", description="Only say what would go, and the bytes."),
        "older_than_days": number(90, "Older than, days", "Artifacts that were not used for so long go."),
        "keep_gib": number(None, "Size, GiB", "Above this size of the store the longest unused goes too. Empty: no bound."),
        "documents_gib": number(None, "Documents, GiB", "The same for what is remembered of single documents. Empty: no bound."),
        "ledger_months": number(12, "Ledger, months", "Models that served within these months stay, with all they were made of."),
        "keep_days": number(400, "Rows and logs, days", "Logs, Airflow's rows and MLflow's runs are kept for so long."),
    },
) as dag:
    # No task waits for another: where one fails the run fails (a chain that goes on whatever happened would end as its last
    # task does). One works at a time, those listed first before the others.
    for place, (part, text) in enumerate(PARTS.items()):
        BashOperator(
            task_id=part,
            bash_command=f"exec {python('orchestrator')} -m legal_tasks.gc --parts {part} {OPTIONS}",
            env=environment(part),
            pre_execute=hand_over("gc") if part == "mlflow" else None,
            cwd=REPOSITORY,
            output_processor=json.loads,
            owner=OWNER,
            retries=1,
            retry_delay=timedelta(minutes=5),
            priority_weight=len(PARTS) - place,
            weight_rule="absolute",
            execution_timeout=timedelta(hours=2),
            doc_md=text,
        )
