"""Import the DAG files as Airflow does and print what the tests look at (runs in the orchestrator's environment)."""

import json
import sys
import time

repository = sys.argv[1]
sys.path[:0] = [f"{repository}/plugins", f"{repository}/dags"]

import airflow.providers.standard.operators.bash  # noqa: E402, F401
import airflow.sdk  # noqa: E402, F401
import airflow.timetables.trigger  # noqa: E402, F401
import pendulum  # noqa: E402, F401

started = time.perf_counter()
import monthly_retrain  # noqa: E402

seconds = time.perf_counter() - started
dag = monthly_retrain.dag


def describe_task(task):
    return {
        "id": task.task_id,
        "owner": task.owner,
        "retries": task.retries,
        "timeout": task.execution_timeout.total_seconds(),
        "pool": task.pool,
        "doc": task.doc_md,
        "command": task.bash_command,
        "links": [link.name for link in task.operator_extra_links],
        "up": sorted(task.upstream_task_ids),
    }


def describe_param(name):
    param = dag.params.get_param(name)
    return {"schema": dict(param.schema), "description": param.description}


print(
    json.dumps(
        {
            "dag_id": dag.dag_id,
            "seconds": seconds,
            "torch": "torch" in sys.modules,
            "tags": sorted(dag.tags),
            "doc": dag.doc_md,
            "schedule": str(vars(dag.timetable)),
            "max_active_runs": dag.max_active_runs,
            "params": {name: describe_param(name) for name in dag.params},
            "tasks": [describe_task(task) for task in dag.topological_sort()],
        },
        default=str,
    )
)
