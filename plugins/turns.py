"""One retrain at a time over all DAGs, and one per period: what is settled before a task works.

The turn is a file in the store that names the DAG run at work. It stays with that run through retries, cleared tasks and
dead schedulers until the run has ended (or was deleted); Airflow is asked, so that no dead holder keeps it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from due_dates import ZONE

from legal_tasks.evaluation import law
from legal_tasks.settings import form

AT_WORK = ["running"]
POLL_S = 5.0
WAIT_S = 24 * 3600.0
QUARTERLY = "quarterly_retrain"
QUARTER_MONTHS = (1, 4, 7, 10)
SEEN_S = 180.0  # the two schedulers' runs of one moment are created within seconds of each other
log = logging.getLogger(__name__)


def var() -> Path:
    """The folder that every run of this seat writes to."""
    return Path(os.environ.get("LEXLOOP_VAR", Path(__file__).resolve().parents[1] / "var"))


def folder() -> Path:
    """Where turns and periods are noted: beside the artifacts, because whoever shares the store must share the turn."""
    return Path(os.environ.get("LEXLOOP_STORE", var() / "store")) / ".turns"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else reads or changes `path` meanwhile; the lock ends with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> dict[str, str] | None:
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _write(path: Path, value: dict[str, str]) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value), "utf-8")
    os.replace(temporary, path)


def count(ti: Any, note: dict[str, str], states: list[str]) -> int:
    """1 where the DAG run of a note exists in one of the states, else 0."""
    return ti.get_dr_count(dag_id=note["dag_id"], run_ids=[note["run_id"]], states=states)


def take_turn(context: Any) -> None:
    """Hold the turn for this task's DAG run; wait, saying for whom, while another retrain is at work.

    Raises AirflowFailException after WAIT_S seconds in vain.
    """
    ti, run = context["ti"], context["dag_run"]
    own = {"dag_id": ti.dag_id, "run_id": run.run_id}
    path = folder() / "retrain.json"
    deadline = time.monotonic() + WAIT_S
    told = None
    while True:
        with _alone(path):
            holder = _read(path)
            if holder is None or holder == own or not count(ti, holder, AT_WORK):
                if holder != own:
                    _write(path, own)
                    log.info("one retrain at a time: %s has the turn", run.run_id)
                return
        if holder != told:
            told = holder
            log.warning("one retrain at a time: waiting for %(run_id)s of %(dag_id)s, which is at work", holder)
            show_waiting(run_folder(ti.dag_id, run.run_id, getattr(ti, "map_index", -1)), ti.task_id, holder["run_id"])
        if time.monotonic() > deadline:
            raise AirflowFailException(
                f"refused: {holder['run_id']} of {holder['dag_id']} has been at work for {WAIT_S / 3600:.0f} h; end it "
                "(mark it failed, or switch its DAG on if it is paused), then clear this task"
            )
        time.sleep(POLL_S)


def run_folder(dag_id: str, run_id: str, map_index: int = -1) -> Path:
    """Where the tasks of a run note their results, each candidate's mapped tasks in a folder of their own."""
    from legal_tasks import notes

    return notes.run_folder(var(), dag_id, run_id, map_index)


def show_waiting(place: Path, task_id: str, holder: str) -> None:
    """Tell who follows the run from the command line, where it looks for a task's progress."""
    path = place / f"{task_id}.progress.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"done": 0, "total": 1, "eta_s": None, "numbers": {"waiting for": holder}, "time": time.time()}
    path.write_text(json.dumps(state), "utf-8")


def begin(context: Any) -> None:
    """Before the first task: may it run as it was triggered, is this month's run somebody else's? Then take the turn."""
    run = context["dag_run"]
    kind = str(getattr(run.run_type, "value", run.run_type))
    scheduled = kind in ("scheduled", "backfill")
    if kind == "scheduled":
        skip_if_passed(context)
    refuse_if_not_allowed(context["ti"].dag_id, run)
    month = form.month_of(run.conf, run.run_after)
    if scheduled:
        skip_if_off(context)
        skip_if_done(context, month)
        if context["ti"].dag_id != QUARTERLY and int(month[5:]) in QUARTER_MONTHS:
            skip_if_quarterly(context, month)
    take_turn(context)
    if not scheduled and context["params"].get("uses_period"):
        path = folder() / f"period-{month}.json"
        with _alone(path):
            _write(path, {"dag_id": context["ti"].dag_id, "run_id": run.run_id})


def refuse_if_not_allowed(dag_id: str, run: Any) -> None:
    """Whatever way the run was triggered: AirflowFailException where its conf could not have been filled in, or has older law."""
    conf = run.conf or {}
    wrong = form.check(conf, dag_id)
    if not wrong and not conf.get("older_law"):
        behind = law.older(form.first_day(form.month_of(conf, run.run_after)), law.served(var() / "release.sqlite"))
        wrong = [f"month: {behind}: {law.WAY_OUT}"] if behind else []
    if wrong:
        raise AirflowFailException("refused, before any data: " + "; ".join(wrong) + ". Trigger a new run")


def skip_if_passed(context: Any) -> None:
    """Skip a scheduled run of a date that the timetable would not make up for: a newer one has passed since.

    A database from long ago plans such a date, and whoever switches the DAG on before the plan is made anew starts it.
    A run that somebody cleared is wanted.
    """
    import pendulum

    run, timetable = context["dag_run"], getattr(context.get("dag"), "timetable", None)
    if getattr(run, "clear_number", 0) or not hasattr(timetable, "newest"):
        return
    newest = timetable.newest(pendulum.now("UTC"))
    if run.run_after < newest:
        due, month = (pendulum.instance(each).in_timezone(ZONE) for each in (newest, run.run_after))
        raise AirflowSkipException(
            f"this run was due on {month:YYYY-MM-DD}, and {due:YYYY-MM-DD} has passed since: it is not made up for. To do it all "
            f"the same, trigger a run with month = {month:YYYY-MM}"
        )


def skip_if_off(context: Any) -> None:
    """Skip a run that was due while the schedule was off: Airflow makes one where its plan was stale, or a loan went over it."""
    import pendulum

    from legal_tasks import schedule

    run = context["dag_run"]
    if str(getattr(run.run_type, "value", run.run_type)) != "scheduled":  # a backfill was asked for
        return
    due = pendulum.instance(run.run_after)
    if schedule.was_off(context["ti"].dag_id, due.timestamp(), time.time()):
        shown = due.in_timezone(ZONE).format("YYYY-MM-DD HH:mm")
        raise AirflowSkipException(f"the schedule was off at {shown}: trigger a run by hand if this month shall be done")


def skip_if_done(context: Any, month: str) -> None:
    """Skip the scheduled run of a month that a manual run was told to stand for, unless that one failed."""
    note = _read(folder() / f"period-{month}.json")
    if note and count(context["ti"], note, ["queued", "running", "success"]):
        raise AirflowSkipException(f"the run of {month} is {note['run_id']} of {note['dag_id']}, triggered to stand for it")


def skip_if_quarterly(context: Any, month: str) -> None:
    """Skip where the quarterly run of the same moment is there; one that is paused takes nobody's place."""
    from legal_tasks import schedule

    ti, run = context["ti"], context["dag_run"]
    deadline = time.monotonic() + SEEN_S
    while True:
        if ti.get_dr_count(dag_id=QUARTERLY, logical_dates=[run.logical_date]):
            raise AirflowSkipException(f"{month} begins a quarter: the month's run is that of {QUARTERLY}")
        if ti.get_dag(QUARTERLY).is_paused or schedule.is_lent(QUARTERLY):
            log.warning("%s begins a quarter, but %s is paused: doing the month here", month, QUARTERLY)
            return
        if time.monotonic() > deadline:
            log.warning("%s begins a quarter, but %s has no run for it: doing the month here", month, QUARTERLY)
            return
        time.sleep(POLL_S)
