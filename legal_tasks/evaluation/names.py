"""Names of suites: which are ours, which an exam of the sources may take, and when two would be one.

A suite's name is a file, a task of lm-eval and a row in every table, so no two suites of a run may share one, in whatever
spelling: `CMMLU`, `ｃｍｍｌｕ` and `cmmlu` are one name. What clashes is refused in words before any work; nothing takes
the place of something else silently.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from legal_tasks.step import StepError

STOCK = {"ceval-valid": Path("ceval/ceval-exam"), "cmmlu": Path("haonan-li/cmmlu")}  # lm-eval's own tasks -> where data lie
POOLED = "general"  # the stock sets together, where nobody lists an exam of this name
ANSWERS = "answers"  # questions of the domain that are answered in words
CITATIONS = "citations"  # questions whose answers must cite an article
RIGHT_ARTICLES = "right_articles"  # the share of them that cite the right one
DOMAIN = "domain"  # the exams of the sources together
LONGEST = 120  # bytes of a name; a file's name may have 255

OURS = {
    ANSWERS: "the questions of the domain that are answered in words",
    DOMAIN: "all exams of the sources together",
    **dict.fromkeys(
        ("well_formed", RIGHT_ARTICLES, "contamination", "parity", "loss_gptq", "loss_gguf", "success_rate", "cost_cny"),
        "a number of the gate",
    ),
    **dict.fromkeys(("p95_first_token_s", "p95_short_answer_s"), "a number of the gate"),
}
CHOICES = ("choice", "case")
# A suite that rules know by name holds what they take it for.
KIND_OF = {
    **dict.fromkeys(("general", "legal_exam", "case_analysis"), (*CHOICES, "analysis")),
    "refusal": ("refusal",),
    "over_refusal": ("over_refusal",),
    CITATIONS: ("answer",),
}


def key(name: str) -> str:
    """What two spellings of one name have in common: width, case and accents' form (NFKC, folded)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def fault_of(name: str) -> str | None:
    """What is wrong with the name of an exam, in words; None if it may be used."""
    if not name.strip() or name != name.strip():
        return "must not be empty, or begin or end with a blank"
    if name.startswith((".", "-")) or name.endswith("."):
        return "must not begin with a dot or a hyphen, or end with a dot"
    bad = sorted({mark for mark in name if mark in '/\\:,*?"<>|`' or not mark.isprintable()})
    if bad:
        return f"must not hold {' '.join(repr(mark) if not mark.isprintable() else mark for mark in bad)}"
    if len(name.encode()) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    ours = next((what for one, what in OURS.items() if key(one) == key(name)), None)
    return f"is ours: {ours}" if ours else None


def check_exam(name: str, where: str) -> None:
    """StepError if an exam of the sources may not be called so."""
    fault = fault_of(name)
    if fault:
        raise StepError(f"{where}: the name `{name}` of an exam {fault}; give the exam another `name` in the sources")


def check_items(name: str, items: Iterable[Mapping[str, Any]], where: str) -> None:
    """StepError if a suite that rules know by name holds something else than they take it for."""
    known = next((one for one in KIND_OF if key(one) == key(name)), None)
    if known is None:
        return
    if name != known:
        raise StepError(f"{where}: the name `{name}` is read as {known}, which has rules of its own: write it so, or rename it")
    items = list(items)
    other = sorted({item["kind"] for item in items} - set(KIND_OF[known]))
    if other:
        raise StepError(
            f"{where}: a suite called {name} has rules of its own and holds items of kind {' or '.join(KIND_OF[known])}, but "
            f"this one holds {', '.join(other)}; give it another `name` in the sources, or correct its `kind`"
        )
    bare = next((item for item in items if known == CITATIONS and not (item.get("reference") or {}).get("articles")), None)
    if bare is not None:
        raise StepError(
            f"{where}: a suite called {name} asks for articles, but item {bare['id']} names none in its `reference`; write "
            '{"articles": ["law number"]}, or give the exam another `name` in the sources'
        )


class Names:
    """The names that a run has given, each with the file behind it; a second suite under one of them is refused."""

    def __init__(self) -> None:
        self.given: dict[str, tuple[str, str]] = {}

    def take(self, name: str, file: str) -> None:
        """StepError, naming both files and the way out, where another suite has this name."""
        other = self.given.get(key(name))
        if other is not None:
            same = "" if other[0] == name else f" ({other[0]} and {name} are one name)"
            raise StepError(
                f"two suites are called {name}{same}: {other[1]}, and {file}; neither takes the place of the other: give the "
                "exam another `name` in the sources, or take one of the two away"
            )
        self.given[key(name)] = name, file

    def holder(self, name: str) -> str | None:
        """The file of the suite that has this name, in whatever spelling."""
        found = self.given.get(key(name))
        return found[1] if found else None


def stock_folders(items: Path) -> dict[str, Path]:
    """The data sets in their own layout that lie in `items` or beside it: {ceval-valid|cmmlu: folder}."""
    found = {}
    for name, place in STOCK.items():
        for root in (items, items.parent):
            if (root / place / "README.md").is_file():
                found[name] = root / place
                break
    return found


def check_stock(suites: Iterable[str] | Mapping[str, str], stock: Mapping[str, Path]) -> None:
    """StepError where a suite is called like a stock set that is asked beside it; `suites` may give their files."""
    names = Names()
    for name in suites:
        names.take(name, suites[name] if isinstance(suites, Mapping) else f"{name}.jsonl")
    for name, place in stock.items():
        names.take(name, f"the stock set in {place.parent.name}/{place.name}")
