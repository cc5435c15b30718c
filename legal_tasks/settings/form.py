"""The retrains' trigger form as data: its fields, what an empty one means, and what is wrong with what was filled in.

Airflow's form is built from FIELDS and OTHERS (plugins/retraining.py); `check` is asked where a run is triggered and again before
its first task works, so that every way in ends in the same words.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from legal_tasks import settings
from legal_tasks.settings import SettingsError, policy
from legal_tasks.settings.typed import NO_BOUND, Kind, TypedError

ZONE = ZoneInfo("Asia/Shanghai")
LONGEST = 2000  # characters of any text of the form
MOST = 100  # entries of any list
EARLIEST = "2000-01"
TASKS = (
    *("collect", "clean", "check", "split", "train", "merge"),
    *("evaluate", "compress", "compare", "prove", "gate", "release"),
)


@dataclass(frozen=True)
class Field:
    """A number of the form. `setting`: where it goes; `examples`: what the form proposes."""

    title: str
    text: str
    section: str
    setting: str
    kind: Kind
    examples: tuple[str, ...]

    def bound(self) -> policy.Setting:
        step, _, name = self.setting.rpartition(".")
        return policy.find(step, name)

    def hint(self) -> str:
        """What an empty field means, of every profile that a user meets: `small: 3e-3; qwen3_8b: 2e-4`."""
        found: dict[str, list[str]] = {}
        for profile in profiles():
            value = policy.value_of(profile, self.bound())
            found.setdefault(self.kind.show(value), []).append(profile)
        return "; ".join(f"{', '.join(names)}: {value}" for value, names in found.items())

    def words(self) -> str:
        """The field's description, in Markdown."""
        text = f"{self.text} Empty = {self.hint()}."
        if self.bound().who in policy.TIGHTER:
            own = self.kind.show(policy.value_of(policy.installation(), self.bound()))
            way = "higher" if self.bound().who == policy.HIGHER else "lower"
            text += f" Only a **{way}** value than this installation's ({own}) is taken: what is looser takes two people."
        return text


def names(dag_id: str) -> tuple[str, ...]:
    """The fields of a retrain's form."""
    return (*FIELDS, *OTHERS, *((BASES,) if dag_id == QUARTERLY else ()))


def profiles() -> list[str]:
    """The profiles that people are told of: the installation's first, those of fault injections only where it makes them."""
    own = policy.installation()
    return [own, *(name for name in settings.profiles() if name not in (own, policy.FAULTS))]


FIELDS = {
    "lora_r": Field(
        "LoRA rank", "Rank r of the update matrices.", "LoRA", "training.lora.r", Kind("whole", 1, 512), ("8", "16", "32")
    ),
    "lora_alpha": Field(
        *("LoRA alpha", "Scale of the update: alpha / r.", "LoRA", "training.lora.alpha"), Kind("whole", 1, 1024), ("16", "32")
    ),
    "lora_dropout": Field(
        *("LoRA dropout", "Share of inputs dropped in training.", "LoRA", "training.lora.dropout"),
        Kind("number", 0, 0.9),
        ("0", "0.05", "0.1"),
    ),
    "learning_rate": Field(
        *("Learning rate", "Peak learning rate, as `2e-4` or `0.0002`.", "Training", "training.lora.learning_rate"),
        Kind("number", 0, 0.1, above=True),
        ("1e-4", "2e-4", "3e-3"),
    ),
    "epochs": Field(
        *("Epochs", "Passes over the training set.", "Training", "training.lora.epochs"),
        Kind("number", 0, 100, above=True),
        ("1", "3", "10"),
    ),
    "batch_size": Field(
        *("Batch", "Records per step and device.", "Training", "training.lora.batch"), Kind("whole", 1, 1024), ("4", "16")
    ),
    "seed": Field("Seed", "Seed of training.", "Training", "training.lora.seed", Kind("whole", 0, 2**32 - 1), ("0", "1", "2")),
    "domain_bound": Field(
        "Legal accuracy",
        "Share of the legal exam that must be right, as `80 %` or `80`.",
        *("Thresholds", "evaluation.gate.domain_bound"),
        Kind("percent", 0, 1),
        ("75 %", "80 %"),
    ),
    "general_drop": Field(
        "General ability",
        "Largest loss of general ability against the base, as `2 points` (`2 个百分点`) or `2`.",
        *("Thresholds", "evaluation.gate.general_drop"),
        Kind("points", 0, 1),
        ("2 points", "3 points"),
    ),
    "p95_s": Field(
        "P95",
        "Largest P95 of the time to the first token, as `0.9 s` or `900 ms`.",
        *("Thresholds", "evaluation.gate.p95_s"),
        Kind("seconds", 0, NO_BOUND, above=True),  # the installation's value is the bound
        ("0.5 s", "1 s"),
    ),
}
OTHERS = ("profile", "sources", "base", "month", "older_law", "recompute", "overrides", "uses_period")
BASES = "bases"
MONTHLY, QUARTERLY = "monthly_retrain", "quarterly_retrain"
BOOLEANS = ("older_law", "uses_period")


def check(conf: Any, dag_id: str = MONTHLY, today: datetime.date | None = None) -> list[str]:
    """What is wrong with a run's conf, a sentence each that begins with the field; nothing where it may run."""
    if not isinstance(conf, Mapping):
        return [f"conf: must be an object of the form's fields, got {type(conf).__name__}"]
    wrong = [*unknown(conf, list(names(dag_id))), *_unreadable(conf)]
    if wrong:  # nothing below looks at a field that cannot be shown
        return wrong
    for name, value in conf.items():
        if value in (None, "", []):
            continue
        try:
            _check_field(name, value, conf, today)
        except (SettingsError, TypedError) as error:
            wrong.append(f"{name}: {error}")
    profile = conf.get("profile")
    known = profile if isinstance(profile, str) and profile in policy.offered() else policy.installation()
    overrides = [*(conf.get("overrides") or []), *_base_of(conf)] if _is_texts(conf.get("overrides") or []) else []
    return wrong + [f"overrides: {problem}" for problem in policy.check_overrides(overrides, known)]


def _base_of(conf: Mapping[str, Any]) -> list[str]:
    """The form's base as the override that it is, so that the others can be held against it."""
    import json

    base = conf.get("base")
    return [f"training.lora.base={json.dumps(base, ensure_ascii=False)}"] if isinstance(base, str) and base else []


def unknown(conf: Mapping[str, Any], names: list[str]) -> list[str]:
    """A sentence for each field that a form does not have, with the nearest ones."""
    found = []
    for key in list(conf)[:MOST]:
        if key not in names:
            near = difflib.get_close_matches(str(key)[:60].lower(), names, 3, 0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            found.append(f"{_shown(key)}: there is no such field{hint} Allowed are {', '.join(sorted(names))}")
    return found


def _unreadable(conf: Mapping[str, Any]) -> list[str]:
    """Fields with texts or lists that are too long, or with characters that no command line and no database takes."""
    found = []
    for name, value in conf.items():
        parts = value if isinstance(value, list) else [value]
        if len(parts) > MOST:
            found.append(f"{_shown(name)}: at most {MOST} entries, got {len(parts)}")
        elif any(isinstance(part, str) and len(part) > LONGEST for part in parts):
            found.append(f"{_shown(name)}: at most {LONGEST} characters")
        elif any(isinstance(part, str) and re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", part) for part in parts):
            found.append(f"{_shown(name)}: it holds a character that cannot be printed (a line break, a tab, half a character)")
    return found


def _shown(value: Any) -> str:
    text = str(value).encode("ascii", "backslashreplace").decode() if re.search(r"[\ud800-\udfff]", str(value)) else str(value)
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _check_field(name: str, value: Any, conf: Mapping[str, Any], today: datetime.date | None) -> None:
    if name in FIELDS:
        field = FIELDS[name]
        policy.check(field.bound(), field.kind.parse(value), show=field.kind.show)
    elif name in BOOLEANS:
        if not isinstance(value, bool):
            raise SettingsError(f"must be true or false, got {_shown(value)}")
    elif name in ("recompute", "overrides", BASES):
        if not _is_texts(value):
            raise SettingsError(f"must be a list of texts, got {_shown(value)}")
        for task in value if name == "recompute" else ():
            if task not in TASKS:
                near = difflib.get_close_matches(task, TASKS, 3, 0.5)
                raise SettingsError(f"there is no task {_shown(task)}{_or(near)}; tasks are {', '.join(TASKS)}")
    elif not isinstance(value, str):
        raise SettingsError(f"must be a text, got {_shown(value)}")
    elif name == "profile":
        policy.check_profile(value)
    elif name == "month":
        parse_month(value, today)


def _or(near: list[str]) -> str:
    return f" (nearest: {', '.join(near)})" if near else ""


def parse_month(text: str, today: datetime.date | None = None) -> str:
    """YYYY-MM of a month that has begun, Asia/Shanghai; SettingsError else. `today`: default now."""
    today = today or datetime.datetime.now(ZONE).date()
    text = text.strip()
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text):
        raise SettingsError(f"must be a month as YYYY-MM, such as {today:%Y-%m}, got {_shown(text)}")
    if text > f"{today:%Y-%m}":
        raise SettingsError(f"{text} lies in the future: its law is not known yet; the newest month is {today:%Y-%m}")
    if text < EARLIEST:
        raise SettingsError(f"must be {EARLIEST} or later, got {text}")
    return text


def month_of(conf: Mapping[str, Any] | None, moment: datetime.datetime) -> str:
    """YYYY-MM that a run stands for: its field `month`, else the month of `moment` (with a zone) in Asia/Shanghai."""
    given = (conf or {}).get("month")
    return parse_month(given) if given else f"{moment.astimezone(ZONE):%Y-%m}"


def first_day(month: str) -> datetime.date:
    return datetime.date.fromisoformat(f"{month}-01")


def settings_of(params: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """{setting: value} of the fields that were filled in; `fields`: {field: setting}. SettingsError names a field."""
    found = {}
    for name, setting in fields.items():
        value = params.get(name)
        if value is False or value in (None, "", []):
            continue
        try:
            found[setting] = FIELDS[name].kind.parse(value) if name in FIELDS else value
        except TypedError as error:
            raise SettingsError(f"{name}: {error}") from error
    return found
