"""A run's verdict as its note in Airflow: a callback at the run's end, whoever triggered it. It ends a loan of the DAG too.

The note is set through Airflow's API, which is the one way that a callback has; what a person wrote there before stays above.
"""

from __future__ import annotations

import logging
import time
from typing import Any
from urllib.parse import quote

from turns import run_folder

MARK = "**LexLoop** "  # where our part of a note begins
ENDED_WITHOUT_A_TASK = "no task failed: the run was marked failed or ran out of time"
log = logging.getLogger(__name__)


def tell_verdict(context: Any) -> None:
    """Write the verdict into the run's note, and switch off a DAG that was on for this run alone (callback of both ends)."""
    import httpx

    from legal_tasks import schedule, services
    from legal_tasks.retrain import Airflow

    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    try:
        airflow = Airflow(services.airflow_url(), services.admin_password())
    except httpx.TransportError as error:
        log.warning("%s has no note: Airflow's API does not answer at %s (%s)", run_id, services.airflow_url(), error)
        return
    address = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
    if schedule.switch_back(airflow, dag_id, run_id, time.time()):
        log.info("%s is off again: it was on for %s alone", dag_id, run_id)
    run = airflow.call("GET", address)
    if run["state"] not in ("success", "failed"):
        log.info("%s is %s again: its end will say the verdict", run_id, run["state"])
        return
    note = with_verdict(run.get("note"), paragraphs(airflow, run))
    airflow.call("PATCH", address, params={"update_mask": "note"}, json={"note": note})
    log.info("%s: %s", run_id, note)


def paragraphs(airflow: Any, run: dict[str, Any]) -> list[str]:
    """The verdict of a run that has ended, once in each language of the setting."""
    from legal_tasks import notes as noted
    from legal_tasks import retrain, verdict

    notes = noted.read_run(run_folder(run["dag_id"], run["dag_run_id"]))
    decision, reasons = retrain.decide(run["state"], notes)
    if decision == "failed":
        reasons = [what_failed(airflow, run, notes)]
    judged = retrain.decision_file(noted.judged(notes))
    released = (notes.get("release", {}).get("report") or {}).get("version")
    serves = (retrain.production_model() or {}).get("version")
    return [verdict.tell(decision, reasons, judged, released, serves, language) for language in verdict.languages()]


def what_failed(airflow: Any, run: dict[str, Any], notes: dict[str, dict[str, Any]]) -> str:
    """`train: the last line of its error`; where the step left no word, which task it was."""
    from legal_tasks.retrain import name_of

    address = f"/dags/{run['dag_id']}/dagRuns/{quote(run['dag_run_id'], safe='')}/taskInstances"
    tasks = airflow.call("GET", address, params={"limit": 100})["task_instances"]
    failed = sorted((task for task in tasks if task["state"] == "failed"), key=lambda task: task["end_date"] or "")
    if not failed:
        return ENDED_WITHOUT_A_TASK
    said = (notes.get(failed[0]["task_id"]) or {}).get("error") or "its step ended without a word: see its log"
    return f"{name_of(failed[0])}: {said.strip().splitlines()[-1]}"


def with_verdict(before: str | None, told: list[str]) -> str:
    """A note with the verdict below what a person wrote; an earlier verdict of ours is replaced. As long as Airflow allows."""
    from legal_tasks.verdict import NOTE_LIMIT, cut

    own = (before or "").partition(MARK)[0].rstrip()
    own = cut(own, NOTE_LIMIT // 2) + "\n\n" if own else ""
    room = (NOTE_LIMIT - len(own) - len(MARK)) // len(told) - len("\n\n")
    return own + MARK + "\n\n".join(cut(text, room) for text in told)
