"""Retrain the legal model on this month's sources, prove that it is better, and put it in production.

**What it does.** collect → clean → check → split → train → merge → evaluate → compress → compare → prove → gate → release.
Finished work is reused by content: a second run with nothing changed ends `unchanged` within a minute or two. A model that
the gate refuses never reaches production; the reasons stand in the gate's log and its artifact `decision.json`.

**When it runs.** On the first of each month at 03:00, Asia/Shanghai, once it is switched on; switching on starts nothing. A
date that passed while no scheduler ran is made up for, one that passed while the DAG was paused is not. In the months that
begin a quarter the run is that of `quarterly_retrain`, and this one skips, unless that DAG is paused. A run triggered by
hand does not count as the month's, unless its field *Stands for the month* is set; its field *Month* does an earlier month
again. One retrain is at work at a time.
While the DAG is off (paused), Airflow keeps what is triggered, and cleared tasks, queued until it is switched on;
`make retrain` switches it on for its own run alone and off again at the end, so that the schedule stays as it was.

**Who may set what.** Whoever triggers a run sets how it trains and may tighten a bound, never loosen one: that is refused with
the reason, here and in the API (`docs/settings.md`). A refused model takes two people, on the page *Legal models*.

**Who owns it.** The team that owns the legal model (`legal-llm`).

**When it fails.** Open the red task, read its last lines: they name the option, the value and the way out. Mend it, then
*clear* the task: it goes on from there, with everything before it kept (training resumes from its checkpoint). To do
finished steps again, trigger with `recompute` naming them. Production is untouched until `release`; `make rollback` puts the
previous model back and needs neither Airflow nor MLflow. Clearing, marking failed and deleting a run that works end its
processes within 5 seconds; what is finished stays in the store, and the next run goes on from there.
"""

from retraining import build

# The Airflow DAG itself: everything but its dates is shared with quarterly_retrain.
dag = build(
    "monthly_retrain",
    cron="0 3 1 * *",
    doc=__doc__,
    description="The monthly loop: data, training, evaluation, compression, proof, gate, release",
)
