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

started = time.process_time()  # of this process: what else the machine does is no part of it
import monthly_retrain  # noqa: E402
import quarterly_retrain  # noqa: E402

seconds = time.process_time() - started


def describe_task(task):
    return {
        "id": task.task_id,
        "owner": task.owner,
        "retries": task.retries,
        "timeout": task.execution_timeout.total_seconds(),
        "pool": task.pool,
        "doc": task.doc_md,
        "command": getattr(task, "bash_command", ""),
        "links": [link.name for link in task.operator_extra_links],
        "up": sorted(task.upstream_task_ids),
        "mapped": task.get_closest_mapped_task_group() is not None,
        "rule": task.trigger_rule.value,
        "weight": str(task.weight_rule),
    }


def describe_param(dag, name):
    param = dag.params.get_param(name)
    return {"schema": dict(param.schema), "description": param.description}


def describe(dag):
    timetable = dag.timetable
    return {
        "dag_id": dag.dag_id,
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "description": dag.description,
        "schedule": str(vars(timetable)),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "params": {name: {**describe_param(dag, name), "default": dag.params[name]} for name in dag.params},
        "tasks": [describe_task(task) for task in dag.topological_sort()],
    }


dags = [describe(module.dag) for module in (monthly_retrain, quarterly_retrain)]
print(json.dumps({"seconds": seconds, "torch": "torch" in sys.modules, "dags": dags}, default=str))
