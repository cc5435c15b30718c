"""Due dates that are kept while a DAG is on and passed over while it is paused."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.trigger import CronTriggerTimetable

ZONE = "Asia/Shanghai"


def plan_of(dag_id: str) -> tuple[bool, Any]:
    """(paused, next planned run or None) of a DAG, from Airflow's database; a DAG that is not known yet counts as paused."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        row = session.execute(
            select(DagModel.is_paused, DagModel.next_dagrun_create_after).where(DagModel.dag_id == dag_id)
        ).one_or_none()
    return (True, None) if row is None else (bool(row[0]), row[1])


class DueDates(CronTriggerTimetable):
    """A cron expression whose runs are planned ahead, the plan being what Airflow keeps as the DAG's next run.

    Airflow's own timetable starts the newest past date as soon as a DAG is switched on, or, told not to, forgets a date
    that passed while no scheduler ran. Here a date that was planned while the DAG was on is kept until its run is there
    (of several missed ones the newest), and one that passes while the DAG is paused is passed over: switching on starts
    nothing.
    """

    def __init__(self, cron: str, *, dag_id: str, timezone: Any = ZONE):
        super().__init__(cron, timezone=timezone)
        self.dag_id = dag_id

    def serialize(self) -> dict[str, Any]:
        return {"cron": self._expression, "dag_id": self.dag_id}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> DueDates:
        return cls(data["cron"], dag_id=data["dag_id"])

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        if restriction.catchup:  # a range of dates is asked for (a backfill, the calendar), not the next run
            return super().next_dagrun_info(last_automated_data_interval=last_automated_data_interval, restriction=restriction)
        import pendulum

        from legal_tasks import schedule

        paused, planned = plan_of(self.dag_id)
        paused = paused or schedule.is_lent(self.dag_id)
        schedule.saw(self.dag_id, paused, pendulum.now("UTC").timestamp())
        last = last_automated_data_interval.end if last_automated_data_interval else None
        due = self.choose(pendulum.now("UTC"), paused, planned and pendulum.instance(planned), last)
        return DagRunInfo.interval(due, due)

    def newest(self, now: Any) -> Any:
        """The newest due date that has passed: the one that is made up for."""
        return self._align_to_prev(now)

    def choose(self, now: Any, paused: bool, planned: Any, last: Any) -> Any:
        """The next due date, given the plan so far and the last scheduled run's date (all times with a zone)."""
        coming = self._align_to_next(now)
        if last is not None:
            coming = max(coming, self._get_next(last))
        if paused or planned is None or self._align_to_prev(planned) != planned:  # no plan, or one of other dates
            return coming
        due = planned if last is None or planned > last else self._get_next(last)
        missed = self._align_to_prev(now)
        return max(due, missed) if due < missed else due


class SchedulePlugin(AirflowPlugin):
    """Makes the timetable known to scheduler and DAG processor."""

    name = "lexloop_schedule"
    timetables = [DueDates]
