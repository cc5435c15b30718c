"""Who may set what: the installation by its profile, whoever triggers a run by the form and overrides, or the run by itself.

The installation's profile is LEXLOOP_PROFILE of Airflow's services (`small` where it is not set). A run may ask for more than it,
never for less: what loosens a rule is the gate's override, which takes two people. Every setting of every step of a retrain
stands in SETTINGS; one that does not is the installation's. Steps that a person starts from a shell are free.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import math
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from legal_tasks import settings
from legal_tasks.settings import SettingsError

DEFAULT = "small"
FAULTS = "faults"
WAY_OUT = "a refusal can be overridden by two people on the page Legal models"
MOST = 100  # overrides of a run

# Who may set a setting. `measured`: what is asked and how it is judged; another profile may not differ in it either.
FREE, BASE, MEASURED, INSTALLATION, RUN = "free", "base", "measured", "installation", "run"
# Who triggers may only make these tighter, which is: a higher or lower number, a higher one or none at all (everything),
# more or fewer names, a word further down in ORDER.
HIGHER, LOWER, ALL, MORE, FEWER, STRICTER = "higher", "lower", "all", "more", "fewer", "stricter"
TIGHTER = (HIGHER, LOWER, ALL, MORE, FEWER, STRICTER)
ORDER = {"mode": ("replace", "auto", "improve"), "domain_by": ("point", "bound")}
MEANING = {
    FREE: "whoever triggers the run",
    BASE: "follows training.lora.base",
    MEASURED: "the installation's profile; the same in every profile of a run",
    INSTALLATION: "the installation's profile",
    RUN: "the run itself",
    HIGHER: "whoever triggers, only higher",
    LOWER: "whoever triggers, only lower",
    ALL: "whoever triggers, only higher or empty (all)",
    MORE: "whoever triggers, only more",
    FEWER: "whoever triggers, only fewer",
    STRICTER: "whoever triggers, only stricter",
}
# step -> {who: settings}. Inputs and outputs are the run's and need no line.
SETTINGS: dict[str, dict[str, str]] = {
    "data.collect": {RUN: "as_of", FREE: "sources", MEASURED: "seed", FEWER: "licences"},  # the embedded world's seed: its exam
    "data.clean": {
        RUN: "as_of",
        INSTALLATION: "salt rewrite_url rewrite_model rewrite_categories rewrite_parallel rewrite_timeout_s",
        LOWER: "leak leak_shortest",
        FREE: "near_duplicate near_duplicate_instruction near_slipped near_shortest quotation shortest_answer longest "
        "statute_records remember",
    },
    "data.check": {
        INSTALLATION: "previous",
        LOWER: "most_personal_data",
        # A person who has looked at the sources lets a month through that differs from the last one.
        FREE: "least_records most_set_aside least_categories drift_mix drift_size drift_set_aside drift_phrase",
    },
    "data.split": {FREE: "validation seed near"},
    "training.lora": {
        INSTALLATION: "remote_code environment checkpoints",
        FREE: "base r alpha dropout targets learning_rate batch accumulation epochs max_updates max_tokens warmup schedule "
        "max_length copies packing quantise evaluate_updates early_stopping backend template seed device threads save_updates "
        "spike gradient_checkpointing processes zero",
    },
    "training.merge": {
        BASE: "base",
        INSTALLATION: "remote_code environment",
        HIGHER: "prompts",
        LOWER: "tolerance",
        FREE: "dtype threads",
    },
    "evaluation.harness": {
        BASE: "base",
        MEASURED: "champion standing world_seed rank_texts skip generate shots new_tokens",
        INSTALLATION: "endpoint endpoint_model",
        HIGHER: "free_answers",
        ALL: "limit",
        FREE: "device threads",
    },
    "compression.compress": {
        MEASURED: "suites rank_texts",
        ALL: "limit",
        HIGHER: "perplexity_records",
        FREE: "gguf bits group_size damping samples max_length seed device threads",
    },
    "evaluation.compare": {MEASURED: "seed category_items", INSTALLATION: "judge judge_model judge_items"},
    "serving.prove": {
        MEASURED: "max_tokens p95_s max_num_seqs card seed suites rank_texts",
        MORE: "formats",
        HIGHER: "prompts requests rate sampled",
        FREE: "device",
    },
    "evaluation.gate": {
        RUN: "as_of triggered_by",
        FREE: "older_law",  # the form's field of this name says so
        INSTALLATION: "profile_name domain_bound_reason",
        MEASURED: "domain_suite card reason",
        STRICTER: "mode domain_by",
        HIGHER: "domain_bound ratchet_months refusal_bound formed_bound min_items min_prompts min_citing parity_bound "
        "success_bound",
        LOWER: "replace_margin ratchet_margin general_drop general_lower over_refusal_bound loss_gptq loss_gguf p95_s "
        "cost_bound_cny",
    },
    "evaluation.choose": {RUN: "candidates failed"},
    "serving.release": {INSTALLATION: "timeout_s mlflow_timeout_s"},
}
# Of the services: no task reads them, and no run can name them.
SERVICES: dict[str, dict[str, str]] = {"serving.limits": {INSTALLATION: "request_tokens total_answers key_share"}}
# A secret of the worker's environment goes to the host that the installation's profile names here, and to no other.
SECRETS = {
    "LEXLOOP_REWRITE_KEY": ("data.clean", "rewrite_url"),
    "LEXLOOP_JUDGE_API_KEY": ("evaluation.compare", "judge"),
    "LEXLOOP_ENDPOINT_API_KEY": ("evaluation.harness", "endpoint"),
}


@dataclass(frozen=True)
class Setting:
    """One setting of a step of a retrain. `who`: one of the words above, None where SETTINGS has no line for it."""

    step: str
    name: str
    who: str | None
    spec: Any  # legal_tasks.step.ParamSpec

    def __str__(self) -> str:
        return f"{self.step}.{self.name}"


def installation() -> str:
    """Name (or file) of the profile that this installation was started with."""
    return os.environ.get("LEXLOOP_PROFILE") or DEFAULT


def in_run() -> bool:
    """Whether this process works for a DAG run, and not for a person at a shell."""
    return bool(os.environ.get("LEXLOOP_DAG_RUN"))


@lru_cache
def of_step(step: str) -> dict[str, Setting]:
    """{name: setting} of a step of the retrains; SettingsError where they have no such step."""
    from legal_tasks.step import Input, Output, describe_params

    if step not in SETTINGS:
        near = nearest(step, SETTINGS)
        raise SettingsError(f"no task of a retrain runs the step {step!r}{near}; steps are {', '.join(sorted(SETTINGS))}")
    known = {name: who for who, names in SETTINGS[step].items() for name in names.split()}
    specs = describe_params(importlib.import_module(f"legal_tasks.{step}").Params)
    return {
        spec.name: Setting(step, spec.name, RUN if isinstance(spec.option, Input | Output) else known.get(spec.name), spec)
        for spec in specs
    }


def find(step: str, name: str) -> Setting:
    """SettingsError with the nearest names where a step has no such setting."""
    known = of_step(step)
    if name not in known:
        open_ones = sorted(each.name for each in known.values() if each.who not in (RUN, None))
        near = nearest(name, known)
        raise SettingsError(f"{step}.{name} is not a setting of this step{near}; allowed are: {', '.join(open_ones)}")
    return known[name]


def nearest(name: str, known: Any) -> str:
    found = difflib.get_close_matches(name, list(known), 3, 0.5)
    return f" (nearest: {', '.join(found)})" if found else ""


def value_of(profile: str, setting: Setting) -> Any:
    """What a profile says of a setting, else its default; None for what only a run knows."""
    from legal_tasks.step import convert

    part = settings.load(profile).get(setting.step, {})
    if setting.name in part:
        return convert(setting.spec, part[setting.name])
    return None if setting.spec.default is dataclasses.MISSING else setting.spec.default


def looser(setting: Setting, value: Any, bound: Any) -> bool:
    """Whether `value` asks for less than `bound` does."""
    if setting.who == STRICTER:
        order = ORDER[setting.name]
        return value not in order or order.index(value) < order.index(bound)
    if setting.who == MORE:
        return not set(bound) <= set(value)
    if setting.who == FEWER:
        return not set(value) <= set(bound)
    if setting.who == ALL and (value is None or bound is None):
        return value is not None
    if value is None or not math.isfinite(value):
        return True
    return value > bound if setting.who == LOWER else value < bound


def check(setting: Setting, value: Any, *, by_profile: str | None = None, show: Callable[[Any], str] | None = None) -> None:
    """SettingsError where a run may not have this value. `by_profile`: a shipped profile says so, nobody typed it.

    `show`: how a value is written where it was typed.
    """
    who = setting.who or INSTALLATION
    if who in (FREE, BASE) or (by_profile and who == INSTALLATION):
        return
    if who == RUN:
        raise SettingsError(f"{setting} is what the run hands over to its steps: it cannot be set")
    profile, show = installation(), show or _shown
    bound = value_of(profile, setting)
    said = f"profile {by_profile} would set {setting} to {show(value)}" if by_profile else f"{setting}={show(value)}"
    if who in TIGHTER:
        if looser(setting, value, bound):
            way = MEANING[who].partition(", only ")[2]
            raise SettingsError(
                f"{said}: a run may only make it {way} than the installation does, whose value is {show(bound)} (profile "
                f"{profile}). What is looser belongs into the installation's profile; {WAY_OUT}"
            )
    elif value != bound and who == MEASURED:
        raise SettingsError(
            f"{said}: what is measured, and how, is set by the installation's profile only ({profile}: {show(bound)}); leave it "
            f"out; {WAY_OUT}"
        )
    elif value != bound:  # what it is there is nobody's business: an address, a salt
        raise SettingsError(f"{said}: only the installation may set it, in its profile ({profile}); leave it out")


def _shown(value: Any) -> str:
    text = "none" if value in (None, "", (), {}) else str(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else text[:80] + "…"


def check_profile(profile: str) -> None:
    """SettingsError where a run may not take its values from this profile: unknown, a file of its own, or looser."""
    own = installation()
    if profile == FAULTS and os.environ.get("LEXLOOP_FAULTS") != "1":
        raise SettingsError("profile faults lets a model of no worth through: it is for make faults, which sets LEXLOOP_FAULTS=1")
    if profile == own:
        return
    if profile not in settings.profiles():
        raise SettingsError(
            f"profile {_shown(profile)}: there is no such profile{nearest(profile, settings.profiles())}; this installation "
            f"offers {', '.join(offered())}. A file can only be the installation's own (LEXLOOP_PROFILE)"
        )
    for step in SETTINGS:
        for setting in of_step(step).values():
            if setting.who == RUN:
                continue
            try:
                check(setting, value_of(profile, setting), by_profile=profile)
            except SettingsError as error:
                raise SettingsError(
                    f"{error}. To work with {profile}, start the services with LEXLOOP_PROFILE={profile}: "
                    f"make stop, then make up PROFILE={profile}"
                ) from error


def offered() -> list[str]:
    """The profiles that a run of this installation may name, its own first."""
    found = [installation()]
    for profile in settings.profiles():
        if profile in found:
            continue
        try:
            check_profile(profile)
        except SettingsError:
            continue
        found.append(profile)
    return found


def check_overrides(overrides: Sequence[str], profile: str | None = None) -> list[str]:
    """What is wrong with a run's overrides, a sentence each: unknown names, values that do not fit, what may not be set."""
    profile = profile or installation()
    if len(overrides) > MOST:
        return [f"{len(overrides)} overrides: at most {MOST}; put them into a profile"]
    wrong: list[str] = []
    values: dict[str, dict[str, Any]] = {}
    for text in overrides:
        try:
            step, name, value = settings.parse_override(text)
            setting, value = read(step, name, value)
            check(setting, value)
        except SettingsError as error:
            wrong.append(str(error))
        else:
            values.setdefault(step, {})[name] = value
    for step, given in values.items():
        wrong += _misfits(step, given, profile)
    return wrong or _other_bases(values, profile)


def override_of(overrides: Sequence[str], setting: str) -> Any:
    """What the last override of a setting says, as YAML reads it; None without one."""
    found = None
    for text in overrides:
        step, name, value = settings.parse_override(text)
        found = value if f"{step}.{name}" == setting else found
    return found


def read(step: str, name: str, value: Any) -> tuple[Setting, Any]:
    """(the setting, its value as the step's Params have it); SettingsError where it does not fit."""
    from legal_tasks.step import StepError, convert

    setting = find(step, name)
    try:
        return setting, convert(setting.spec, value)
    except (StepError, OverflowError) as error:
        raise SettingsError(f"{setting}: {_first(str(error), 300)}") from error


def _first(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"


def _misfits(step: str, given: Mapping[str, Any], profile: str) -> list[str]:
    """What a step's own checks of its parameters say of these values, before anything has run."""
    from legal_tasks.step import StepError

    values = {name: _stand_in(each) for name, each in of_step(step).items()}
    values |= {name: value_of(profile, each) for name, each in of_step(step).items() if values[name] is None}
    module = importlib.import_module(f"legal_tasks.{step}")
    try:
        module.Params(**{**values, **given})
    except StepError as error:
        return [f"{step}: {error}"]
    return []


def _stand_in(setting: Setting) -> Any:
    """A value for what only a run knows."""
    import datetime

    if setting.spec.default is not dataclasses.MISSING:
        return None
    kind = setting.spec.kind
    if kind is datetime.date:
        return datetime.date(2000, 1, 1)
    return {} if typing.get_origin(kind) is dict else Path("of-the-run")


def _other_bases(values: Mapping[str, Mapping[str, Any]], profile: str) -> list[str]:
    """Merging and the comparison take the base that is trained on: against another, the comparison would be worth nothing."""
    own = values.get("training.lora", {}).get("base", value_of(profile, find("training.lora", "base")))
    return [
        f"{step}.base={_shown(given['base'])}: it follows training.lora.base, which is {own}; leave it out"
        for step, given in values.items()
        if "base" in given and of_step(step)["base"].who == BASE and given["base"] != own
    ]


def check_section(step: str, profile: str | None, values: Mapping[str, Any], given: Sequence[str]) -> None:
    """Inside a DAG run: may this step have these values? `given`: names that overrides set, `values` as YAML has them."""
    own = installation()
    if step not in SETTINGS or (profile == own and not given):
        return
    for setting in of_step(step).values():
        if setting.who == RUN and setting.name not in given:
            continue
        value = read(step, setting.name, values[setting.name])[1] if setting.name in values else setting.spec.default
        check(setting, value, by_profile=None if setting.name in given else profile or "none")


def tightened(step: str, params: Any, profile: str | None = None) -> list[dict[str, Any]]:
    """[{setting, value, installation}] of what a step's Params have other than the installation's profile; JSON values."""
    found = []
    for setting in of_step(step).values():
        value, own = getattr(params, setting.name), value_of(profile or installation(), setting)
        if setting.who in (*TIGHTER, MEASURED) and value != own:
            found.append({"setting": str(setting), "value": value, "installation": own})
    return found


def check_params(step: str, params: Any) -> None:
    """SettingsError where the Params that a step was built with ask for less than the installation's profile does."""
    for setting in of_step(step).values():
        if setting.who != RUN:
            check(setting, getattr(params, setting.name), by_profile="of the run" if setting.who == INSTALLATION else None)


def check_host(secret: str, url: str) -> None:
    """SettingsError where a run would send a secret to another host than the one that the installation's profile names for it."""
    if not in_run():
        return
    setting = find(*SECRETS[secret])
    named = str(value_of(installation(), setting) or "")
    if not named or _host(named) != _host(url):
        raise SettingsError(
            f"{secret} is not sent to {_host(url)[1] or url!r}: the installation's profile ({installation()}) names "
            f"{_host(named)[1] or 'no host'} for it ({setting}); unset the key, or name the address there"
        )


def _host(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default


def table() -> str:
    """SETTINGS and SERVICES as the Markdown of docs/settings.md."""
    rows = ["| step | setting | who may set it |", "|---|---|---|"]
    for step, parts in {**SETTINGS, **SERVICES}.items():
        for who, names in parts.items():
            rows.append(f"| `{step}` | {' '.join(f'`{name}`' for name in names.split())} | {MEANING[who]} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")
