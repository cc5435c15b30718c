"""Release a refused model all the same: one person asks, with a written reason, and a second person confirms.

Both are lines of the release history, where nothing can be changed afterwards. They count for one decision on one model, by
their digests, for a week, and for one release: once another model serves, the same refusal takes two people again.
"""

from __future__ import annotations

import html
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from legal_tasks import artifacts, tracking
from legal_tasks.serving.state import Database, Event
from legal_tasks.step import StepError

ASKED, CONFIRMED = "override asked", "override confirmed"
SHORTEST, LONGEST = 15, 2000  # characters of a reason: a word is none, and MLflow's tags end at 8,000
LASTS_S = 7 * 86400.0  # what nobody confirms in a week has to be asked for again
MARK = "<!-- against the recommendation -->"  # where the report's page says so


class OverrideError(StepError):
    """Not allowed, or not possible: the message says what would be."""


@dataclass(frozen=True)
class Override:
    """Who released against the gate, and why. `id`: number of the asking line; `by`, `second`: user names."""

    id: int
    reason: str
    by: str
    asked_at: float
    second: str
    confirmed_at: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        return f"against the gate's recommendation: asked for by {self.by} ({self.reason}), confirmed by {self.second}"


def ask(database: Database, decision: Path, model: Path, user: str, name: str, reason: str) -> Event:
    """Write down that `user` (its id; `name` is shown) wants the model that this decision refused in production."""
    from legal_tasks.serving import chain
    from legal_tasks.serving.release import read_decision

    reason = " ".join(reason.split())
    if len(reason) < SHORTEST:
        raise OverrideError(f"an override needs a written reason of at least {SHORTEST} characters, got {len(reason)}")
    if len(reason) > LONGEST:
        raise OverrideError(f"a reason has at most {LONGEST} characters, got {len(reason)}: name the document that says more")
    if read_decision(decision)["decision"] != "refused":
        raise OverrideError("the gate let this model pass: there is nothing to override")
    both = chain.check(decision, model)
    asked_for = {"digest": both.model["digest"], "path": str(both.model_path), "decision": str(both.decision_path)}
    judged = both.decision["digest"]
    waiting = pending(database, judged, asked_for["digest"])
    if waiting is not None:
        raise OverrideError(f"{waiting.actor} has asked for it already: a second person may confirm")
    return database.note(ASKED, name, asked_for, {"reason": reason, "user": user, "decision": judged})


def confirm(database: Database, number: int, user: str, name: str, about: tuple[Path, Path] | None = None) -> Event:
    """Write down that a second person agrees with the asking line `number`.

    `about`: (decision, model) that the person saw; it must be what was asked for.
    """
    from legal_tasks.serving import chain

    asked = next((event for event in database.history() if event.id == number and event.event == ASKED), None)
    if asked is None or asked.after is None:
        raise OverrideError(f"nobody asked for an override under number {number}")
    if user == asked.evidence["user"] or name == asked.actor:
        raise OverrideError(f"{name} has asked for it: a second person has to confirm")
    still = pending(database, asked.evidence["decision"], asked.after["digest"])
    if still is None or still.id != number:
        raise OverrideError(f"the override {number} was confirmed, or has waited for more than a week: ask again")
    if about and (asked.evidence["decision"], asked.after["digest"]) != tuple(map(artifacts.digest_path, about)):
        raise OverrideError(f"the override {number} is about another model or decision: load the page again")
    chain.check(Path(asked.after["decision"]), Path(asked.after["path"]))
    return database.note(
        CONFIRMED, name, asked.after, {"asked": number, "user": user, "reason": asked.evidence["reason"], "by": asked.actor}
    )


def pending(database: Database, decision: str, model: str, now: float | None = None) -> Event | None:
    """The asking line about this decision and model (digests) that waits for a second person, if any."""
    found: Event | None = None
    for event in database.history():
        if event.event == ASKED and _about(event, model) and event.evidence["decision"] == decision:
            found = event
        elif found and event.event == CONFIRMED and event.evidence["asked"] == found.id:
            found = None
    return found if found and found.at > (now or time.time()) - LASTS_S else None


def find(database: Database, decision: str, model: str, now: float | None = None) -> Override | None:
    """The override that lets this model (digest) be released in spite of this decision (digest); None without one.

    What was not released within a week has lapsed. A release uses it up: it then holds only while the model serves, so that a
    repeated attempt comes to its end.
    """
    history, granted = database.history(), None
    asked = {
        event.id: event
        for event in history
        if event.event == ASKED and _about(event, model) and event.evidence["decision"] == decision
    }
    for event in history:
        number = event.evidence.get("asked")
        if event.event == CONFIRMED and number in asked:
            first = asked[number]
            granted = Override(number, first.evidence["reason"], first.actor, first.at, event.actor, event.at)
        elif granted and event.event == "released" and not _about(event, model) and _used(history, granted, event.id):
            granted = None
    late = granted is not None and granted.confirmed_at <= (now or time.time()) - LASTS_S
    return None if granted is None or (late and not _used(history, granted, history[-1].id + 1)) else granted


def _about(event: Event, model: str) -> bool:
    return event.after is not None and event.after.get("digest") == model


def _used(history: list[Event], granted: Override, before: int) -> bool:
    """Whether a model was released by this override before the line `before`."""
    return any(
        event.event == "released" and ((event.after or {}).get("override") or {}).get("id") == granted.id
        for event in history
        if event.id < before
    )


def write_report(folder: Path, decision: Path, said: str) -> None:
    """The gate's report in `folder`, marked as overridden; the gate's own artifact stays as it was."""
    page, text = decision / "report.html", decision / "report.md"
    if page.is_file():
        shown = f'<p id="override"><strong>不顾建议发布 Released against the recommendation:</strong> {html.escape(said)}</p>'
        (folder / page.name).write_text(page.read_text("utf-8").replace(MARK, shown, 1), "utf-8")
        tracking.log_file(folder / page.name)
    if text.is_file():
        head = f"> **不顾建议发布 Released against the recommendation:** {said}\n\n"
        (folder / text.name).write_text(head + text.read_text("utf-8"), "utf-8")
        tracking.log_file(folder / text.name)
