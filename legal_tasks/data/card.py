"""The data card: Hugging Face metadata, the funnel as a picture, accounts, licences, lengths, examples, pairs, changes.

One list of sections is rendered twice, as Markdown (README.md) and as a page that needs nothing else (card.html).
"""

from __future__ import annotations

import bisect
import io
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from legal_tasks.data import foreign, rules, subjects
from legal_tasks.data.privacy import MEASURED
from legal_tasks.records import Record

LENGTHS = (50, 100, 200, 400, 800, 1600, 3200, 6400)  # characters: upper ends of the histogram's classes
EXAMPLES, PAIRS, LAWS = 3, 50, 30  # shown per rule, in all, in all
READ = ("unreadable", "broken", "empty", "encoding", *(f"format_{kind}" for kind in foreign.KINDS))
FORM = (
    *("no_answer", "no_articles", "no_reasoning", "too_short", "too_long"),
    *("unknown_field", "two_answers", "unknown_role", "tool_turns", "not_text"),
)
REPEATED = ("duplicate", "near_duplicate")
SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


HITS = (
    f"All hits of each rule, not only those where it was first. A rule flags where less than {rules.LEAST:.0%} of its hits were "
    "right. Precision: the share of hits on real public consultations and instructions that one reader, with question and answer "
    "side by side, called right; the rules were set with those hits in view, so it is not that of this data set."
)


SUBJECTS = (
    f"By the laws that a record cites, a consultation's held to its question; without any by what is asked, {subjects.OTHER} "
    f"where that is not clear. Of {subjects.READ[0]} real consultations with one a reader called {subjects.READ[1]} right."
)


class Tally:
    """What the card tells of the records, counted one by one: categories, subjects, laws, licences, lengths in
    characters of all turns."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.categories: Counter[str] = Counter()
        self.subjects: Counter[str] = Counter()
        self.laws: Counter[str] = Counter()
        self.licences: Counter[str] = Counter()
        self.lengths = array("L")
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        self.categories[record.category] += 1
        self.subjects[str(record.provenance.get("subject"))] += 1
        self.laws.update(record.provenance.get("laws") or ())
        self.licences[str(record.provenance.get("licence"))] += 1
        turns = (part for turn in record.history for part in turn)
        self.lengths.append(sum(map(len, (*turns, record.instruction, record.input, record.output))))

    @property
    def records(self) -> int:
        return len(self.lengths)


@dataclass
class Facts:
    """What the card tells. `clean`: the report of data.clean; `halves`: records per split, where they are split yet.

    `examples`: rows of what was set aside, some of each reason; `pairs`: the first PAIRS of `pair_count`.
    """

    tally: Tally
    clean: dict[str, Any]
    examples: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    pair_count: int
    changes: list[dict[str, Any]] = field(default_factory=list)
    as_of: str = ""
    halves: dict[str, int] = field(default_factory=dict)


@dataclass
class Section:
    """A heading with a text, a table (head, rows) or a picture (SVG) below it."""

    title: str
    text: str = ""
    head: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    picture: str = ""  # file name


def examples_of(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first EXAMPLES rows of each reason."""
    shown: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if len(shown[row["reason"]]) < EXAMPLES:
            shown[row["reason"]].append(row)
    return [row for _, rows in sorted(shown.items()) for row in rows]


def funnel(items: dict[str, Any]) -> list[tuple[str, int]]:
    """(stage, items left after it) from all that came in to what is used."""
    aside = items["set_aside"]
    named = {*READ, *FORM, *REPEATED, "exam_leak"}
    left = items["in"]
    stages = [("in", left)]
    groups = [("readable", READ), ("parsed", FORM), ("rules kept", tuple(set(aside) - named)), ("no exam leak", ("exam_leak",))]
    for name, reasons in [*groups, ("no duplicate", REPEATED)]:
        left -= sum(aside.get(reason, 0) for reason in reasons)
        stages.append((name, left))
    return [*stages, ("used", items["used"])]


def bars(rows: list[tuple[str, int]], title: str) -> str:
    """Horizontal bars with their numbers as SVG; the same rows give the same bytes, and text stays text."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lexloop", "font.family": "sans-serif"}):
        figure = Figure(figsize=(7, 0.5 + 0.36 * len(rows)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        names, values = [name for name, _ in rows], [value for _, value in rows]
        drawn = axes.barh(range(len(rows)), values, color="#2b6cb0")
        axes.bar_label(drawn, labels=[f"{value:,}" for value in values], padding=3)
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.set_title(title)
        axes.set_xlim(0, max([*values, 1]) * 1.15)
        axes.spines[["top", "right"]].set_visible(False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _histogram(lengths: Iterable[int]) -> list[tuple[str, int]]:
    counts: Counter[int] = Counter(bisect.bisect_right(LENGTHS, size) for size in lengths)
    names = [f"< {end}" for end in LENGTHS] + [f"≥ {LENGTHS[-1]}"]
    return [(name, counts[number]) for number, name in enumerate(names)]


def sections(facts: Facts) -> list[Section]:
    """The card's contents in order."""
    items, tally = facts.clean["records"], facts.tally
    aside = [(f"set aside: {reason}", count) for reason, count in sorted(items["set_aside"].items())]
    fates = [("in", items["in"]), ("used", items["used"]), ("reference (statute store)", items["reference"]), *aside]
    made = f"{tally.records} records were made of them, {items['derived']} derived from a larger item."
    if facts.halves:
        made += " " + ", ".join(f"{name}: {count}" for name, count in facts.halves.items()) + "."
    found = [
        Section("Funnel", "What became of the source items.", picture="funnel.svg"),
        Section("Items", made, ("fate", "items"), fates),
        Section("Hits", HITS, ("rule", "hits", "does", "precision"), [_hit(*row) for row in sorted(facts.clean["hits"].items())]),
        Section("Sources", "", ("name", "in", "used", "reference", "set aside"), _sources(facts)),
    ]
    for title, values in (("Categories", tally.categories), ("Subjects", tally.subjects), ("Licences", tally.licences)):
        text = SUBJECTS if title == "Subjects" else ""
        found.append(Section(title, text, ("name", "records"), sorted(values.items())))
    laws = sorted(tally.laws.items(), key=lambda pair: (-pair[1], pair[0]))
    note = f"{len(laws)} laws are asked about or cited; the {min(LAWS, len(laws))} with the most records."
    found.append(Section("Laws", note, ("law", "records"), laws[:LAWS]))
    found.append(Section("Lengths", "Characters of a record, all turns.", picture="lengths.svg"))
    personal = [(kind, count, MEASURED.get(kind, "not measured")) for kind, count in sorted(facts.clean["personal_data"].items())]
    note = (
        "Replaced by pseudonyms that stay the same within a document. People are found by patterns, without a model. Recall: the "
        "share of planted values that were found in a measurement of the masker (benchmarks/privacy.py), not of this data set; "
        "for names that of names in dialogs."
    )
    found.append(Section("Personal data", note, ("kind", "replaced", "recall"), personal))
    found.append(
        Section("Examples of what was set aside", "", ("reason", "source", "place", "beginning or detail"), _examples(facts))
    )
    pairs = [(p["exam"], p["line"], p["source"], p["item"], p["score"], p["rule"]) for p in facts.pairs[:PAIRS]]
    text = (
        f"{facts.pair_count} pairs of an exam question and an item; the first {len(pairs)}."
        if pairs
        else "No item stands in an exam."
    )
    found.append(Section("Contamination", text, ("exam", "line", "source", "item", "score", "rule"), pairs))
    changes = [(row["what"], row["name"], row["before"], row["now"]) for row in facts.changes]
    text = "" if changes else "There is no earlier month to compare with."
    return [*found, Section("Changes against the month before", text, ("what", "name", "before", "now"), changes)]


def _hit(rule: str, count: int) -> tuple[Any, ...]:
    """A rule's row: how often it was broken, what follows, and how often that is right."""
    read, right = rules.READ.get(rule, (0, 0))
    share = f"{right / read:.2f} ({right} of {read})" if read else "not measured"
    return rule, count, "flags" if rule in rules.FLAGS else "sets aside", share


def _sources(facts: Facts) -> list[tuple[Any, ...]]:
    return [(row["name"], row["in"], row["used"], row["reference"], row["set_aside"]) for row in facts.clean["sources"]]


def _examples(facts: Facts) -> list[tuple[Any, ...]]:
    rows = []
    for row in facts.examples:
        words = (row.get("detail") or row.get("excerpt") or "")[:100]
        rows.append((row["reason"], row["source"], row["locator"], " ".join(words.split())))
    return rows


def head(facts: Facts) -> str:
    """The metadata block that the Hugging Face hub reads; the splits are the Parquet files in dataset/."""
    import yaml

    count = facts.tally.records
    values: dict[str, Any] = {
        "pretty_name": f"Chinese law instructions{', ' + facts.as_of if facts.as_of else ''}",
        "language": ["zh"],
        "license": "other",
        "size_categories": [next((name for end, name in SIZES if count < end), "n>1M")],
        "task_categories": ["text-generation", "question-answering"],
        "source_datasets": ["original"],
        "tags": ["legal"],
    }
    if facts.halves:
        files = [{"split": name, "path": f"dataset/{name}.parquet"} for name in facts.halves]
        values["configs"] = [{"config_name": "default", "data_files": files}]
    return f"---\n{yaml.safe_dump(values, allow_unicode=True, sort_keys=False)}---\n"


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def markdown(facts: Facts) -> str:
    """README.md of a data set."""
    lines = [head(facts), "# Data card", ""]
    for part in sections(facts):
        lines += [f"## {part.title}", ""]
        lines += [part.text, ""] if part.text else []
        lines += [f"![{part.title}]({part.picture})", ""] if part.picture else []
        if part.rows:
            lines += [f"| {' | '.join(part.head)} |", "|" + "---|" * len(part.head)]
            lines += [f"| {' | '.join(map(_cell, row))} |" for row in part.rows] + [""]
    return "\n".join(lines)


PAGE = """<!doctype html>
<html lang="zh"><head><meta charset="utf-8"><title>Data card</title><style>
body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}
td,th{border:1px solid #ccc;padding:.2em .6em;text-align:left}td.n{text-align:right}svg{max-width:100%;height:auto}
</style></head><body><h1>Data card{{ " " + as_of if as_of }}</h1>
{% for part in sections %}<h2>{{ part.title }}</h2>{% if part.text %}<p>{{ part.text }}</p>{% endif %}
{% if part.picture %}{{ pictures[part.picture] }}{% endif %}
{% if part.rows %}<table><tr>{% for name in part.head %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in part.rows %}<tr>{% for cell in row %}
<td{% if cell is number %} class="n"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endif %}{% endfor %}</body></html>
"""


def write(folder: Path, facts: Facts) -> None:
    """README.md, card.html, funnel.svg and lengths.svg in `folder`."""
    from jinja2 import Environment
    from markupsafe import Markup

    pictures = {"funnel.svg": bars(funnel(facts.clean["records"]), "source items left after each stage")}
    pictures["lengths.svg"] = bars(_histogram(facts.tally.lengths), "records by length in characters")
    for name, svg in pictures.items():
        (folder / name).write_text(svg, "utf-8")
    (folder / "README.md").write_text(markdown(facts), "utf-8")
    inline = {name: Markup(svg[svg.index("<svg") :]) for name, svg in pictures.items()}
    template = Environment(autoescape=True).from_string(PAGE)
    page = template.render(sections=sections(facts), pictures=inline, as_of=facts.as_of)
    (folder / "card.html").write_text(page, "utf-8")
