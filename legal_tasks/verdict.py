"""A run's verdict in a few words, in English and in Chinese: what became of it, and how near a refused model was.

The languages are those of LEXLOOP_LANGUAGE: both (default), zh, en.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from legal_tasks.evaluation import chinese, rules
from legal_tasks.step import StepError

LANGUAGES = {"both": ("zh", "en"), "zh": ("zh",), "en": ("en",)}
NOTE_LIMIT = 1000  # characters that Airflow keeps of a run's note
POINTS = ("improve", "replace", "no collapse", "anti-ratchet", "general ability")  # rules on a difference
COUNTS = ("citations", "contamination")
UNITS = {"percent": "%", "points": "points", "seconds": "s", "CNY": "CNY", "count": ""}
EDGES = {"upper bound": ("upper bound", "单侧 95% 上界")}
EDGE = ("lower bound", "单侧 95% 下界")
WORDS = {
    "released": ("released version {version}", "已上线：版本 {version}"),
    "unchanged": ("unchanged: version {version} goes on serving", "无变化：版本 {version} 继续服务"),
    "refused": ("refused", "未通过"),
    "failed": ("failed", "失败"),
    "skipped": ("skipped", "已跳过"),
}
SERVING = ("version {version} goes on serving", "版本 {version} 继续服务")
NOTHING = ("nothing is served: no model is behind the gateway", "当前没有服务：网关后没有模型")


def languages() -> tuple[str, ...]:
    """Which languages texts for people are written in; StepError for a value that is none of `LANGUAGES`."""
    given = os.environ.get("LEXLOOP_LANGUAGE") or "both"
    if given not in LANGUAGES:
        raise StepError(f"LEXLOOP_LANGUAGE must be one of {', '.join(LANGUAGES)}, got {given!r}")
    return LANGUAGES[given]


def shortfalls(decision: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each rule of a decision.json that lets the model not pass, with what was held against which bound.

    [{rule, name_zh, verdict, unit, n, sentence, parts: [{by, value, bound, missing}]}]; value, bound and missing are in the
    unit (percent and points: hundredths of 1), `missing` is how far the value is on the wrong side, None where it is not.
    `parts` is empty for what was not measured.
    """
    found = []
    for rule in decision.get("rules") or []:
        if rule["verdict"] in rules.LETS_THROUGH:
            continue
        unit = unit_of(rule)
        scale = 100.0 if unit in ("percent", "points") else 1.0
        parts = []
        for by, value, bound, wrong in held(rule):
            part = {"by": by, "value": round(scale * value, 4), "bound": round(scale * bound, 4)}
            parts.append(part | {"missing": round(scale * abs(bound - value), 4) if wrong else None})
        words = {"rule": rule["name"], "name_zh": chinese.name_of(rule), "verdict": rule["verdict"], "unit": unit}
        found.append({**words, "n": rule.get("n"), "sentence": rule["sentence"], "parts": parts})
    return found


def unit_of(rule: Mapping[str, Any]) -> str:
    """percent, points (a difference of two shares), seconds, CNY or count."""
    head, suite = rule["name"].partition(" (")[0], rule["suite"]
    if head in POINTS:
        return "points"
    if head in COUNTS:
        return "count"
    return "seconds" if suite.endswith("_s") else "CNY" if suite.endswith("_cny") else "percent"


def held(rule: Mapping[str, Any]) -> list[tuple[str, float, float, bool]]:
    """[(what, number, its bound, whether it is on the wrong side)] of a rule that was measured."""
    value, bound = rule.get("value"), rule.get("bound")
    if value is None or bound is None:
        return []
    edge, edge_bound = rule.get("edge"), rule.get("edge_bound")
    if edge is None or edge_bound is None:
        return [("value", value, bound, rule["verdict"] == rules.FAIL)]
    # The value stands beside the edge that is judged: it tells whether more items could help.
    by = EDGES.get(rule.get("by", ""), EDGE)[0]
    return [("value", value, bound, value < bound - 1e-9), (by, edge, edge_bound, edge <= edge_bound)]


def number(value: float, unit: str, language: str = "en") -> str:
    """A number with its unit; differences carry their sign."""
    shown = {"points": f"{value:+.1f}", "percent": f"{value:.1f}", "seconds": f"{value:.3f}", "CNY": f"{value:,.0f}"}
    name = "个百分点" if unit == "points" and language == "zh" else UNITS[unit]
    return f"{shown.get(unit, f'{value:g}')} {name}".strip().replace("-", "−")


def say(fallen: Mapping[str, Any], language: str) -> str:
    """One rule: `general ability −2.6 points, bound −3.0; lower bound −5.6 points, bound −5.5`."""
    zh, unit = language == "zh", fallen["unit"]
    name = fallen["name_zh"] if zh else fallen["rule"]
    if not fallen["parts"]:
        why = "；".join(chinese.why(part) for part in fallen["sentence"].split("; ")) if zh else fallen["sentence"]
        return f"{name}：未测量（{why}）" if zh else f"{name} {fallen['verdict']} ({why})"
    parts = []
    for part in fallen["parts"]:
        bound = number(part["bound"], unit, language).removesuffix("个百分点").removesuffix("points").strip()
        what = {"lower bound": EDGE[1], "upper bound": EDGES["upper bound"][1]}.get(part["by"], "") if zh else part["by"]
        what = "" if part["by"] == "value" else f"{what} "
        shown = f"{what}{number(part['value'], unit, language)}"
        parts.append(f"{shown}，界限 {bound}" if zh else f"{shown}, bound {bound}")
    few = fallen["n"] is not None and fallen["verdict"] == rules.UNDECIDED and not any(p["missing"] for p in fallen["parts"])
    if few:
        parts.append(f"仅 {fallen['n']} 题，无法判定" if zh else f"{fallen['n']} items decide nothing")
    return f"{name} {'；'.join(parts)}" if zh else f"{name} {'; '.join(parts)}"


def serving(version: str | None, language: str) -> str:
    """What is behind the gateway after a run that released nothing."""
    place = 1 if language == "zh" else 0
    return NOTHING[place] if version is None else SERVING[place].format(version=version)


def tell(
    decision: str, reasons: Sequence[str], judged: Mapping[str, Any], version: str | None, production: str | None, language: str
) -> str:
    """The verdict in one paragraph of one language.

    `judged` is the decision.json of the run ({} without one), `version` what it released, `production` the version that
    serves afterwards, None where nothing does. An error's words are not translated.
    """
    zh = language == "zh"
    head = WORDS[decision][1 if zh else 0].format(version=(version if decision == "released" else production) or "?")
    against = [reason for reason in reasons if "against the" in reason and "recommendation" in reason]
    if decision == "released":
        return f"{head}{'（' if zh else ' ('}{against[0]}{'）' if zh else ')'}" if against else head
    if decision == "unchanged":
        return head
    fallen = shortfalls(judged) if decision == "refused" else []
    said = [say(each, language) for each in fallen] or [
        str(reason).strip().splitlines()[-1] for reason in reasons if reason.strip()
    ]
    colon, between = ("：", "；") if zh else (": ", "; ")
    text = head + (colon + between.join(said) if said else "")
    return f"{text}{between}{serving(production, language)}" if decision == "refused" else text


def cut(text: str, most: int = NOTE_LIMIT) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
