"""Serialise our DAGs, and steps in containers, as Airflow stores them; print the text (in the orchestrator's environment)."""

import json
import sys

repository = sys.argv[1]
sys.path[:0] = [f"{repository}/dags"]

import housekeeping  # noqa: E402
import monthly_retrain  # noqa: E402
import places  # noqa: E402
import quarterly_retrain  # noqa: E402
import steps  # noqa: E402
import watch  # noqa: E402
from airflow.sdk import DAG  # noqa: E402
from airflow.serialization.serialized_objects import DagSerialization  # noqa: E402

dags = [module.dag for module in (monthly_retrain, quarterly_retrain, housekeeping, watch)]
var = steps.var_folder()
mounts = {"image": "lexloop-{env}:2026.11", "volumes": {var: var}}
cards = places.Place(kind="docker", name="cards", secrets={"HF_TOKEN": "TEAM_TOKEN"}, **mounts)
cluster = places.Place(kind="kubernetes", name="cluster", secrets={"HF_TOKEN": "hub/token"}, **mounts)
with DAG("contained", schedule=None) as contained:
    for number, step in enumerate(["data.collect", "training.lora", "evaluation.compare", "serving.prove"]):
        steps.step(step, where=cards, task_id=f"docker{number}")
        steps.step(step, where=cluster, task_id=f"pod{number}")
dags.append(contained)
print(json.dumps([DagSerialization.to_dict(dag) for dag in dags], default=str))
