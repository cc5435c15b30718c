"""Profiles: one YAML per seat (small CPU, a model on GPUs, a cluster).

A profile's top-level keys are step names (`training.lora`) with values for that step's Params, plus the few keys of
`PROFILE_KEYS` that describe the seat itself. Unknown keys are errors.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from legal_tasks import yamls

FOLDER = Path(__file__).parent
PACKAGE = FOLDER.parent
LONGEST = 2000  # characters of an override

PROFILE_KEYS = {
    "title": "one line for people",
    "bounds_note": "why a threshold of this profile differs from the specification's",
    "environments": "virtual environments that `make` builds for this profile",
    "base": "the model that the profile is for: where to get it, licence, template, memory, smaller ones",
    "needs": "disk_gib and memory_gib that must be free before work starts",
    "where": "places (docker, kubernetes) and which step runs in which, see plugins/places.py",
}


class SettingsError(Exception):
    """A profile or an override that cannot be used; the message names the key and what is allowed."""


def profiles() -> list[str]:
    """Names of the shipped profiles."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def is_step(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 2 and (PACKAGE / parts[0] / f"{parts[1]}.py").is_file()


def load(profile: str) -> dict[str, Any]:
    """The profile's values; `profile` is a shipped name or the path of a YAML file."""
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else FOLDER / f"{profile}.yaml"
    if not path.is_file():
        raise SettingsError(f"--profile {profile}: no such profile; shipped are {', '.join(profiles())}, or give a YAML file")
    return _load(profile, path, path.stat().st_mtime_ns)


@lru_cache
def _load(profile: str, path: Path, changed_ns: int) -> dict[str, Any]:
    """Read once as long as the file does not change: services live longer than that."""
    try:
        values = yamls.read_file(path) or {}
    except yamls.YamlError as error:
        raise SettingsError(f"--profile {profile}: {path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"--profile {profile}: {path} must be a mapping of step names, got {type(values).__name__}")
    for key, section in values.items():
        if key in PROFILE_KEYS:
            continue
        if not is_step(str(key)):
            allowed = ", ".join(sorted(PROFILE_KEYS))
            raise SettingsError(f"{path}: unknown key {key!r}; allowed are step names (area.module) and {allowed}")
        if not isinstance(section, dict):
            raise SettingsError(f"{path}: {key} must be a mapping of options, got {section!r}")
    return values


def parse_override(text: str) -> tuple[str, str, Any]:
    """`area.module.field=value` -> (step, field, value); the value is read as YAML, without aliases."""
    shown = repr(text if len(text) <= 100 else text[:100] + "…")
    if len(text) > LONGEST:
        raise SettingsError(f"--set {shown}: at most {LONGEST} characters, got {len(text)}")
    name, equals, raw = text.partition("=")
    parts = name.strip().split(".")
    if not equals or len(parts) != 3:
        raise SettingsError(f"--set {shown}: write area.module.field=value, e.g. --set training.lora.epochs=2")
    step = ".".join(parts[:2])
    if not is_step(step):
        from legal_tasks.settings import policy

        near = policy.nearest(step, policy.SETTINGS)
        raise SettingsError(f"--set {shown}: there is no step {step[:100]!r}{near}")
    try:
        return step, parts[2], yamls.read(raw, aliases=False)
    except yamls.YamlError as error:
        raise SettingsError(f"--set {shown}: the value is not valid YAML: {error}") from error


def section(profile: str | None, step: str, overrides: list[str]) -> dict[str, Any]:
    """Values for one step: the profile's, then the overrides'. Names are checked against Params by the caller.

    Inside a DAG run SettingsError also where the run may not have such a value (settings/policy.py).
    """
    values = dict(load(profile).get(step, {})) if profile else {}
    given = []
    for text in overrides:
        target, name, value = parse_override(text)
        if target == step:
            values[name] = value
            given.append(name)
    if os.environ.get("LEXLOOP_DAG_RUN"):
        from legal_tasks.settings import policy

        policy.check_section(step, profile, values, given)
    return values
