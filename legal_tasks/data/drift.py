"""What a month's records look like, and what has jumped since the month before: mix, size, rates, phrases."""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legal_tasks.records import Record

SAMPLE = 4000  # records whose phrases are counted; the standard error of a share is below 0.8 %
GRAM = 8  # characters
KEPT = 0.01  # share of the records from which a phrase is remembered
FEW = 20  # items of a source below which its rate says nothing
ALIKE = 0.5  # share of the sources' names that two months must have in common to be compared


@dataclass(frozen=True)
class Bounds:
    """`mix`, `set_aside`, `phrase`: largest change of a share (0..1); `size`: largest factor up or down."""

    mix: float
    size: float
    set_aside: float
    phrase: float


def describe(categories: Mapping[str, int], texts: list[str], sources: list[dict[str, Any]], as_of: str) -> dict[str, Any]:
    """The month's profile: {as_of, records, categories, sources {name: {in, set_aside}}, phrases {8 characters: share}}.

    `categories`: {name: records}; `texts`: a `sample` of the records.
    """
    count = sum(categories.values())
    return {
        "as_of": as_of,
        "records": count,
        "categories": {name: round(number / count, 5) for name, number in sorted(categories.items())},
        "sources": {row["name"]: {"in": row["in"], "set_aside": row["set_aside"]} for row in sources},
        "phrases": _phrases(texts),
    }


def sample(records: Iterable[Record]) -> list[str]:
    """Texts of SAMPLE records without spaces, chosen by hash: the same records give the same sample in any order."""
    ranked = ((hashlib.sha256(text.encode()).digest(), text) for text in map(_text, records))
    return [text for _, text in heapq.nsmallest(SAMPLE, ranked)]


def _text(record: Record) -> str:
    parts = [*(part for turn in record.history for part in turn), record.instruction, record.input, record.output]
    return re.sub(r"\s+", "", "\n".join(parts))


def _grams(text: str) -> set[str]:
    return {text[place : place + GRAM] for place in range(len(text) - GRAM + 1)}


def _phrases(texts: list[str]) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_grams(text))
    least = max(2, KEPT * len(texts))
    kept = sorted((gram, count) for gram, count in counts.items() if count >= least)
    return {gram: round(count / len(texts), 4) for gram, count in kept}


def compare(now: dict[str, Any], before: dict[str, Any], texts: list[str], bounds: Bounds) -> list[dict[str, Any]]:
    """A row {what, name, before, now, jumped} per number, in a fixed order; phrases only where they jumped.

    `texts`: the `sample` that `now` was described by.
    """
    rows: list[dict[str, Any]] = []

    def row(what: str, name: str, old: float, new: float, jumped: bool) -> None:
        rows.append({"what": what, "name": name, "before": old, "now": new, "jumped": jumped})

    factor = now["records"] / max(1, before["records"])
    row("size", "records", before["records"], now["records"], not 1 / bounds.size <= factor <= bounds.size)
    for name in sorted(now["categories"].keys() | before["categories"].keys()):
        old, new = before["categories"].get(name, 0.0), now["categories"].get(name, 0.0)
        row("mix", name, old, new, abs(new - old) > bounds.mix)
    for name in sorted(now["sources"].keys() & before["sources"].keys()):
        one, other = before["sources"][name], now["sources"][name]
        old, new = (round(part["set_aside"] / max(1, part["in"]), 4) for part in (one, other))
        row("set aside", name, old, new, min(one["in"], other["in"]) >= FEW and abs(new - old) > bounds.set_aside)
    risen = {
        gram
        for gram, share in now["phrases"].items()
        if share - before["phrases"].get(gram, 0.0) > bounds.phrase  # one that is not remembered stood in less than KEPT
    }
    for phrase, share in _whole(risen, texts):
        row("phrase", phrase, min(before["phrases"].get(phrase[:GRAM], 0.0), share), share, True)
    return rows


def _whole(risen: set[str], texts: list[str]) -> list[tuple[str, float]]:
    """The longest pieces of text whose 8-character pieces have all risen, with their share of the texts; at most five."""
    found: Counter[str] = Counter()
    for text in texts if risen else []:
        runs, start = set(), None
        for place in range(len(text) - GRAM + 2):
            inside = text[place : place + GRAM] in risen and place <= len(text) - GRAM
            if inside and start is None:
                start = place
            elif not inside and start is not None:
                runs.add(text[start : place + GRAM - 1])
                start = None
        found.update(runs)
    return [(phrase[:60], round(count / len(texts), 4)) for phrase, count in found.most_common(5)]


def explain(rows: list[dict[str, Any]]) -> list[str]:
    """The jumps in words."""
    words = []
    for row in (row for row in rows if row["jumped"]):
        if row["what"] == "size":
            words.append(f"{row['now']} records after {row['before']}")
        elif row["what"] == "phrase":
            words.append(f"the phrase “{row['name']}” stands in {row['now']:.1%} of the records, {row['before']:.1%} before")
        else:
            what = "of the records are" if row["what"] == "mix" else "of the items were set aside in"
            words.append(f"{row['now']:.1%} {what} {row['name']}, {row['before']:.1%} before")
    return words


def earlier(checks: Path, as_of: str, sources: set[str]) -> Path | None:
    """profile.json of the newest earlier month among the artifacts of data.check whose sources are largely the same."""
    best: tuple[str, str, Path] | None = None
    for path in checks.glob("*/profile.json"):
        if not path.with_name("manifest.json").is_file():
            continue
        profile = json.loads(path.read_text("utf-8"))
        names = set(profile["sources"])
        if not profile["as_of"] or profile["as_of"] >= as_of or len(names & sources) < ALIKE * len(names | sources):
            continue
        made = json.loads(path.with_name("manifest.json").read_text("utf-8"))["created"]
        if best is None or (profile["as_of"], made) > best[:2]:
            best = (profile["as_of"], made, path)
    return best[2] if best else None
