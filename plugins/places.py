"""Places where a step can run: values, not subclasses. `build` turns argv and place into Airflow's own operator.

A profile's section `where` names places and says which step runs in which; a step that it does not name runs here:

    where:
      places:
        cards: {kind: docker, image: "registry.example/lexloop-{env}:2026.11", gpus: 1, volumes: {/data/lexloop: /data/lexloop}}
      steps: {training.lora: cards}

The places are the seat's: those of the profile LEXLOOP_PROFILE, read when Airflow reads a DAG. The trigger form's profile
changes values, never places, because the operator of a task stands fast before a run begins.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk.exceptions import AirflowFailException
from credentials import is_secret

from legal_tasks import yamls
from legal_tasks.addresses import has_login

KINDS = ("here", "docker", "kubernetes")
SKIPPED = 99  # a step's exit code for "nothing to do"
DOCKER_RESULT = "/tmp/lexloop-result.json"
POD_RESULT = "/airflow/xcom/return.json"  # where the sidecar of Airflow's pod operator looks
STOP_GRACE_S = 60
IMAGE_START_S = 1800  # an image with torch and CUDA is pulled in minutes
SETTINGS = Path(__file__).resolve().parents[1] / "legal_tasks" / "settings"


class PlaceError(ValueError):
    """A place that cannot be used; the message names the key, the value and what is allowed."""


@dataclass(frozen=True)
class Place:
    """Where a step runs. For `docker` and `kubernetes` the image holds our code and `python` on its PATH."""

    kind: str = "here"
    name: str = "here"
    image: str = ""  # with a tag or a digest, never latest; {env} stands for the step's environment
    gpus: int = 0
    cpus: str = ""  # Kubernetes quantity, e.g. "8"; Docker takes it as a share
    memory: str = ""  # Kubernetes quantity, e.g. 64Gi (Docker: 64g)
    shared_memory: str = ""  # /dev/shm of a container, e.g. 8g; torch's workers pass tensors through it
    volumes: Mapping[str, str] = field(default_factory=dict)  # claim or absolute folder of the host -> absolute mount path
    secrets: Mapping[str, str] = field(default_factory=dict)  # variable -> `secret/key` (kubernetes), variable of the worker
    environment: Mapping[str, str] = field(default_factory=dict)  # variable -> value; no secrets
    network: str = ""  # docker: a network's name, or host
    namespace: str = "default"  # kubernetes
    node_selector: Mapping[str, str] = field(default_factory=dict)  # kubernetes
    service_account: str = ""  # kubernetes

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PlaceError(f"where.places.{self.name}.kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if isinstance(self.gpus, bool) or not isinstance(self.gpus, int) or self.gpus < 0:
            raise PlaceError(f"where.places.{self.name}.gpus must be a whole number from 0 on, got {self.gpus!r}")
        for each in ("volumes", "secrets", "environment", "node_selector"):
            mapping = getattr(self, each)
            if not isinstance(mapping, Mapping) or not all(isinstance(part, str) for pair in mapping.items() for part in pair):
                raise PlaceError(f"where.places.{self.name}.{each} must map texts to texts, got {mapping!r}")
        for variable, value in self.environment.items():
            if is_secret(variable) or has_login(value):
                raise PlaceError(
                    f"where.places.{self.name}.environment.{variable} would stand in the DAG for everybody to read: name it in "
                    "`secrets`, or take the login out of the address"
                )
        if self.kind == "here":
            self._check_here()
        else:
            self._check_image()
            self._check_mounts()

    def _check_here(self) -> None:
        given = [each.name for each in fields(self) if each.name not in ("kind", "name") and getattr(self, each.name)]
        if [name for name in given if name != "namespace"]:
            raise PlaceError(f"where.places.{self.name}: kind `here` takes no {given[0]}: it is this machine as it is")

    def _check_image(self) -> None:
        tail = self.image.rsplit("/", 1)[-1]
        pinned = re.search(r"@sha256:[0-9a-f]{64}$", self.image) or re.search(r":(?!latest$)[\w.-]+$", tail)
        if not pinned:
            raise PlaceError(
                f"where.places.{self.name}.image must end in a tag other than latest, or in @sha256:<digest>, got {self.image!r}"
            )

    def _check_mounts(self) -> None:
        for source, target in self.volumes.items():
            if not target.startswith("/"):
                raise PlaceError(f"where.places.{self.name}.volumes.{source} must be an absolute path, got {target!r}")
            if self.kind == "docker" and not source.startswith("/"):
                raise PlaceError(f"where.places.{self.name}.volumes: {source!r} must be an absolute folder of the host")
        for variable, source in self.secrets.items():
            if self.kind == "kubernetes" and not re.fullmatch(r"[^/]+/[^/]+", source):
                raise PlaceError(f"where.places.{self.name}.secrets.{variable} must be secret/key, got {source!r}")


HERE = Place()


@lru_cache
def of_profile(profile: str) -> tuple[dict[str, Place], dict[str, str]]:
    """({name: place}, {step: name of its place}) of a shipped profile or a YAML file; PlaceError names what is wrong."""
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else SETTINGS / f"{profile}.yaml"
    if not path.is_file():
        raise PlaceError(f"LEXLOOP_PROFILE={profile}: there is no {path}")
    try:
        section = (yamls.read_file(path) or {}).get("where") or {}
    except yamls.YamlError as error:
        raise PlaceError(f"LEXLOOP_PROFILE={profile}: {path} is not valid YAML: {error}") from error
    for key in section.keys() - {"places", "steps"}:
        raise PlaceError(f"{path}: where.{key} is unknown; allowed are places and steps")
    known = {each.name for each in fields(Place)} - {"name"}
    places = {"here": HERE}
    for name, values in (section.get("places") or {}).items():
        for key in values.keys() - known:
            raise PlaceError(f"{path}: where.places.{name}.{key} is unknown; allowed are {', '.join(sorted(known))}")
        places[name] = Place(name=name, **values)
    steps = section.get("steps") or {}
    for step, name in steps.items():
        if not (SETTINGS.parent / (step.replace(".", "/") + ".py")).is_file():
            raise PlaceError(f"{path}: where.steps names the step {step!r}, which does not exist")
        if name not in places:
            raise PlaceError(f"{path}: where.steps.{step} is {name!r}; places are {', '.join(places)}")
    return places, steps


def place_of(step: str) -> Place:
    """Where a step runs in this seat."""
    profile = os.environ.get("LEXLOOP_PROFILE")
    if not profile:
        return HERE
    places, steps = of_profile(profile)
    return places[steps.get(step, "here")]


def build(
    place: Place, command: str, environment: Mapping[str, str], env: str, var: str, cwd: str, **kwargs: Any
) -> BashOperator | Any:
    """Airflow's own operator that runs `command` (shell text, Jinja) in `place`.

    `environment` holds no secret; `env` is the name of the work environment; `var` is the folder that every place must see
    under the same path, because artifacts travel as paths; `cwd` is our folder on this machine.
    """
    if place.kind == "here":
        return BashOperator(
            bash_command=f"exec {command}",
            env=dict(environment),
            cwd=cwd,
            output_processor=json.loads,
            skip_on_exit_code=SKIPPED,
            **kwargs,
        )
    _check_shared(place, var)
    values = {**_contained(environment), **place.environment}
    image = place.image.replace("{env}", env)
    argv = ["/bin/sh", "-c", f"exec {command}"]  # arguments of the image's own entry point; exec makes the step the process
    maker = _docker if place.kind == "docker" else _pod
    return maker(place, image, argv, values, **kwargs)


def _check_shared(place: Place, var: str) -> None:
    for folder in (var, os.environ.get("LEXLOOP_STORE", f"{var}/store")):
        if not any(Path(folder).is_relative_to(target) for target in place.volumes.values()):
            raise PlaceError(
                f"where.places.{place.name}.volumes must mount {folder} (LEXLOOP_VAR, LEXLOOP_STORE) under the same path: "
                "artifacts travel as paths"
            )


def _contained(environment: Mapping[str, str]) -> dict[str, str]:
    """What of this machine's environment means something in a container."""
    local = ("PATH", "HOME", "TMPDIR", "PYTHONPATH", "LEXLOOP_ENV_DIR", "CUDA_VISIBLE_DEVICES")
    return {name: value for name, value in environment.items() if name not in local and not name.startswith("SSL_CERT")}


def _docker(place: Place, image: str, argv: list[str], values: dict[str, str], pre_execute: Any = None, **kwargs: Any) -> Any:
    from airflow.providers.docker.operators.docker import DockerOperator
    from docker.types import DeviceRequest, Mount
    from docker.utils import parse_bytes

    values["LEXLOOP_RESULT_COPY"] = DOCKER_RESULT
    operator = DockerOperator(
        image=image,
        command=argv,
        environment=values,
        # Not a template field: Airflow neither stores nor shows it.
        private_environment={name: os.environ.get(source, "") for name, source in place.secrets.items()},
        mounts=[Mount(target=target, source=source, type="bind") for source, target in place.volumes.items()],
        mount_tmp_dir=False,
        device_requests=[DeviceRequest(count=place.gpus, capabilities=[["gpu"]])] if place.gpus else None,
        cpus=float(place.cpus or 1),
        mem_limit=place.memory or None,
        shm_size=parse_bytes(place.shared_memory) if place.shared_memory else None,
        network_mode=place.network or None,
        auto_remove="force",
        skip_on_exit_code=SKIPPED,
        retrieve_output=True,
        retrieve_output_path=DOCKER_RESULT,
        pre_execute=_secret_check(place, pre_execute),
        **kwargs,
    )
    operator.pickling_library = json  # what the operator loads that file with; its default is pickle
    return operator


def _secret_check(place: Place, then: Any) -> Any:
    def check(context: Any) -> None:
        missing = [source for source in place.secrets.values() if not os.environ.get(source)]
        if missing:
            raise AirflowFailException(
                f"where.places.{place.name}.secrets: {', '.join(missing)} is not set in the environment of Airflow's worker"
            )
        if then is not None:
            then(context)

    return check


def _pod(place: Place, image: str, argv: list[str], values: dict[str, str], **kwargs: Any) -> Any:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.providers.cncf.kubernetes.secret import Secret
    from kubernetes.client import models as k8s

    values["LEXLOOP_RESULT_COPY"] = POD_RESULT
    amounts = {"nvidia.com/gpu": str(place.gpus) if place.gpus else "", "cpu": place.cpus, "memory": place.memory}
    amounts = {name: amount for name, amount in amounts.items() if amount}
    volumes, mounts = [], []
    for number, (source, target) in enumerate(place.volumes.items()):
        name = f"volume-{number}"
        mounts.append(k8s.V1VolumeMount(name=name, mount_path=target))
        if source.startswith("/"):
            volumes.append(k8s.V1Volume(name=name, host_path=k8s.V1HostPathVolumeSource(path=source)))
        else:
            claim = k8s.V1PersistentVolumeClaimVolumeSource(claim_name=source)
            volumes.append(k8s.V1Volume(name=name, persistent_volume_claim=claim))
    if place.shared_memory:
        memory = k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit=place.shared_memory)
        volumes.append(k8s.V1Volume(name="shared-memory", empty_dir=memory))
        mounts.append(k8s.V1VolumeMount(name="shared-memory", mount_path="/dev/shm"))
    return KubernetesPodOperator(
        image=image,
        arguments=argv,
        env_vars=values,
        secrets=[Secret("env", name, *source.split("/")) for name, source in place.secrets.items()],
        volumes=volumes,
        volume_mounts=mounts,
        container_resources=k8s.V1ResourceRequirements(requests=amounts, limits=amounts),
        namespace=place.namespace,
        node_selector=dict(place.node_selector),
        service_account_name=place.service_account or None,
        labels={"app.kubernetes.io/name": "lexloop", "app.kubernetes.io/component": "step"},
        startup_timeout_seconds=IMAGE_START_S,
        termination_grace_period=STOP_GRACE_S,
        skip_on_exit_code=SKIPPED,
        do_xcom_push=True,
        **kwargs,
    )
