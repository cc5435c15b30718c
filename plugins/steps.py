"""Where and how a step runs: `step("data.clean", ...)` gives Airflow's own operator with the step's argv.

A task's result is the last line that its step prints, as JSON: {artifact, digest, report, reused, ...}; only that travels.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import candidates
import places
from credentials import hand_over, mlflow_address, of_step, passed
from links import MlflowRunLink, show
from retries import StepRetry
from turns import take_turn

from legal_tasks.settings import form, policy

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OWNER = "legal-llm"
TRAINED = "training.lora.base"


def artifact(ti: Any, task_id: str) -> str:
    """Folder of the artifact that a task of this run made, for the same candidate or for all of them (Jinja macro)."""
    result = ti.xcom_pull(task_ids=task_id, map_indexes=getattr(ti, "map_index", -1))
    if result is None and getattr(ti, "map_index", -1) >= 0:
        result = ti.xcom_pull(task_ids=task_id, map_indexes=-1)
    if not result or "artifact" not in result:
        raise ValueError(f"task {task_id} of this run has no artifact: clear it and let it run again")
    return shlex.quote(result["artifact"])


def chosen(ti: Any, name: str) -> str:
    """A path that the choice among the candidates reports (Jinja macro)."""
    return shlex.quote(ti.xcom_pull(task_ids="choose", map_indexes=-1)["report"][name])


def overrides(params: Any, fields: dict[str, str], ti: Any) -> str:
    """`--set` options for the fields of the trigger form that were filled in (Jinja macro); a candidate has its own base.

    A base among the overrides is the base of every step that needs one.
    """
    given = list(params.get("overrides") or [])
    words = [word for text in given for word in ("--set", text)]
    own = candidates.of(ti) if "base" in fields else None
    values = {name: params.get(name) for name in fields}
    if "base" in fields:
        values["base"] = own["given"] if own else values["base"]
        if not values["base"] and fields["base"] != TRAINED:
            values["base"] = policy.override_of(given, TRAINED)
    for setting, value in form.settings_of(values, fields).items():
        words += ["--set", f"{setting}={json.dumps(value, ensure_ascii=False)}"]
    return " ".join(shlex.quote(word) for word in words)


def recompute(params: Any, task_id: str) -> str:
    """`--recompute` where the form names the task (Jinja macro)."""
    return "--recompute" if task_id in (params.get("recompute") or []) else ""


def first_day(dag_run: Any) -> str:
    """First day of the month, Asia/Shanghai, that a run stands for (Jinja macro): the date whose law counts."""
    return form.first_day(form.month_of(getattr(dag_run, "conf", None), dag_run.run_after)).isoformat()


def triggered_by(dag_run: Any) -> str:
    """User who triggered a run, as far as Airflow knows (Jinja macro); no name can be taken for an option."""
    return (getattr(dag_run, "triggering_user_name", None) or "").lstrip("-")


def deadline(after: timedelta) -> Any:
    """Airflow's alert for a run that has not ended in the time of earlier ones and `after`: noted for `watch`, which tells it.

    Not by DAGRUN_QUEUED_AT: clearing a task of such a run ends in an error 500 in Airflow 3.3.2 (its interval is a mapping
    there, a number is expected). A first run has no average yet; `watch` looks for itself too.
    """
    from airflow.sdk.definitions.deadline import AsyncCallback, DeadlineAlert, DeadlineReference

    average = DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=1)
    return DeadlineAlert(average, after, AsyncCallback("events.note_late"))


def close_tracking(context: Any) -> None:
    """End the run's parent in MLflow when the DAG run ends (callback of success and failure)."""
    from airflow.configuration import conf

    run = context["dag_run"]
    status = "FINISHED" if str(run.state) in ("success", "DagRunState.SUCCESS") else "FAILED"
    argv = [python("orchestrator"), "-m", "legal_tasks.tracking", "close", "--dag-run", run.run_id, "--status", status]
    address = conf.get("api", "base_url", fallback="").rstrip("/")
    values = {**base_environment(), **of_step("tracking"), "LEXLOOP_DAG": run.dag_id, "LEXLOOP_MONTH": first_day(run)[:7]}
    values["LEXLOOP_AIRFLOW_RUN"] = f"{address}/dags/{quote(run.dag_id)}/runs/{quote(run.run_id, safe='')}" if address else ""
    subprocess.run(argv, env=values, cwd=REPOSITORY, check=True, timeout=60)


def python(environment_name: str) -> str:
    """Interpreter of a work environment on this machine."""
    folder = os.environ.get("LEXLOOP_ENV_DIR", os.path.join(REPOSITORY, "var", "env"))
    return os.path.join(folder, environment_name, "bin", "python")


def notes_folder(dag_id: str, run_id: str) -> str:
    """Name of the folder with the notes of a run (Jinja macro)."""
    from legal_tasks import notes

    return notes.folder_name(dag_id, run_id)


MACROS = {
    "notes_folder": notes_folder,
    "artifact": artifact,
    "overrides": overrides,
    "recompute": recompute,
    "first_day": first_day,
    "triggered_by": triggered_by,
    "chosen": chosen,
    "base_name": candidates.base_name,
    "candidates": candidates.candidates,
    "failed_candidates": candidates.failed_candidates,
    "quote": lambda text: shlex.quote(str(text)),
}


def var_folder() -> str:
    return os.environ.get("LEXLOOP_VAR", os.path.join(REPOSITORY, "var"))


def base_environment() -> dict[str, str]:
    """What every process of ours gets, whatever it does; no token of Airflow's, no secret."""
    values = {**passed(), "PYTHONPATH": REPOSITORY, "PYTHONUNBUFFERED": "1", "LEXLOOP_VAR": var_folder()}
    return values | ({"MLFLOW_TRACKING_URI": mlflow_address()} if mlflow_address() else {})


def environment(task_id: str) -> dict[str, str]:
    """What the child process of a task gets; `credentials.hand_over` adds the step's secrets when the task begins.

    Its DAG has MACROS among its own.
    """
    run = "{{ notes_folder(dag.dag_id, dag_run.run_id) }}{{ '/%d' % ti.map_index if ti.map_index >= 0 else '' }}"
    var = var_folder()
    return {
        **base_environment(),
        "LEXLOOP_DAG": "{{ dag.dag_id }}",
        "LEXLOOP_DAG_RUN": "{{ dag_run.run_id }}",
        "LEXLOOP_PROGRESS": f"{var}/runs/{run}/{task_id}.progress.json",
        "LEXLOOP_RESULT": f"{var}/runs/{run}/{task_id}.json",
    }


def step(
    name: str,
    *,
    inputs: dict[str, str] | None = None,
    arguments: dict[str, str] | None = None,
    fields: dict[str, str] | None = None,
    env: str = "ml",
    timeout_minutes: int = 60,
    retries: int = 1,
    where: places.Place | None = None,
    **kwargs: Any,
) -> Any:
    """A task that runs `python -m legal_tasks.<name>`, here or in a container (`where`; default: the profile's place for it).

    `inputs` maps an option to the task whose artifact it takes; `arguments` maps an option to a Jinja text, which is
    quoted; `fields` maps fields of the trigger form to settings. The task's id is the step's last word unless given.
    """
    task_id = kwargs.pop("task_id", name.rsplit(".", 1)[-1])
    kwargs.setdefault("pre_execute", take_turn)
    place = where or places.place_of(name)
    if place.kind != "kubernetes":  # a pod has the cluster's secrets
        kwargs["pre_execute"] = hand_over(name, kwargs["pre_execute"])
    kwargs["pre_execute"] = show(name, kwargs["pre_execute"])
    words = [shlex.quote(python(env)) if place.kind == "here" else "python", "-m", f"legal_tasks.{name}"]
    words += ["--profile", "{{ params.profile | quote }}", "{{ overrides(params, " + repr(fields or {}) + ", ti) }}"]
    words.append("{{ recompute(params, " + repr(task_id) + ") }}")
    for option, source in (inputs or {}).items():
        words += [f"--{option}", "{{ artifact(ti, " + repr(source) + ") }}"]
    for option, text in (arguments or {}).items():
        words += [f"--{option}", text]
    operator = places.build(
        place,
        " ".join(words),
        {**environment(task_id), "LEXLOOP_CANDIDATE": "{{ base_name(ti) }}", "LEXLOOP_MONTH": "{{ first_day(dag_run)[:7] }}"},
        env,
        var_folder(),
        REPOSITORY,
        task_id=task_id,
        owner=OWNER,
        retries=retries,
        retry_policy=StepRetry(),
        retry_delay=timedelta(seconds=10),
        execution_timeout=timedelta(minutes=timeout_minutes),
        **kwargs,
    )
    operator.operator_extra_links = (MlflowRunLink(name),)
    return operator
