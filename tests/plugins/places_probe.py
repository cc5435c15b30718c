"""Build steps in the places asked for, render their templates as Airflow does, and print what the operators hold."""

import json
import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pendulum
import places
import retries
import steps
from airflow.sdk import DAG

question = json.loads(sys.argv[1])
answers = []


class Results:
    """Stands for the task instance: what earlier tasks have returned."""

    map_index, dag_id = -1, "d"

    def xcom_push(self, key, value):
        self.pushed = {key: value}

    def xcom_pull(self, task_ids, map_indexes):
        assert map_indexes == -1
        return {"artifact": f"/data/var/store/{task_ids} x"}


def context(task, dag):
    run = SimpleNamespace(run_id="scheduled__2026-11-01T03:00:00+08:00", run_after=pendulum.datetime(2026, 11, 1))
    params = {"profile": "small", "overrides": ["training.lora.seed=3"], "epochs": 2, "recompute": ["train"]}
    return {"dag": dag, "task": task, "dag_run": run, "ti": Results(), "params": params}


def describe(task):
    found = {
        "type": type(task).__name__,
        "module": type(task).__module__,
        "links": [link.name for link in task.operator_extra_links],
    }
    if found["type"] == "BashOperator":
        return found | {"command": task.bash_command, "env": task.env, "cwd": task.cwd, "skip": list(task.skip_on_exit_code)}
    if found["type"] == "DockerOperator":
        found |= {"image": task.image, "command": task.command, "env": task.environment, "cpus": task.cpus}
        found |= {"secrets": task._private_environment, "mounts": task.mounts, "gpus": task.device_requests}
        found |= {"memory": task.mem_limit, "shm": task.shm_size, "network": task.network_mode}
        return found | {"skip": list(task.skip_on_exit_code), "result": task.retrieve_output_path, "entrypoint": task.entrypoint}
    pod = task.build_pod_request_obj(dry_run=True)
    from kubernetes.client import ApiClient

    return found | {"pod": ApiClient().sanitize_for_serialization(pod), "skip": list(task.skip_on_exit_code)}


for wanted in question["steps"]:
    try:
        with DAG("d", schedule=None, user_defined_macros=steps.MACROS, user_defined_filters={"quote": shlex.quote}) as dag:
            place = places.Place(name="there", **wanted["place"]) if wanted.get("place") else None
            task = steps.step(
                wanted["name"],
                task_id="train",
                inputs={"data": "split"},
                arguments={"as-of": "{{ first_day(dag_run) }}"},
                fields={"epochs": "training.lora.epochs"},
                where=place,
                pre_execute=lambda values: values.update(turn="taken"),
            )
    except places.PlaceError as error:
        answers.append({"error": str(error)})
        continue
    values = context(task, dag)
    task.render_template_fields(values)
    found = describe(task)
    if wanted.get("argv"):
        # What the shell makes of the text, word for word.
        text = found.get("command") or found["pod"]["spec"]["containers"][0]["args"]
        text = text[-1] if isinstance(text, list) else text
        words = shlex.split(text)
        shown = subprocess.run(["/bin/sh", "-c", "printf '%s\\n' " + shlex.join(words[2:])], capture_output=True, text=True)
        found["argv"] = shown.stdout.splitlines()
    if wanted.get("check"):
        try:
            task._pre_execute_hook(values)
            found["pushed"] = values["ti"].pushed
            found["check"] = f"passed, turn {values['turn']}"
            found["handed"] = getattr(task, "env", None) or getattr(task, "_private_environment", None)
        except Exception as error:
            found["check"] = f"{type(error).__name__}: {error}"
    answers.append(found)

policy = retries.StepRetry()
for text in question.get("failures", []):
    answers.append({"decision": policy.evaluate(Exception(text), 1, 3).action.value})
for profile in question.get("profiles", []):
    try:
        held, steps_of = places.of_profile(profile)
        answers.append({"places": sorted(held), "steps": steps_of})
    except places.PlaceError as error:
        answers.append({"error": str(error)})
print(json.dumps(answers, default=str))
sys.stdout.flush()
os._exit(0)
