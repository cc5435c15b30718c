"""Say what shall be in production and wait for the releaser's word: what release and rollback share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from legal_tasks.serving.state import Database, Model
from legal_tasks.serving.status import read_status
from legal_tasks.step import StepError

POLL_S = 0.2
SILENCE_S = 60.0  # a releaser that says nothing for so long does not run; a killed one is back before, on a busy machine too


def bring(model: Model, actor: str, evidence: Mapping[str, Any], timeout_s: float, database: Database | None = None) -> float:
    """Seconds until `model` served. StepError with the releaser's reason where it did not come to that."""
    database = database or Database()
    began = time.monotonic()
    state = database.current()
    if not (state.actual == state.desired == model):
        state = database.intend(model, actor, evidence, revision=state.revision)
    heard = began
    while (passed := time.monotonic() - began) < timeout_s:
        status = read_status()
        heard = time.monotonic() if status["alive"] else heard
        now = database.current()
        production = status["production"] or {}
        if now.actual and now.actual["digest"] == model["digest"] and production.get("digest") == model["digest"]:
            if production.get("ready"):
                return passed
        for event in database.history():
            if event.event == "failed" and event.revision == state.revision:
                raise StepError(f"the releaser refused {model['digest'][:12]}: {event.evidence['reason']}")
        if now.desired is None or now.desired["digest"] != model["digest"]:
            raise StepError(f"somebody else intends another model by now (revision {now.revision}); this one was given up")
        if time.monotonic() - heard > SILENCE_S:
            raise StepError("the releaser does not run, so nothing is released; start it: make up. The intent stands")
        time.sleep(POLL_S)
    raise StepError(f"{model['digest'][:12]} did not serve in {timeout_s:.0f} s; the intent stands, see var/logs/releaser.log")
