"""A step's command line and what MLflow has of it: worked, reused by another run, ended."""

import json
import os
import subprocess
import sys
import textwrap

from legal_tasks import tracking

MODULE = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from legal_tasks.step import Input, Output, main

VERSION = 1
WATCHED = True

@dataclass(frozen=True)
class Params:
    text: Annotated[Path, Input("a file of lines")]
    output: Annotated[Path, Output("nothing")]

@dataclass(frozen=True)
class Report:
    lines: dict[str, int]

def run(params):
    time.sleep(4)
    return Report({"合同": len(params.text.read_text().splitlines())})

if __name__ == "__main__":
    sys.exit(main("count_lines"))
"""


def test_a_step_is_watched_and_its_reuse_by_the_next_run_is_a_child_with_its_numbers(seat, tmp_path, repository):
    (tmp_path / "count_lines.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "text.jsonl").write_text("a\nb\n")
    results = []
    for run in (f"{tmp_path.name}-1", f"{tmp_path.name}-2"):
        values = {
            "PYTHONPATH": f"{tmp_path}:{repository}",
            "LEXLOOP_DAG_RUN": run,
            "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.2",
        }
        argv = [sys.executable, "-m", "count_lines", "--profile", "small", "--text", str(tmp_path / "text.jsonl")]
        done = subprocess.run(argv, env={**os.environ, **values}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout.strip().split("\n")[-1]))
        tracking.close_run(run, "FINISHED")
    assert [result["reused"] for result in results] == [False, True]
    experiment = seat.get_experiment_by_name("monthly_retrain").experiment_id
    found = seat.search_runs([experiment], f"tags.`{tracking.TAG_KEY}` = '{results[0]['key']}'")
    reused, made = found  # the newest first
    assert made.data.metrics["lines.contract_law"] == reused.data.metrics["lines.contract_law"] == 2
    assert made.data.metrics["system/system_memory_usage_percentage"] > 0
    assert reused.data.tags[tracking.TAG_REUSED] == made.info.run_id and made.info.run_id in results[1]["mlflow_run_url"]
    assert [json.loads(given.dataset.profile)["num_rows"] for given in reused.inputs.dataset_inputs] == [2]
    parents = seat.search_runs([experiment], f"tags.`{tracking.TAG_STEP}` = 'parent' and params.profile = 'small'")
    assert {f"{tmp_path.name}-1", f"{tmp_path.name}-2"} <= {parent.info.run_name for parent in parents}
