"""The candidates of one run: the bases that it trains on, and which of them came to a decision.

A mapped task works for the candidate of its map index. `list_bases` says at the run's time which these are; the Jinja macros
`base_name`, `candidates` and `failed_candidates` tell the steps.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from turns import run_folder, take_turn

TASK = "bases"
TASKS = ("train", "merge", "evaluate", "compress", "compare", "prove", "gate")  # of each candidate, in order
CURRENT = "current"
ENDED_WELL = ("success", "skipped")  # skipped: unchanged, what production runs
log = logging.getLogger(__name__)


def current_base(params: Mapping[str, Any]) -> str:
    """What a run without candidates would train on: the form's base, else the overrides', the profile's, the default."""
    from legal_tasks import settings
    from legal_tasks.training import lora

    if params.get("base"):
        return str(params["base"])
    values = settings.section(params["profile"], "training.lora", list(params.get("overrides") or []))
    return str(values.get("base", lora.Params.base))


def list_bases(params: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """[{base, given}] of the form's `bases`; `given` is what the form's `base` is for this candidate, None as it is empty.

    A base that is named twice, once as `current`, is one candidate.
    """
    found: dict[str, str | None] = {}
    for name in params["bases"]:
        base = current_base(params) if name == CURRENT else str(name)
        if base in found:
            log.warning("bases: %s is %s, which is a candidate already", name, base)
            continue
        found[base] = params.get("base") or None if name == CURRENT else base
    return [{"base": base, "given": given} for base, given in found.items()]


def show_bases(params: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """The task's own work: `list_bases`, told in its log."""
    found = list_bases(params)
    log.info("%d candidates: %s", len(found), ", ".join(str(each["base"]) for each in found))
    return found


def of(ti: Any) -> dict[str, str | None] | None:
    """The candidate that a task works for; None for a task that works for the whole run."""
    index = getattr(ti, "map_index", -1)
    return every(ti)[index] if index >= 0 else None


def base_name(ti: Any) -> str:
    """Base of a task's candidate, empty where the task works for the whole run (Jinja macro)."""
    own = of(ti)
    return str(own["base"]) if own else ""


def every(ti: Any) -> list[dict[str, str | None]]:
    """All candidates of the run; none where it did not come so far.

    Airflow renders templates before `begin_choice` says so, and a template that fails would hide its words.
    """
    return ti.xcom_pull(task_ids=TASK, map_indexes=-1) or []


def candidates(ti: Any) -> str:
    """JSON {base: folder with the notes of the candidate's tasks} (Jinja macro)."""
    found = {each["base"]: str(run_folder(ti.dag_id, ti.run_id, index)) for index, each in enumerate(every(ti))}
    return json.dumps(found, ensure_ascii=False)


def failed_candidates(ti: Any) -> str:
    """JSON {base: first task that did not end well}, from Airflow: a note may be an earlier attempt's (Jinja macro)."""
    states = states_of(ti, list(TASKS))
    found = {}
    for index, each in enumerate(every(ti)):
        for task in TASKS:
            if states.get(f"{task}_{index}") not in ENDED_WELL:
                found[each["base"]] = task
                break
    return json.dumps(found, ensure_ascii=False)


def states_of(ti: Any, tasks: list[str]) -> dict[str, str]:
    """{task, or task_index where it is mapped: state} in this task's DAG run."""
    return ti.get_task_states(dag_id=ti.dag_id, task_ids=tasks, run_ids=[ti.run_id]).get(ti.run_id, {})


def begin_choice(context: Any) -> None:
    """Before the choice, which waits for all candidates whatever became of them: was there anything to choose from?"""
    state = states_of(context["ti"], [TASK]).get(TASK)
    if state == "skipped":
        raise AirflowSkipException("the run was skipped before it had a candidate")
    if state != "success":
        raise AirflowFailException("no candidate was trained: mend the task that failed before, then clear it")
    take_turn(context)
