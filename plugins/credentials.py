"""Secrets of the steps: which step gets which, where they come from, and what else of the worker's environment it sees.

A secret is an Airflow Connection with a fixed name; without one, the worker's environment variables of the last column.
It is handed over when the task begins, after Airflow has kept the rendered fields, so that it stands in no DAG and on no
page. A step in a pod has the cluster's secrets instead (`secrets` of its place).

| Connection | fields | steps | variables of the step |
|---|---|---|---|
| `lexloop_s3` | login: key id; password: secret; extra `endpoint_url`, `region_name`, `aws_session_token` | collect | `AWS_*` |
| `lexloop_hub` | password: token of the hub | train, merge, evaluate | `HF_TOKEN` |
| `lexloop_mlflow` | login and password, or a password alone: a token | all | `MLFLOW_TRACKING_USERNAME`, `_PASSWORD`, `_TOKEN` |
| `lexloop_rewrite` | password: key of the endpoint that rewrites | clean | `LEXLOOP_REWRITE_KEY` |
| `lexloop_judge` | password: key of the endpoint that judges | compare | `LEXLOOP_JUDGE_API_KEY` |
| `lexloop_endpoint` | password: key of the endpoint that is evaluated | evaluate | `LEXLOOP_ENDPOINT_API_KEY` |

Everything else is denied by default: a variable that is not in `PASSED` reaches no step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from legal_tasks.addresses import has_login, take_login

# Variables of the worker that hold no secret and that steps may see; they stand in the DAG.
PASSED = (
    *("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SPT_NOENV", "CUDA_VISIBLE_DEVICES"),
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NO_PROXY", "no_proxy"),
    *("HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE"),
    *("MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"),
    *("LEXLOOP_VAR", "LEXLOOP_STORE", "LEXLOOP_ENV_DIR", "LEXLOOP_PROFILE", "LEXLOOP_SOURCES", "LEXLOOP_LANGUAGE"),
    *("LEXLOOP_AIRFLOW_PORT", "LEXLOOP_MLFLOW_PORT", "LEXLOOP_GATEWAY_PORT", "LEXLOOP_ENGINE_PORT"),
    *("LEXLOOP_MLFLOW_URL", "LEXLOOP_ENGINE_TIMEOUT_S", "LEXLOOP_FAULTS"),
    *("LEXLOOP_SERVICES", "LEXLOOP_SERVICE"),  # the marks by which `make stop` finds a step
)
# What `steps` and `places` set for a task themselves, and what a step sets for its own children.
SET = (
    *("LEXLOOP_DAG", "LEXLOOP_DAG_RUN", "LEXLOOP_CANDIDATE", "LEXLOOP_PROGRESS", "LEXLOOP_RESULT", "LEXLOOP_RESULT_COPY"),
    *("LEXLOOP_MONTH", "LEXLOOP_AIRFLOW_RUN"),
    *("LEXLOOP_CHILD", "LEXLOOP_DISTRIBUTED", "LEXLOOP_STEP"),
)
# For the services alone: no step gets them.
WITHHELD = (
    *("LEXLOOP_DB", "LEXLOOP_USERS", "LEXLOOP_EXECUTOR", "LEXLOOP_POSTGRES_PORT"),
    *("LEXLOOP_CORS_ORIGINS", "LEXLOOP_GATEWAY_UNCHECKED", "LEXLOOP_ENGINE_STALL_S", "LEXLOOP_ENGINE_KEY"),
    "LEXLOOP_FAULT_BUSY_S",
)
SECRET_WORD = re.compile(r"(^|_)(KEY|SECRET|TOKEN|PASSWORD)(?!_FILE)(_|$)")


@dataclass(frozen=True)
class Secret:
    """`connection` is Airflow's name; `variables` are what the worker's environment may hold in its place (AWS_* by prefix)."""

    connection: str
    variables: tuple[str, ...]
    read: Callable[[Any], dict[str, str]]  # Connection -> variables of the step

    def of_worker(self) -> dict[str, str]:
        def ours(name: str) -> bool:
            return any(name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in self.variables)

        return {name: value for name, value in os.environ.items() if value and ours(name)}


def _key(variable: str) -> Callable[[Any], dict[str, str]]:
    return lambda connection: {variable: connection.password or ""}


def _s3(connection: Any) -> dict[str, str]:
    extra = connection.extra_dejson
    return {
        "AWS_ACCESS_KEY_ID": connection.login or "",
        "AWS_SECRET_ACCESS_KEY": connection.password or "",
        "AWS_SESSION_TOKEN": str(extra.get("aws_session_token") or ""),
        "AWS_ENDPOINT_URL": str(extra.get("endpoint_url") or ""),
        "AWS_REGION": str(extra.get("region_name") or ""),
    }


def _mlflow(connection: Any) -> dict[str, str]:
    if not connection.login:
        return {"MLFLOW_TRACKING_TOKEN": connection.password or ""}
    return {"MLFLOW_TRACKING_USERNAME": connection.login, "MLFLOW_TRACKING_PASSWORD": connection.password or ""}


MLFLOW = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
SECRETS = {
    "s3": Secret("lexloop_s3", ("AWS_*",), _s3),
    "hub": Secret("lexloop_hub", ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"), _key("HF_TOKEN")),
    "mlflow": Secret("lexloop_mlflow", MLFLOW, _mlflow),
    "rewrite": Secret("lexloop_rewrite", ("LEXLOOP_REWRITE_KEY",), _key("LEXLOOP_REWRITE_KEY")),
    "judge": Secret("lexloop_judge", ("LEXLOOP_JUDGE_API_KEY",), _key("LEXLOOP_JUDGE_API_KEY")),
    "endpoint": Secret("lexloop_endpoint", ("LEXLOOP_ENDPOINT_API_KEY",), _key("LEXLOOP_ENDPOINT_API_KEY")),
    # A command line, and so perhaps a key; it belongs to this machine, and has no Connection.
    "engine": Secret("", ("LEXLOOP_ENGINE_ARGV",), lambda connection: {}),
}
# step -> its secrets; MLflow's belongs to every step
STEPS = {
    "data.collect": ("s3",),
    "data.clean": ("rewrite",),
    "training.lora": ("hub",),
    "training.merge": ("hub",),
    "training.preference": ("hub",),
    "evaluation.harness": ("hub", "endpoint"),
    "evaluation.compare": ("judge",),
    "serving.prove": ("engine",),
}


def passed() -> dict[str, str]:
    """What of the worker's environment may stand in a DAG: `PASSED`, without addresses that carry a login."""
    return {name: os.environ[name] for name in PASSED if name in os.environ and not has_login(os.environ[name])}


def mlflow_address() -> str:
    """MLflow's address as it may be shown; empty where none is named, or where it is a database's with its password."""
    address, login, password = take_login(os.environ.get("MLFLOW_TRACKING_URI", ""))
    return "" if (login or password) and not address.startswith(("http://", "https://")) else address


def of_addresses() -> dict[str, str]:
    """What `passed` and `mlflow_address` left out: addresses as they are, MLflow's login as its client wants it."""
    found = {name: os.environ[name] for name in PASSED if has_login(os.environ.get(name, ""))}
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    if has_login(given):
        if mlflow_address():
            _, login, password = take_login(given)
            found |= {"MLFLOW_TRACKING_USERNAME": login, "MLFLOW_TRACKING_PASSWORD": password}
        else:
            found["MLFLOW_TRACKING_URI"] = given
    return found


def of_step(step: str, find: Callable[[str], Any] | None = None) -> dict[str, str]:
    """{variable: value} of the secrets that a step needs, hidden from Airflow's logs from now on.

    `find` gives a Connection by its name, or None (default: Airflow's own). Inside a task or a callback only.
    """
    if find is None:
        from notify import find_connection as find
    values = of_addresses()
    for name in ("mlflow", *STEPS.get(step, ())):
        secret = SECRETS[name]
        connection = find(secret.connection) if secret.connection else None
        if connection is None:
            given = secret.of_worker()
        else:
            given = secret.read(connection)
            if name == "mlflow":  # it takes the place of what the environment or the address says
                values = {variable: value for variable, value in values.items() if variable not in MLFLOW}
        values |= {variable: value for variable, value in given.items() if value}
    hide(values)
    return values


def hide(values: Mapping[str, str]) -> None:
    """Let Airflow's logs show *** in place of these values, except for logins, places and regions."""
    from airflow.sdk.log import mask_secret

    for name, value in values.items():
        if SECRET_WORD.search(name):
            mask_secret(value)
        elif has_login(value):
            mask_secret(value)
            mask_secret(take_login(value)[2])


def hand_over(step: str, then: Callable[[Any], None] | None = None) -> Callable[[Any], None]:
    """A hook for `pre_execute`: what `then` does, and the step's secrets for its process or container."""

    def begin_task(context: Any) -> None:
        if then is not None:
            then(context)
        task, values = context["task"], of_step(step)
        if hasattr(task, "_private_environment"):  # Docker's; what its place names stays
            task._private_environment = {**values, **task._private_environment}
        else:
            task.env = {**task.env, **values}

    return begin_task


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret, by its name alone."""
    return name in MLFLOW or bool(SECRET_WORD.search(name))
