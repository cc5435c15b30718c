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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from legal_tasks.data import decontaminate, dedupe, formats, privacy, rules, statutes
from legal_tasks.data.memory import Memory
from legal_tasks.data.variants import is_variant
from legal_tasks.records import Record, write_records
from legal_tasks.step import Input, Output, Runtime, StepError, main, progress
from legal_tasks.step import store as open_store

VERSION = 9
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
    near_shortest: Annotated[int, "characters from which near-duplicates are looked for"] = 60
    leak: Annotated[float, "share of a question's 8-grams (reworded: 5-grams) from which a record is an exam leak"] = 0.8
    leak_shortest: Annotated[int, "characters of question and option from which a leak is looked for"] = 24
    quotation: Annotated[float, "share of a quotation's 5-grams that the article must hold"] = 0.6
    shortest_answer: Annotated[int, "characters; instruction items may be shorter"] = 10
    longest: Annotated[int, "characters of a whole record"] = 8000
    statute_records: Annotated[int, "largest number of article records"] = 2000
    salt: Annotated[str, "salt of the pseudonyms"] = "lexloop"
    remember: Annotated[bool, Runtime("use and keep what earlier runs found out about single documents")] = True

    def __post_init__(self) -> None:
        for name in ("near_duplicate", "near_duplicate_instruction", "leak", "quotation"):
            if not 0 < getattr(self, name) <= 1:
                raise StepError(f"data.clean.{name} is {getattr(self, name)}; it must lie above 0 and at most at 1")
        if self.statute_records < 0 or self.longest < 1:
            raise StepError("data.clean.statute_records must be 0 or more, data.clean.longest 1 or more")


@dataclass
class Report:
    records: dict[str, Any]  # in, used, reference, set_aside {reason: n}, derived
    written: int
    categories: dict[str, int]
    hits: dict[str, int]  # all hits of each rule, not only those where it was first
    personal_data: dict[str, int]
    contaminated: int
    laws: int
    articles: int
    sources: list[dict[str, Any]]  # name, in, used, reference, set_aside
    documents: dict[str, int]  # new: something had to be found out about them; known: all was known from an earlier run
    seconds: float


@dataclass
class Work:
    """What is known of one item while it goes through the rules."""

    item: dict[str, Any]
    records: list[Record] = field(default_factory=list)
    fate: str = ""  # "", "used", "reference", or the reason for which it is set aside
    detail: str = ""
    derived: bool = False

    def aside(self, reason: str, detail: str = "") -> None:
        self.fate, self.detail = reason, detail

    def text(self) -> str:
        """What the item says: the text, or question and answer without our own frame."""
        if "text" in self.item:
            return self.item["text"]
        return "\n".join(part for record in self.records for part in _parts(record))


def _parts(record: Record) -> list[str]:
    return [*(part for turn in record.history for part in turn), record.instruction, record.input, record.output]


def load(folder: Path) -> tuple[list[Work], list[dict[str, Any]]]:
    """(work per collected item in the order of ids, rows that collect set aside)."""
    path = folder / "items.jsonl"
    if not path.is_file():
        raise StepError(f"--items {folder} holds no items.jsonl: name the artifact of data.collect")
    items = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    aside = [json.loads(line) for line in (folder / "set_aside.jsonl").read_text("utf-8").split("\n") if line]
    return [Work(item) for item in sorted(items, key=lambda item: item["id"])], aside


def read_laws(works: list[Work]) -> list[statutes.Law]:
    """Parse the statutes; their items become reference, or are set aside as pages without articles.

    A part of a code (第三编 合同) is named after the one page of its folder that is no part, and shares its dates.
    """
    pages = [work for work in works if work.item["kind"] == "statute" and "text" in work.item]
    heads = _heads(pages)
    laws, codes = [], defaultdict[tuple[str, str, str], list[statutes.Law]](list)
    for work in pages:
        text, place = formats.clean_text(work.item["text"]), work.item["locator"]
        if formats.is_case(text):
            work.item["kind"] = "case"
            continue
        folder, _, name = place.rpartition("/")
        title, hint = formats.title_of(text, name), name
        above, dates = heads.get((work.item["source"], folder), ("", ""))
        if above and title != above:
            title, hint = statutes.part_title(title, above), f"{name} {dates}"
        law = statutes.parse_law(text, title, work.item["id"], hint) or statutes.parse_document(
            text, title, work.item["id"], hint
        )
        if law is None:
            work.aside("no_articles", "a page of a statute source without articles")
            continue
        laws.append(law)
        codes[work.item["source"], folder, law.name].append(law)
        work.fate = "reference"
    for parts in codes.values():
        statutes.unite(parts)
    return laws


def _heads(pages: list[Work]) -> dict[tuple[str, str], tuple[str, str]]:
    """{(source, folder): (title, beginning of the text)} of the page above the parts of a code, whatever the files are called."""
    folders = defaultdict[tuple[str, str], list[tuple[str, str]]](list)
    for work in pages:
        folder, _, name = work.item["locator"].rpartition("/")
        text = formats.clean_text(work.item["text"])
        folders[work.item["source"], folder].append((formats.title_of(text, name), text))
    heads = {}
    for place, titles in folders.items():
        whole = [
            (title, text[:4000]) for title, text in titles if not statutes.is_part(title) and not statutes.is_decision(title)
        ]
        if len(whole) == 1 and any(statutes.is_part(title) for title, _ in titles):
            heads[place] = whole[0]
    return heads


def make_records(work: Work) -> None:
    """Fill work.records; an item that yields none is set aside as empty, short of an answer, or without reasoning."""
    item = work.item
    if "fields" in item:
        record = formats.from_fields(item)
        if record is None:
            empty = not any(str(value or "").strip() for value in item["fields"].values())
            work.aside("empty" if empty else "no_answer", f"keys: {', '.join(map(str, item['fields']))[:120]}")
            return
        work.records = [record]
        return
    text = formats.clean_text(item["text"])
    if len(text) < 20:
        work.aside("too_short")
        return
    makers = {"case": formats.from_case, "contract": formats.from_sections, "document": formats.from_document}
    maker = makers.get(item["kind"])
    work.records = maker(text, item) if maker else []
    work.derived = len(work.records) > 1
    if not work.records:
        work.aside("no_reasoning" if item["kind"] == "case" else "no_answer", "no question and answer in the text")


def apply_rules(
    works: list[Work], store: statutes.Store, exams: decontaminate.Exams, params: Params, hits: Counter[str], memory: Memory
) -> list[dict[str, Any]]:
    """Keep the records that break no rule and stand in no exam; return the pairs of record and exam question.

    An item without any record left is set aside for the first reason of its first record. All hits are counted.
    """
    pairs: list[dict[str, Any]] = []
    judge = _Judge(store, exams, params, memory)
    started = time.time()
    for number, work in enumerate(works, 1):
        if number % TOLD == 0 or number == len(works):
            progress(number, len(works), stage="rules", items_per_second=round(number / max(time.time() - started, 0.001)))
        kept, reason = [], ("", "")
        for record in work.records:
            found, leaks = judge(work, record)
            for exam, line, score, rule in leaks:
                row = {"exam": exam, "line": line, "source": work.item["source"], "item": work.item["id"]}
                pairs.append(row | {"score": score, "rule": rule})
            detail = f"{leaks[0][0]} line {leaks[0][1]}" if leaks else ""
            hits.update(found)
            if not found:
                kept.append(record)
            elif not reason[0]:
                reason = (found[0], detail if found[0] == "exam_leak" else "")
        work.records = kept
        if not kept:
            work.aside(*reason)
    return pairs


class _Judge:
    """All rules on one record, each with what the memory must know to use its result again."""

    def __init__(self, store: statutes.Store, exams: decontaminate.Exams, params: Params, memory: Memory) -> None:
        self.store, self.exams, self.params, self.memory = store, exams, params, memory
        self.laws = _rank(store.bare.pattern)
        self.leaks = f"leaks {VERSION} {exams.digest()} {params.leak}"

    def __call__(self, work: Work, record: Record) -> tuple[list[str], list[tuple[str, int, float, str]]]:
        """(names of the rules that the record breaks, [(exam, line, score, rule)])."""
        params, name, parts, answers = self.params, work.item["id"], _parts(record), rules.answers_of(record)
        shortest = params.shortest_answer if _is_prose(work) else 1
        context = f"rules {VERSION} {shortest} {params.longest} {record.category}"
        found = self.memory.recall(name, context, parts, lambda: rules.text_hits(record, shortest, params.longest))
        context = f"citations {VERSION} {self.laws}"
        cites = self.memory.recall(name, context, answers, lambda: list(statutes.citations(answers, self.store.bare)))
        leaks = self.memory.recall(name, self.leaks, parts, lambda: self._leaks(parts))
        found = found + rules.cited(self.store.judge_found(cites, params.as_of, params.quotation))
        return found + (["exam_leak"] if leaks else []), leaks

    def _leaks(self, parts: list[str]) -> list[tuple[str, int, float, str]]:
        found = self.exams.matches("\n".join(parts), self.params.leak)
        return [(one.question.exam, one.question.line, round(one.score, 3), one.rule) for one in found]


def _is_prose(work: Work) -> bool:
    """Whether a very short answer would be a fault: not in instruction items, nor where a letter or a charge is asked for."""
    fields = work.item.get("fields", {})
    return work.item["kind"] != "instruction" and "answer" not in fields and "crime" not in fields


def is_copy(first: str, second: str) -> bool:
    return not is_variant(first, second)


def drop_duplicates(works: list[Work], params: Params, hits: Counter[str]) -> None:
    """Of equal and nearly equal items the longest stays (the smaller id among equals)."""
    works = sorted(works, key=lambda work: (-len(work.text()), work.item["id"]))
    texts = [work.text() for work in works]
    for group in dedupe.exact_groups(texts):
        for place in group[1:]:
            works[place].aside("duplicate", f"of {works[group[0]].item['id']}")
            hits["duplicate"] += 1
    for instruction, bound in ((False, params.near_duplicate), (True, params.near_duplicate_instruction)):
        places = [
            place
            for place, work in enumerate(works)
            if not work.fate and (work.item["kind"] == "instruction") == instruction and len(texts[place]) >= params.near_shortest
        ]
        for first, second, score in dedupe.near_pairs([texts[place] for place in places], bound, accept=is_copy):
            work = works[places[second]]
            if not work.fate:
                work.aside("near_duplicate", f"of {works[places[first]].item['id']}, Jaccard {score:.2f}")
                hits["near_duplicate"] += 1


def mask(works: list[Work], params: Params, memory: Memory) -> Counter[str]:
    """Replace personal data in every record, in judgments and dialogs also the people's names; return {kind: replaced}."""
    counts = Counter[str]()
    for work in works:
        texts = [_parts(record) for record in work.records]
        content = [work.item["id"], work.item["kind"], work.text(), texts]
        context = f"mask {VERSION} {params.salt}"
        masked, found = memory.recall(work.item["id"], context, content, partial(_masked, work, texts, params.salt))
        counts.update(found)
        for record, parts in zip(work.records, masked, strict=True):
            record.instruction, record.input, record.output = parts[-3:]
            record.history = [parts[place : place + 2] for place in range(0, len(parts) - 3, 2)]
    return counts


def _masked(work: Work, texts: list[list[str]], salt: str) -> tuple[list[list[str]], dict[str, int]]:
    masker = privacy.Masker(salt)
    find = {"case": masker.people, "consultation": masker.speakers, "document": masker.speakers}.get(work.item["kind"])
    people, document = find(work.text()) if find else [], work.item["id"]
    masked = [[masker.mask(masker.mask_people(text, people), document) for text in parts] for parts in texts]
    return masked, dict(masker.counts)


def finish(works: list[Work]) -> list[Record]:
    """Records with their provenance; an item is used if it gives at least one."""
    records = []
    for work in works:
        if work.fate or not work.records:
            continue
        work.fate = "used"
        for number, record in enumerate(work.records):
            name = work.item["id"] + (f".{number}" if work.derived else "")
            record.provenance = {"id": name, "parent": work.item["id"], "licence": work.item["licence"], "derived": work.derived}
            record.provenance["locator"] = work.item["locator"]
            records.append(record)
    return records


def article_records(store: statutes.Store, works: list[Work], day: datetime.date, most: int) -> list[Record]:
    """Questions on the articles in force, at most `most`; the choice is by hash, so that one article more moves no other."""
    items = {work.item["id"]: work.item for work in works}
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
    records = []
    for law, number in found:
        item = items[law.item]
        record = formats.from_article(law, number, item["source"])
        record.provenance = {"id": f"{law.item}.{number}", "parent": law.item, "licence": item["licence"], "derived": True}
        record.provenance |= {"locator": item["locator"], "version": law.version}
        records.append(record)
    return records


def _excerpt(work: Work, masker: privacy.Masker) -> str:
    """The beginning of what was set aside, without personal data."""
    text = work.item["text"] if "text" in work.item else "\n".join(map(str, work.item["fields"].values()))
    people = masker.people(text) if work.item["kind"] == "case" else masker.speakers(text)
    return masker.mask(masker.mask_people(text[:2000], people), work.item["id"])[:EXCERPT]


def _rank(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def account(works: list[Work], aside: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(records of the report but `derived`, a row per source); every item in exactly one place."""
    reasons, rows = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for source, fate in [(work.item["source"], work.fate) for work in works] + [(row["source"], row["reason"]) for row in aside]:
        place = fate if fate in ("used", "reference") else "set_aside"
        rows[source].update(["in", place])
        reasons.update([fate] if place == "set_aside" else [])
    total = sum(rows.values(), Counter[str]())
    report = {
        "in": total["in"],
        "used": total["used"],
        "reference": total["reference"],
        "set_aside": dict(sorted(reasons.items())),
    }
    names = ("in", "used", "reference", "set_aside")
    return report, [{"name": source} | {name: row[name] for name in names} for source, row in sorted(rows.items())]


def run(params: Params) -> Report:
    started = time.time()
    works, aside = load(params.items)
    laws = read_laws(works)
    store = statutes.Store(laws)
    hits = Counter[str]()
    memory = Memory(open_store().root / ".documents" / "clean.sqlite" if params.remember else None)
    for work in works:
        if not work.fate:
            make_records(work)
    exams = decontaminate.read_exams(params.items, params.leak_shortest)
    exams.exempt(text for law in laws for text in law.articles.values())
    pairs = apply_rules([work for work in works if not work.fate], store, exams, params, hits, memory)
    drop_duplicates([work for work in works if not work.fate], params, hits)
    personal = mask([work for work in works if not work.fate], params, memory)
    memory.close()
    print(f"{len(memory.seen) - len(memory.new)} of {len(memory.seen)} documents were known from an earlier run")
    records = finish(works) + article_records(store, works, params.as_of, params.statute_records)
    return _write(params, works, aside, laws, records, pairs, hits, personal, memory, started)


def _write(
    params: Params,
    works: list[Work],
    aside: list[dict[str, Any]],
    laws: list[statutes.Law],
    records: list[Record],
    pairs: list[dict[str, Any]],
    hits: Counter[str],
    personal: Counter[str],
    memory: Memory,
    started: float,
) -> Report:
    output = params.output
    written = write_records(output / "records.jsonl", records)
    statutes.write_store(output / "statutes.jsonl", laws)
    lines, hide = list(aside), privacy.Masker(params.salt)
    for work in works:
        if work.fate not in ("used", "reference"):
            row = {name: work.item[name] for name in ("id", "kind", "source", "locator")}
            lines.append(row | {"reason": work.fate, "detail": work.detail, "excerpt": _excerpt(work, hide)})
    for name, rows in (("set_aside", lines), ("contamination", pairs)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (output / f"{name}.jsonl").write_text(text, "utf-8")
    counts, rows = account(works, aside)
    counts["derived"] = sum(record.provenance["derived"] for record in records)
    (output / "accounts.json").write_text(json.dumps(counts, ensure_ascii=False, indent=1) + "\n", "utf-8")
    contaminated = len({pair["item"] for pair in pairs})
    categories = dict(sorted(Counter(record.category for record in records).items()))
    print(f"in {counts['in']}: used {counts['used']}, reference {counts['reference']}, set aside {counts['set_aside']}")
    articles = sum(len(law.articles) for law in laws)
    seconds = round(time.time() - started, 1)
    found = dict(sorted(hits.items()))
    documents = {"new": len(memory.new), "known": len(memory.seen - memory.new)}
    kinds = dict(sorted(personal.items()))
    return Report(counts, written, categories, found, kinds, contaminated, len(laws), articles, rows, documents, seconds)


if __name__ == "__main__":
    sys.exit(main("legal_tasks.data.clean"))
