"""Tell the team's channels what happened: run started, failed, late, refused, released, rolled back, no scheduled run for long.

**What it does.** Looks every five minutes at the runs of all our DAGs (also `housekeeping`'s and its own that failed) and at the
release history and sends each event once to each channel that has a Connection: `lexloop_wecom`, `lexloop_dingtalk`,
`lexloop_feishu`, `lexloop_smtp`, `lexloop_webhook` (fields: see `plugins/notify.py`). Unpause it once the Connections are made;
trigger it with `test` to try them. Nobody hears a watch that is dead: give `lexloop_heartbeat` the address of a monitor
elsewhere that raises its voice when it was not asked for a quarter of an hour. `housekeeping` keeps three days of its runs.

**Who owns it.** The team that owns the legal model (`legal-llm`).

**When it fails.** The last line names the channel and what it answered. Nothing is lost: what was not told is told at the
next look. Correct the Connection under Admin → Connections.
"""

from __future__ import annotations

from datetime import timedelta

import events
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Param
from airflow.timetables.trigger import CronTriggerTimetable

with DAG(
    dag_id="watch",
    doc_md=__doc__,
    description="Messages to WeCom, DingTalk, Feishu, e-mail and webhooks",
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="Asia/Shanghai", run_immediately=timedelta(seconds=1)),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=15),
    tags=["legal-llm", "operations"],
    params={
        "days": Param(
            35, type="number", exclusiveMinimum=0, title="Days", description="Without a scheduled run for so long: told."
        ),
        "test": Param(False, type="boolean", title="Test", description="Also send a test message to every channel."),
    },
    render_template_as_native_obj=True,
) as dag:
    PythonOperator(
        task_id="tell",
        python_callable=events.watch,
        op_kwargs={"days": "{{ params.days }}", "test": "{{ dag_run.run_id if params.test else none }}"},
        owner="legal-llm",
        retries=0,
        execution_timeout=timedelta(minutes=10),
        doc_md="Gather the events since the last look and send what a channel has not got yet.",
    )
