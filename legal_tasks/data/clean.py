"""Turn collected items into records: parse, judge citations, apply the rules, drop duplicates and exam leaks, mask people.

    python -m legal_tasks.data.clean --profile small --items COLLECT --as-of 2026-11-01

Every source item ends as exactly one of used, reference (it feeds the statute store) or set aside with one reason; records
made several from one item, or from an article, are derived and counted apart.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from legal_tasks.data import (
    decontaminate,
    dedupe,
    dialogs,
    evidence,
    fields,
    formats,
    lawdates,
    lawpages,
    privacy,
    rewrite,
    rules,
    scan,
    statutes,
    subjects,
)
from legal_tasks.data.lawnames import Names
from legal_tasks.data.memory import Memory
from legal_tasks.data.variants import is_slipped, is_variant
from legal_tasks.data.works import Drafts, Items, Work, opened, parts
from legal_tasks.records import CATEGORIES, Record, to_line
from legal_tasks.step import Input, Output, Runtime, StepError, main, progress
from legal_tasks.step import store as open_store

VERSION = 16
TOLD = 2000  # items between two lines of progress
EXCERPT = 120  # characters of an item that was set aside


@dataclass(frozen=True)
class Params:
    items: Annotated[Path, Input("the artifact of data.collect")]
    output: Annotated[
        Path, Output("folder with records.jsonl, statutes.jsonl, set_aside.jsonl, contamination.jsonl, accounts.json")
    ]
    as_of: Annotated[datetime.date, "the day on which laws must be in force"]
    near_duplicate: Annotated[float, "Jaccard of character 5-grams from which two texts are one"] = 0.7
    near_duplicate_instruction: Annotated[float, "the same for instruction records"] = 0.7
    near_slipped: Annotated[float, "the same for texts that differ in nothing but single characters here and there"] = 0.55
    near_shortest: Annotated[int, "characters from which near-duplicates are looked for"] = 60
    leak: Annotated[float, "share of a question's 8-grams (reworded: 5-grams) from which a record is an exam leak"] = 0.8
    leak_shortest: Annotated[int, "characters of question and option from which a leak is looked for"] = 24
    quotation: Annotated[float, "share of a quotation's 5-grams that the article must hold"] = 0.6
    shortest_answer: Annotated[int, "characters; instruction items may be shorter"] = 10
    longest: Annotated[int, "characters of a whole record"] = 8000
    statute_records: Annotated[int, "largest number of article records"] = 2000
    salt: Annotated[str, "salt of the pseudonyms"] = "lexloop"
    rewrite_url: Annotated[str, "OpenAI-compatible endpoint (…/v1) that may say answers more clearly; empty: none"] = ""
    rewrite_model: Annotated[str, "the model's name at that endpoint"] = ""
    rewrite_categories: Annotated[tuple[str, ...], "categories whose answers are rewritten"] = ("consultation",)
    rewrite_parallel: Annotated[int, Runtime("requests at once")] = 8
    rewrite_timeout_s: Annotated[float, Runtime("seconds that an answer may take")] = 60.0
    remember: Annotated[bool, Runtime("use and keep what earlier runs found out about single documents")] = True

    def __post_init__(self) -> None:
        for name in ("near_duplicate", "near_duplicate_instruction", "near_slipped", "leak", "quotation"):
            if not 0 < getattr(self, name) <= 1:
                raise StepError(f"data.clean.{name} is {getattr(self, name)}; it must lie above 0 and at most at 1")
        if self.rewrite_url:
            self.endpoint()
        if wrong := set(self.rewrite_categories) - set(CATEGORIES) | {"statute"} & set(self.rewrite_categories):
            raise StepError(
                f"data.clean.rewrite_categories holds {', '.join(sorted(wrong))}; allowed are {', '.join(CATEGORIES)}, "
                "but statute: articles keep their own words"
            )
        if self.statute_records < 0 or self.longest < 1:
            raise StepError("data.clean.statute_records must be 0 or more, data.clean.longest 1 or more")

    def endpoint(self) -> rewrite.Endpoint:
        return rewrite.Endpoint(self.rewrite_url, self.rewrite_model, self.rewrite_timeout_s, self.rewrite_parallel)


@dataclass
class Report:
    records: dict[str, Any]  # in, used, reference, set_aside {reason: n}, derived
    written: int
    categories: dict[str, int]
    subjects: dict[str, int]  # what the records are about -> records
    hits: dict[str, int]  # all hits of each rule, not only those where it was first
    personal_data: dict[str, int]
    contaminated: int
    laws: int
    articles: int
    sources: list[dict[str, Any]]  # name, in, used, reference, set_aside
    documents: dict[str, int]  # new: something had to be found out about them; known: all was known from an earlier run
    rewritten: dict[str, int]  # asked, rewritten, and why answers of the endpoint were not taken
    seconds: float


DOCUMENTS = frozenset(("case", "contract", "document"))  # kinds whose rows may hold a document each


def make_records(work: Work, item: dict[str, Any], longest: int = Params.longest) -> list[Record]:
    """The item's records; one that yields none is set aside as empty, short of an answer, or without reasoning.

    `longest`: characters of a record; a judgment of more is cut at its parts.
    """
    if item["kind"] in DOCUMENTS and "text" not in item and (document := fields.document_of(item["fields"])):
        item["text"] = document
    if "text" not in item:
        try:
            return [fields.from_fields(item)]
        except dialogs.Unfit as unfit:
            empty = not any(str(value or "").strip() for value in item["fields"].values())
            work.aside("empty" if empty else unfit.reason, unfit.detail)
            return []
    text = formats.clean_text(item["text"])
    if len(text) < 20:
        work.aside("too_short")
        return []
    makers: dict[str, Callable[[str, dict[str, Any]], list[Record]]] = {
        "case": partial(formats.from_case, longest=longest),
        "contract": formats.from_sections,
        "document": formats.from_document,
        "consultation": formats.from_dialog,
    }
    maker = makers.get(item["kind"])
    records = maker(text, item) if maker else []
    work.derived = len(records) > 1
    if not records:
        work.aside("no_reasoning" if item["kind"] == "case" else "no_answer", "no question and answer in the text")
    return records


def apply_rules(items: Items, drafts: Drafts, judge: _Judge, hits: Counter[str], pairs: Path) -> int:
    """Keep as drafts the records that break no rule and stand in no exam; return how many items stand in one.

    An item without any record left is set aside for the first reason of its first record. All hits are counted; a rule that is
    too often wrong (rules.FLAGS) only leaves its name with the record. `pairs`: the
    JSON Lines file for the pairs of item and exam question.
    """
    started, contaminated = time.time(), 0
    waiting = [work for work in items.works if not work.fate]
    with open(pairs, "w", encoding="utf-8") as file:
        for number, work in enumerate(waiting, 1):
            if number % TOLD == 0 or number == len(waiting):
                rate = round(number / max(time.time() - started, 0.001))
                progress(number, len(waiting), stage="rules", items_per_second=rate)
            item = items.read(work)
            kept, reason, leaked = [], ("", ""), False
            for record in make_records(work, item, judge.params.longest):
                found, leaks, shown = judge(item, record)
                for exam, line, score, rule in leaks:
                    row = {"exam": exam, "line": line, "source": work.source, "item": work.id, "score": score, "rule": rule}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                detail = f"{leaks[0][0]} line {leaks[0][1]}" if leaks else ""
                leaked = leaked or bool(leaks)
                hits.update(found)
                if flags := [name for name in found if name in rules.FLAGS]:
                    record.provenance["flags"] = flags
                    found = [name for name in found if name not in rules.FLAGS]
                if not found:
                    kept.append(record)
                elif not reason[0]:
                    reason = (found[0], detail if found[0] == "exam_leak" else shown)
            contaminated += leaked
            if kept:
                drafts.add(work, item, kept)
            elif not work.fate:
                work.aside(*reason)
    return contaminated


class _Judge:
    """All rules on one record, each with what the memory must know to use its result again."""

    def __init__(self, store: statutes.Store, exams: decontaminate.Exams, params: Params, memory: Memory) -> None:
        self.store, self.exams, self.params, self.memory = store, exams, params, memory
        self.laws = _rank(store.bare.pattern)
        self.leaks = f"leaks {VERSION} {exams.digest()} {params.leak}"

    def __call__(self, item: dict[str, Any], record: Record) -> tuple[list[str], list[tuple[str, int, float, str]], str]:
        """(names of the rules that the record breaks, [(exam, line, score, rule)], what shows the first rule's breach).

        A judgment is held to the law of its own day; the record says so where the law of today would accuse it.
        """
        params, name, texts, answers = self.params, item["id"], parts(record), rules.answers_of(record)
        shortest = params.shortest_answer if _is_prose(item) else 1
        context = f"rules {VERSION} {shortest} {params.longest} {record.category}"
        found = self.memory.recall(name, context, texts, lambda: rules.text_hits(record, shortest, params.longest))
        context = f"citations {VERSION} {self.laws}"
        cites = self.memory.recall(name, context, answers, lambda: list(statutes.citations(answers, self.store.bare)))
        leaks = self.memory.recall(name, self.leaks, texts, lambda: self._leaks(texts))
        compared = statutes.compares(answers)
        verdicts = self.store.judge_found(cites, params.as_of, params.quotation, compared)
        if own := own_day(item, record, params.as_of):
            today, verdicts = rules.cited(verdicts), self.store.judge_found(cites, own, params.quotation, compared)
            verdicts = [verdict for verdict in verdicts if verdict.state != "not yet in force"]  # no judgment cites such a law
            date_record(record, own, bool(today) and not rules.cited(verdicts))
        cited = rules.cited(verdicts)
        first = next((name for name in found if name not in rules.FLAGS), "")
        shown = evidence.of_text(first, record) if first else evidence.of_verdicts(verdicts).get(cited[0], "") if cited else ""
        return found + cited + (["exam_leak"] if leaks else []), leaks, shown

    def fault(self, record: Record) -> str:
        """The first rule that a record breaks, or "", whatever it was made of."""
        found, *_ = self({"id": record.provenance["parent"], "kind": record.category}, record)
        return next((name for name in found if name not in rules.FLAGS), "")

    def _leaks(self, texts: list[str]) -> list[tuple[str, int, float, str]]:
        found = self.exams.matches("\n".join(texts), self.params.leak)
        return [(one.question.exam, one.question.line, round(one.score, 3), one.rule) for one in found]


def own_day(item: dict[str, Any], record: Record, as_of: datetime.date) -> datetime.date | None:
    """The day of a judgment, by whose law it is judged; None for other items and where it names none (or one to come)."""
    if item["kind"] != "case":
        return None
    day = record.provenance.get("law_day") or (lawdates.judged(item["text"]) if "text" in item else "")
    return datetime.date.fromisoformat(day) if day and day < as_of.isoformat() else None


def date_record(record: Record, day: datetime.date, differs: bool) -> None:
    """Note the day whose law a judgment's record goes by; where today's law is another, its question says so too."""
    record.provenance["law_day"] = day.isoformat()
    note = f"（以裁判当日即{day.year}年{day.month}月{day.day}日有效的法律为准。）"
    if differs and note not in record.instruction:
        record.instruction += note


def _is_prose(item: dict[str, Any]) -> bool:
    """Whether a very short answer would be a fault: not in instruction items, nor where a letter or a charge is asked for."""
    fields = item.get("fields", {})
    return item["kind"] != "instruction" and "answer" not in fields and "crime" not in fields


def is_copy(first: str, second: str, score: float, bound: float) -> bool:
    """Whether similar texts are one: by their Jaccard, below the bound by differing in nothing but single characters."""
    return not is_variant(first, second) if score >= bound else is_slipped(first, second)


def drop_duplicates(works: list[Work], drafts: Drafts, params: Params, hits: Counter[str]) -> None:
    """Of equal and nearly equal items the longest stays (the smaller id among equals)."""
    works = sorted(works, key=lambda work: (-work.size, work.id))
    for group in dedupe.exact_groups(drafts.texts_of(works)):
        for place in group[1:]:
            works[place].aside("duplicate", f"of {works[group[0]].id}")
            hits["duplicate"] += 1
    for instruction, bound in ((False, params.near_duplicate), (True, params.near_duplicate_instruction)):
        left = [
            work
            for work in works
            if not work.fate and (work.kind == "instruction") == instruction and work.size >= params.near_shortest
        ]
        accept, least = partial(is_copy, bound=bound), min(bound, params.near_slipped)
        for first, second, score in dedupe.near_pairs(drafts.texts_of(left), least, accept=accept):
            work = left[second]
            if not work.fate:
                work.aside("near_duplicate", f"of {left[first].id}, Jaccard {score:.2f}")
                hits["near_duplicate"] += 1


def mask(work: Work, text: str, records: list[Record], params: Params, memory: Memory) -> tuple[dict[str, int], list[str]]:
    """Replace personal data in the records, and the people's names.

    Returns {kind: replaced}, and the kinds that the other look (data.scan) still sees.
    """
    texts = [parts(record) for record in records]
    content = [work.id, work.kind, text, texts]
    context = f"mask {VERSION} {params.salt}"
    masked, found, left = memory.recall(work.id, context, content, partial(_masked, work, text, texts, params.salt))
    for record, part in zip(records, masked, strict=True):
        record.instruction, record.input, record.output = part[-3:]
        record.history = [part[place : place + 2] for place in range(0, len(part) - 3, 2)]
    return found, left


def _masked(work: Work, text: str, texts: list[list[str]], salt: str) -> tuple[list[list[str]], dict[str, int], list[str]]:
    masker = privacy.Masker(salt)
    people = masker.named(text, work.kind)
    masked = [[masker.mask_people(masker.mask(part, work.id), people) for part in record] for record in texts]
    left = sorted({kind for record in masked for part in record for kind in scan.scan(part)})
    return masked, dict(masker.counts), left


def finished(
    work: Work,
    drafts: Drafts,
    params: Params,
    memory: Memory,
    personal: Counter[str],
    hits: Counter[str],
    bare: Names,
) -> Iterator[Record]:
    """The used item's records as they are trained on: masked, with their provenance. Where something is left, none."""
    records, origin = drafts.read(work)
    found, left = mask(work, drafts.text(work), records, params, memory)
    if left:
        hits["personal_data"] += 1
        work.aside("personal_data", f"left after masking: {', '.join(left)}")
        return
    work.fate = "used"
    personal.update(found)
    for number, record in enumerate(records):
        name = work.id + (f".{number}" if work.derived else "")
        kept = {key: record.provenance[key] for key in ("law_day", "flags") if key in record.provenance}
        record.provenance = {"id": name, "parent": work.id, "licence": origin["licence"], "derived": work.derived} | kept
        record.provenance["locator"] = origin["locator"]
        add_subject(record, bare)
        yield record


def add_subject(record: Record, bare: Names) -> None:
    """Note in the record's provenance which laws it cites and what it is about."""
    text = "\n".join(parts(record))
    cited = [(bare.resolve(law), article) for law, article, _, _ in statutes.citations(text, bare)]
    asked = "\n".join([*(turn[0] for turn in record.history), record.instruction, record.input])
    asked = asked if record.category == "consultation" else ""
    laws, subject = subjects.describe(cited, text, record.category, asked)
    record.provenance |= {"laws": laws, "subject": subject}


def article_records(store: statutes.Store, items: Items, day: datetime.date, most: int) -> Iterator[Record]:
    """Questions on the articles in force, at most `most`; the choice is by hash, so that one article more moves no other."""
    works = {work.id: work for work in items.works if work.fate == "reference"}
    found, seen = [], set()
    for name in sorted(store.laws):
        for law in store.current(name, day):
            for number in law.articles:
                if (name, number) not in seen:
                    seen.add((name, number))
                    found.append((law, number))
    if len(found) > most:
        ranks = {(law.name, number): _rank(f"{law.name} {number}") for law, number in found}
        bound = sorted(ranks.values())[most - 1] if most else ""
        found = [(law, number) for law, number in found if ranks[law.name, number] <= bound]
    item: dict[str, Any] = {"id": ""}
    for law, number in found:
        if rules.GARBLED.search(law.articles[number]):  # broken bytes are not taught
            continue
        item = item if item["id"] == law.item else items.read(works[law.item])
        record = formats.from_article(law, number, item["source"])
        name = f"{law.item}.{law.part}.{number}" if law.part else f"{law.item}.{number}"
        record.provenance = {"id": name, "parent": law.item, "licence": item["licence"], "derived": True}
        record.provenance |= {"locator": item["locator"], "version": law.version}
        record.provenance |= {"laws": [law.name], "subject": subjects.of_law(law.name, number)}
        yield record


def _excerpt(item: dict[str, Any], masker: privacy.Masker) -> str:
    """The beginning of what was set aside, without personal data; nothing where some is left."""
    text = item["text"] if "text" in item else "\n".join(map(str, item["fields"].values()))
    return _hidden(text[:2000], item, text, masker)[:EXCERPT]


def _hidden(words: str, item: dict[str, Any], text: str, masker: privacy.Masker) -> str:
    """Words of an item, whose text is given, without personal data; nothing where some is left."""
    people = masker.named(text, item["kind"])
    masked = masker.mask_people(masker.mask(words, item["id"]), people)
    return "" if scan.scan(masked) else masked


def _detail(work: Work, item: dict[str, Any], masker: privacy.Masker) -> str:
    """The evidence of a rule quotes the item: it is shown without personal data."""
    if not work.detail or work.fate not in rules.NAMES:
        return work.detail
    text = item["text"] if "text" in item else "\n".join(map(str, item["fields"].values()))
    return _hidden(work.detail, item, text, masker)


def _rank(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Accounts:
    """Every item in exactly one place."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.rows: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, source: str, fate: str) -> None:
        place = fate if fate in ("used", "reference") else "set_aside"
        self.rows[source].update(["in", place])
        self.reasons.update([fate] if place == "set_aside" else [])

    def records(self) -> dict[str, Any]:
        """{in, used, reference, set_aside {reason: n}}."""
        total = sum(self.rows.values(), Counter[str]())
        counts: dict[str, Any] = {name: total[name] for name in ("in", "used", "reference")}
        return counts | {"set_aside": dict(sorted(self.reasons.items()))}

    def sources(self) -> list[dict[str, Any]]:
        """A row {name, in, used, reference, set_aside} per source."""
        names = ("in", "used", "reference", "set_aside")
        return [{"name": source} | {name: row[name] for name in names} for source, row in sorted(self.rows.items())]


def write_set_aside(items: Items, params: Params, accounts: Accounts) -> None:
    """Write set_aside.jsonl, what data.collect could not read before what was set aside here; account for every item."""
    hide = privacy.Masker(params.salt)
    with open(params.output / "set_aside.jsonl", "w", encoding="utf-8") as file:
        for row in items.set_aside():
            accounts.add(row["source"], row["reason"])
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        for work in items.works:
            accounts.add(work.source, work.fate)
            if work.fate not in ("used", "reference"):
                item = items.read(work)
                row = {name: item[name] for name in ("id", "kind", "source", "locator")}
                row |= {"reason": work.fate, "detail": _detail(work, item, hide), "excerpt": _excerpt(item, hide)}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


class Writer:
    """records.jsonl, and what the report tells of it."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "w", encoding="utf-8")  # noqa: SIM115
        self.categories: Counter[str] = Counter()
        self.subjects: Counter[str] = Counter()
        self.derived = 0

    def write(self, record: Record) -> None:
        self.file.write(to_line(record) + "\n")
        self.categories[record.category] += 1
        self.subjects[record.provenance["subject"]] += 1
        self.derived += record.provenance["derived"]


def run(params: Params) -> Report:
    started = time.time()
    hits, personal = Counter[str](), Counter[str]()
    memory = Memory(open_store().root / ".documents" / "clean.sqlite" if params.remember else None)
    with opened(params.items, params.output) as (items, drafts):
        laws = lawpages.read_laws(items)
        store = statutes.Store(laws)
        exams = decontaminate.read_exams(params.items, params.leak_shortest)
        exams.exempt(text for law in laws for text in [*law.articles.values(), law.annex])
        judge = _Judge(store, exams, params, memory)
        contaminated = apply_rules(items, drafts, judge, hits, params.output / "contamination.jsonl")
        drop_duplicates([work for work in items.works if not work.fate], drafts, params, hits)
        writer = Writer(params.output / "records.jsonl")
        used = (
            record
            for work in items.works
            if not work.fate
            for record in finished(work, drafts, params, memory, personal, hits, store.bare)
        )
        rewriter = (
            rewrite.Rewriter(params.endpoint(), params.rewrite_categories, judge.fault, memory) if params.rewrite_url else None
        )
        for record in rewriter(used) if rewriter else used:
            writer.write(record)
        for record in article_records(store, items, params.as_of, params.statute_records):
            writer.write(record)
        writer.file.close()
        accounts = Accounts()
        write_set_aside(items, params, accounts)
    memory.close()
    statutes.write_store(params.output / "statutes.jsonl", laws)
    counts = accounts.records() | {"derived": writer.derived}
    (params.output / "accounts.json").write_text(json.dumps(counts, ensure_ascii=False, indent=1) + "\n", "utf-8")
    print(f"{len(memory.seen) - len(memory.new)} of {len(memory.seen)} documents were known from an earlier run")
    print(f"in {counts['in']}: used {counts['used']}, reference {counts['reference']}, set aside {counts['set_aside']}")
    return Report(
        records=counts,
        written=sum(writer.categories.values()),
        categories=dict(sorted(writer.categories.items())),
        subjects=dict(sorted(writer.subjects.items())),
        hits=dict(sorted(hits.items())),
        personal_data=dict(sorted(personal.items())),
        contaminated=contaminated,
        laws=len(laws),
        articles=sum(len(law.articles) for law in laws),
        sources=accounts.sources(),
        rewritten=dict(sorted(rewriter.counts.items())) if rewriter else {},
        documents={"new": len(memory.new), "known": len(memory.seen - memory.new)},
        seconds=round(time.time() - started, 1),
    )


if __name__ == "__main__":
    sys.exit(main("legal_tasks.data.clean"))
