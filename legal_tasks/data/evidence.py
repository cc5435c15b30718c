"""What shows that a record breaks a rule: the phrase, the article and what it says, the law and since when."""

from __future__ import annotations

import re
from collections.abc import Iterable

from legal_tasks.data import rules
from legal_tasks.data.statutes import Verdict
from legal_tasks.records import Record

PHRASE = 40  # characters shown of a place in a text


def of_verdicts(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """{rule: the first citation that breaks it, with what is known of its law}."""
    found: dict[str, str] = {}
    for verdict in verdicts:
        if verdict.state in rules.ACCUSED:
            found.setdefault(rules.ACCUSED[verdict.state], verdict.line())
    return found


def of_text(rule: str, record: Record) -> str:
    """The place in a record that breaks a rule on its text alone; "" for a rule without one."""
    answers = rules.answers_of(record)
    everything = "\n".join([*(part for turn in record.history for part in turn), record.instruction, record.input, record.output])
    patterns = {"placeholder": (rules.PLACEHOLDER, answers), "self_mention": (rules.SELF, answers)}
    patterns |= {"garbled": (rules.GARBLED, everything), "evasive": (rules.EVASIVE, record.output)}
    if rule in patterns:
        pattern, text = patterns[rule]
        found = pattern.search(text)
        return f"“{_around(text, found)}”" if found else "most of it is neither Chinese nor ASCII" if rule == "garbled" else ""
    if rule == "truncated":
        return f"it ends: …{record.output.rstrip()[-PHRASE:]}"
    if rule == "repeated":
        parts = [part.strip() for part in re.split(r"[。！？\n]", record.output) if len(part.strip()) >= 6]
        most = max(parts, key=parts.count, default="")
        return (
            f"“{most[:PHRASE]}” stands {parts.count(most)} times"
            if parts.count(most) > 1
            else "few different pieces of 6 characters"
        )
    if rule in ("too_short", "too_long"):
        return f"{len(record.output.strip()) if rule == 'too_short' else len(everything):,} characters"
    if rule == "off_domain":
        return f"no word of the law in “{record.instruction[:PHRASE]}”"
    return ""


def _around(text: str, found: re.Match[str]) -> str:
    """The place that was found, with a few characters on both sides."""
    return re.sub(r"\s+", " ", text[max(0, found.start() - 8) : found.end() + 8])[: PHRASE * 2]
