"""Import the DAGs that look after the seat and print what the tests look at (runs in the orchestrator's environment)."""

import importlib
import json
import sys

repository, *names = sys.argv[1:]
sys.path[:0] = [f"{repository}/plugins", f"{repository}/dags"]
found = {}
for name in names:
    dag = importlib.import_module(name).dag
    found[dag.dag_id] = {
        "doc": dag.doc_md,
        "tags": sorted(dag.tags),
        "schedule": str(vars(dag.timetable)),
        "runs": dag.max_active_runs,
        "params": {key: dag.params.get_param(key).description for key in dag.params},
        "tasks": [
            {
                "id": task.task_id,
                "owner": task.owner,
                "doc": task.doc_md,
                "priority": task.priority_weight,
                "timeout": task.execution_timeout.total_seconds(),
                "command": getattr(task, "bash_command", ""),
                "env": getattr(task, "env", None),
            }
            for task in dag.topological_sort()
        ],
    }
print(json.dumps(found, default=str))
