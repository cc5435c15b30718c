"""The timetable: a run per month, made up for after an outage, passed over while switched off."""

HEAD = """
import json
import pendulum
from due_dates import DueDates
monthly = DueDates("0 3 1 * *", dag_id="monthly_retrain")
def at(text):
    return pendulum.parse(text, tz="Asia/Shanghai")
def told(moment):
    return moment.in_timezone("Asia/Shanghai").format("YYYY-MM-DD HH:mm")
"""


def test_twenty_four_months_are_due_once_each_at_three_in_the_morning_of_the_first(orchestrate):
    dates = orchestrate(
        HEAD
        + """
found, last = [], None
now = at("2027-12-15 12:00")
plan = monthly.choose(now, False, None, last)
while len(found) < 24:
    now = plan.add(seconds=20)
    found.append(told(plan))
    last, plan = plan, monthly.choose(now, False, plan, plan)
print(json.dumps(found))
"""
    )
    expected = [f"{2028 + n // 12}-{n % 12 + 1:02d}-01 03:00" for n in range(24)]
    assert dates == expected  # from January 2028, whose February has 29 days


def test_a_date_that_passed_without_a_scheduler_is_made_up_for_and_of_several_the_newest(orchestrate):
    found = orchestrate(
        HEAD
        + """
plan, last = at("2026-12-01 03:00"), at("2026-11-01 03:00")
one = monthly.choose(at("2026-12-03 09:00"), False, plan, last)
several = monthly.choose(at("2027-02-03 09:00"), False, plan, last)
first = monthly.choose(at("2026-12-03 09:00"), False, plan, None)
print(json.dumps([told(one), told(several), told(first)]))
"""
    )
    assert found == ["2026-12-01 03:00", "2027-02-01 03:00", "2026-12-01 03:00"]


def test_a_date_that_passed_while_paused_is_passed_over_so_that_switching_on_starts_nothing(orchestrate):
    found = orchestrate(
        HEAD
        + """
now, last = at("2026-12-05 09:00"), at("2026-11-01 03:00")
paused = monthly.choose(now, True, at("2026-12-01 03:00"), last)
switched_on = monthly.choose(now.add(minutes=1), False, paused, last)
new = monthly.choose(now, False, None, None)
print(json.dumps([told(paused), told(switched_on), told(new)]))
"""
    )
    assert found == ["2027-01-01 03:00"] * 3


def test_a_plan_of_another_timetable_is_not_kept(orchestrate):
    code = HEAD + 'print(json.dumps(told(monthly.choose(at("2026-12-05 09:00"), False, at("2026-12-02 00:00"), None))))'
    assert orchestrate(code) == "2027-01-01 03:00"


def test_the_timetable_survives_being_stored(orchestrate):
    code = HEAD + "again = DueDates.deserialize(monthly.serialize()); print(json.dumps([again.serialize(), again.dag_id]))"
    assert orchestrate(code) == [{"cron": "0 3 1 * *", "dag_id": "monthly_retrain"}, "monthly_retrain"]
