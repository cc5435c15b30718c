"""Once a quarter, rebuild the data from all sources and retrain: the month's run of January, April, July and October.

**What it does.** The tasks of `monthly_retrain`, built by the same code, with the data steps done again from the sources
whatever lies in the store (the field `recompute` says so, and can be changed in the trigger form). The tasks from train to
gate work for each base of the field `bases` (`current` alone, unless you name more), one task at a time; of those that
the gate let pass, `choose` releases the best by legal accuracy. A base whose task failed is named and loses the others
nothing; where none passes, the run is refused with the reasons of each.

**When it runs.** On the first of each quarter at 03:00, Asia/Shanghai, once it is switched on; `monthly_retrain` skips that
month, saying so. While this DAG is paused the monthly one does the month itself, so a quarter that was forgotten is a month
that was not. What is triggered while it is off waits, queued, as in `monthly_retrain`.

**Who owns it.** The team that owns the legal model (`legal-llm`).

**When it fails.** As `monthly_retrain`: read the red task's last lines, mend it, clear the task (of a mapped task the one
index alone, with what comes after it).
"""

from retraining import BASES, build, recompute_field

REBUILT = ("collect", "clean", "check", "split")

# The Airflow DAG itself: everything but its dates, its bases and its form's defaults is shared with monthly_retrain.
dag = build(
    "quarterly_retrain",
    cron="0 3 1 1,4,7,10 *",
    doc=__doc__,
    description="The quarterly loop: the monthly one with its data rebuilt from all sources",
    params={
        "recompute": recompute_field(
            list(REBUILT), "Tasks to do again although their result is there; the data's, unless you say otherwise."
        ),
        "bases": BASES,
    },
)
