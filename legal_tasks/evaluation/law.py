"""The day whose law production stands for, so that the run of an older month does not bring older law back unnoticed."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from zoneinfo import ZoneInfo

from legal_tasks.serving.state import Database
from legal_tasks.step import var_folder

ZONE = ZoneInfo("Asia/Shanghai")
WAY_OUT = "set older_law in the trigger form to put older law into production, or leave its field month empty"


def served(database: Path | None = None) -> tuple[datetime.date, str] | None:
    """(day whose law the model in production was judged by, its version); None where nothing serves.

    A decision from before this day was written down counts as the month in which its model was released. Reads only: where
    there is no release state none is made.
    """
    path = database or var_folder() / "release.sqlite"
    if not path.is_file():
        return None
    state = Database(path)
    model = state.current().actual
    if not model:
        return None
    version = str(model.get("version") or model.get("digest", ""))[:12]
    decision = Path(str(model.get("decision") or "")) / "decision.json"
    if model.get("decision") and decision.is_file():
        day = json.loads(decision.read_text("utf-8")).get("as_of")
        if day:
            return datetime.date.fromisoformat(day), version
    moments = [event.at for event in state.history() if event.event == "released" and _digest(event.after) == _digest(model)]
    if not moments:
        return None
    return datetime.datetime.fromtimestamp(max(moments), ZONE).date().replace(day=1), version


def _digest(model: dict[str, object] | None) -> object:
    return model.get("digest") if model else None


def older(day: datetime.date | None, now: tuple[datetime.date, str] | None) -> str:
    """Why a model judged by the law of `day` is behind the one in production (`served`); "" where it is not."""
    if day is None or now is None or day >= now[0]:
        return ""
    return f"production (version {now[1]}) stands for the law of {now[0]}, this run for the older one of {day}"
