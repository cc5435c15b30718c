"""Read all sources into one list of items, and all exams into one form; nothing is judged yet.

    python -m legal_tasks.data.collect --profile small --sources sources.yaml --as-of 2026-11-01

The artifact: items.jsonl {id, kind, source, licence, locator, format, text|fields}, set_aside.jsonl (what could not be read),
exams/<name>.jsonl (what can be asked) and exam_questions.jsonl {exam, line, question, options} (all of it, to be kept out of
the training set; `line` counts the exam's records from 1, lines of a JSON Lines file). card/exams.json {name: {origin, file,
digest, count}} says which file an exam is, and is no part of the content: a moved exam trains nothing anew. An item's id comes
from its content, so renamed and shuffled files give the same ids.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from legal_tasks.artifacts import digest_files, sha256_file
from legal_tasks.data import apart, archives, costs, documents, encodings, foreign, large, readers, sources, tombstones
from legal_tasks.data import exams as layouts
from legal_tasks.evaluation import names
from legal_tasks.evaluation.items import by_kind
from legal_tasks.evaluation.rules import STANDING
from legal_tasks.step import Output, StepError, main, progress

VERSION = 10
EMBEDDED = "embedded"
CARD = "card/exams.json"
LICENCES = ("MIT", "Apache-2.0", "CC0-1.0", "CC-BY-4.0", "BSD-3-Clause", "public-domain")


@dataclass(frozen=True)
class Params:
    output: Annotated[Path, Output("folder with items.jsonl, set_aside.jsonl and exams/")]
    as_of: Annotated[datetime.date, "first day of the period"]
    sources: Annotated[str, "a YAML that lists the sources, or `embedded` for the world that comes with the project"] = EMBEDDED
    seed: Annotated[int, "seed of the embedded world"] = 0
    licences: Annotated[tuple[str, ...], "licences that may be trained on, where the YAML lists none"] = LICENCES


@dataclass
class Report:
    items: dict[str, Any]  # in, collected, set_aside {reason: n}
    sources: list[dict[str, Any]]  # name, kind, licence, files, in, collected, set_aside
    exams: dict[str, dict[str, Any]]  # name -> in, kept, left_out {why: n}
    as_of: str
    seconds: float


def extra_inputs(params: Params) -> dict[str, Path]:
    """The YAML and every file that it names (for the embedded world, the code that writes it), and the tombstones."""
    forgotten = {"tombstones": tombstones.path_of()} if tombstones.read() else {}
    if params.sources == EMBEDDED:
        folder = Path(__file__).resolve().parents[1] / "embedded"
        return forgotten | {f"embedded/{file.relative_to(folder).as_posix()}": file for file in sorted(folder.rglob("*.py"))}
    path = Path(params.sources)
    found = sources.load(path, params.licences)
    named = forgotten | {"sources": path}
    for group, entries in (("source", found.sources), ("exam", found.exams)):
        for entry in entries:
            for file, place in entry.files:
                _readable(file)
                named[f"{group}/{entry.name}/{place}"] = file
    return named | {f"stock/{folder.name}": folder for folder in found.stock}


def _readable(file: Path) -> None:
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        raise StepError(
            f"{file} cannot be read ({error.strerror}): mend its permissions or take it out of the sources"
        ) from error


@contextmanager
def _yaml(params: Params) -> Iterator[Path]:
    if params.sources != EMBEDDED:
        yield Path(params.sources)
        return
    from legal_tasks.embedded import world

    with tempfile.TemporaryDirectory(prefix="lexloop-world-") as folder:
        world.write(Path(folder), params.seed)
        yield Path(folder) / "sources.yaml"


def read_file(source: sources.Source, file: Path, place: str) -> Iterator[tuple[str, str, Iterable[readers.Piece]]]:
    """(place, format, pieces) of a file, of every file in it if it is an archive.

    What cannot be read is a broken piece; StepError if the YAML names this very file.
    """
    try:
        streamed = large.line_pieces(file, source.form)
        if streamed is not None:
            yield place, "jsonl", streamed
            return
        costs.check_size(file.stat().st_size)
        data = file.read_bytes()
        if readers.binary_form(data) != "zip" or foreign.kind_of(data) is not None:
            yield place, *read_data(source, str(file), place, data)
            return
        del data
        for name, content in archives.members(file):
            if isinstance(content, archives.Refused):
                yield f"{place}/{name}", "unknown", [readers.Piece("", broken=str(content), reason=content.reason)]
            else:
                inner = replace(source, alone=False)
                yield f"{place}/{name}", *read_data(inner, f"{file}/{name}", f"{place}/{name}", content)
    except costs.TooCostly as error:
        yield place, "unknown", [readers.Piece("", broken=str(error), reason=error.reason)]
    except archives.Refused as refused:
        if source.alone:
            raise StepError(f"{file} {refused}; mend it or take it out of the sources") from refused
        yield place, "unknown", [readers.Piece("", broken=str(refused), reason=refused.reason)]
    except OSError as error:
        if source.alone:
            raise StepError(f"{file} cannot be read ({error}): mend it or take it out of the sources") from error
        reason = "vanished" if isinstance(error, FileNotFoundError) else "unreadable"
        yield place, "unknown", [readers.Piece("", broken=f"cannot be read: {error.strerror}", reason=reason)]


def read_data(source: sources.Source, file: str, place: str, data: bytes) -> tuple[str, Iterable[readers.Piece]]:
    """(format, pieces) of a file's content; StepError if the YAML names this very file and it is no text of any kind."""
    if not data.strip():
        return "unknown", [readers.Piece("", broken="the file is empty", reason="empty")]
    if other := foreign.kind_of(data):
        return "unknown", [readers.Piece("", broken=other.why, reason=other.reason)]
    try:
        binary = readers.binary_form(data)
        if binary == "zip":
            raise documents.Unreadable("is an archive in an archive: unpack it")
        if binary:
            return binary, readers.binary_pieces(data, binary)
        with costs.alarm(costs.text_s(len(data)), "what the text is"):
            text, _ = encodings.decode(data)
            del data  # as large as the text
            form = source.form or readers.sniff(text, place)
    except costs.TooCostly as error:
        return "unknown", [readers.Piece("", broken=str(error), reason=error.reason)]
    except apart.Missing as missing:
        raise StepError(f"{file} cannot be read: the package {missing} is not installed here; make up builds it") from missing
    except documents.Unreadable as error:
        if source.alone:
            raise StepError(f"{file} {error}; convert it to UTF-8 text, or take it out of the sources") from error
        return "unknown", [readers.Piece("", broken=f"unreadable: {error}", reason="unreadable")]
    if source.form in readers.BINARY:
        raise StepError(f"{file} is not {source.form.upper()} as its `format` says; correct `format` or leave it out")
    return form, readers.pieces(text, form, place)


def _digest(kind: str, piece: readers.Piece) -> str:
    content = piece.text if piece.text is not None else piece.fields if piece.fields is not None else [piece.broken, piece.place]
    return hashlib.sha256(json.dumps([kind, content], ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:16]


def items_of(source: sources.Source, seen: Counter[str]) -> Iterator[tuple[dict[str, Any], readers.Piece]]:
    """(item, its piece) for every source item of a source; a broken one has no content."""
    for place, piece in _passed_over(source):
        yield _item(source, place, "unknown", piece, seen)
    for file, place in source.files:
        for inner, form, found in read_file(source, file, place):
            for piece in found:
                yield _item(source, inner, form, piece, seen)


def _passed_over(source: sources.Source) -> Iterator[tuple[str, readers.Piece]]:
    """(place, why it is not read) of what lies among the source's files and is none."""
    for link in source.links:
        yield link, readers.Piece("", broken="a link is not followed: name its target", reason="link")
    for name, why in source.refused:
        yield name, readers.Piece("", broken=f"the object {name[:100]!r} {why}: rename it in the bucket", reason="unsafe_path")


def _item(
    source: sources.Source, place: str, form: str, piece: readers.Piece, seen: Counter[str]
) -> tuple[dict[str, Any], readers.Piece]:
    digest = _digest(source.kind, piece)
    seen[digest] += 1
    name = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    item: dict[str, Any] = {"id": name, "kind": source.kind, "source": source.name, "licence": source.licence}
    item |= {"locator": f"{place}#{piece.place}" if piece.place else place, "format": form}
    if piece.broken is None:
        item |= {"fields": piece.fields} if piece.fields is not None else {"text": piece.text}
    return item, piece


def words_of_piece(piece: readers.Piece) -> str:
    return tombstones.words_of([piece.fields, piece.text])


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def collect_sources(found: sources.Sources, output: Path) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Write items.jsonl and set_aside.jsonl; return a row per source and the reasons."""
    rows, reasons, seen = [], Counter[str](), Counter[str]()
    matcher = tombstones.Matcher(tombstones.read())
    with (
        open(output / "items.jsonl", "w", encoding="utf-8") as good,
        open(output / "set_aside.jsonl", "w", encoding="utf-8") as bad,
    ):
        for number, source in enumerate(found.sources, 1):
            kept, aside = 0, 0
            for item, piece in items_of(source, seen):
                stone = matcher.item(item["id"], item.get("fields", item.get("text")))
                if stone is not None:
                    piece = replace(piece, broken=f"tombstone {stone}", reason="forgotten")
                if piece.broken is None:
                    kept += 1
                    good.write(_line(item))
                else:
                    aside += 1
                    reasons[piece.reason] += 1
                    row = {"id": item["id"], "kind": source.kind, "source": source.name, "locator": item["locator"]}
                    bad.write(_line(row | {"reason": piece.reason, "detail": piece.broken[:300]}))
            row = {"name": source.name, "kind": source.kind, "licence": source.licence, "files": len(source.files)}
            rows.append(row | {"in": kept + aside, "collected": kept, "set_aside": aside})
            progress(number, len(found.sources), source=source.name, items=kept)
    return rows, reasons


def collect_exams(found: sources.Sources, folder: Path, words: Path) -> dict[str, dict[str, Any]]:
    """Write <folder>/<name>.jsonl for every exam, and all questions to `words`; StepError if one has none that can be asked."""
    folder.mkdir()
    report, questions, taken = {}, [], names.Names()
    matcher = tombstones.Matcher(tombstones.read())
    for exam in found.exams:
        kept, left_out = [], Counter(str(piece.broken) for _, piece in _passed_over(exam))
        total = left_out.total()
        parts = [(name, list(pieces)) for file, place in exam.files for name, _, pieces in read_file(exam, file, place)]
        places = [place for place, _ in parts]
        for place, piece in ((place, piece) for place, pieces in parts for piece in pieces):
            total += 1
            category = Path(place).stem if len(parts) > 1 else ""
            split = layouts.split_of(place, places)
            forgotten = bool(matcher.text(words_of_piece(piece)))
            question, options, item, why = _asked(exam, piece, total, category)
            # What is asked in taught words, as a control, is no leak.
            if question and (piece.fields or {}).get("wording") != "seen" and not forgotten:
                line = int(piece.place[5:]) if piece.place.startswith("line ") else total
                questions.append({"exam": exam.name, "line": line, "question": question, "options": options})
            if forgotten:
                item, why = None, "forgotten"
            if item is None:
                left_out[piece.broken or why] += 1
            else:
                kept.append(item if split == "test" else item | {"split": split})
        names.check_items(exam.name, kept, f"the exam {exam.given}")
        for part in by_kind(exam.name, kept) if kept else ():
            taken.take(part, exam.given)
        if not kept:
            why = "; ".join(f"{text} ({count}x)" for text, count in left_out.most_common(3))
            raise StepError(f"the exam {exam.name} ({exam.files[0][0]}) has no item that can be asked: {why}; correct `exams`")
        ids = Counter(item["id"] for item in kept)
        for number, item in enumerate(kept):
            if ids[item["id"]] > 1:
                item["id"] = f"{item['id']}-{number}"
        (folder / f"{exam.name}.jsonl").write_text("".join(map(_line, kept)), "utf-8")
        report[exam.name] = {"in": total, "kept": len(kept), "left_out": dict(left_out)}
    words.write_text("".join(map(_line, questions)), "utf-8")
    for stock in found.stock:
        shutil.copytree(stock, folder / stock.name)
    return report


def _asked(
    exam: sources.Source, piece: readers.Piece, number: int, category: str
) -> tuple[str, list[str], dict[str, Any] | None, str]:
    """(question, options, item or None, why there is none) of one piece of an exam."""
    fields = piece.fields or {}
    size = sum(len(value) for value in fields.values() if isinstance(value, str)) or len(piece.text or "")
    try:
        with costs.alarm(costs.text_s(size), "one question"):
            return *layouts.words(fields or {"text": piece.text or ""}), *layouts.normalise(
                fields, exam.name, number, exam.kind, category
            )
    except costs.TooCostly as error:
        return "", [], None, str(error)


def write_card(found: sources.Sources, folder: Path, origin: str, report: dict[str, dict[str, Any]]) -> None:
    """card/exams.json: of every exam its origin, the file as the YAML names it, that file's digest, and the items kept."""
    (folder / "card").mkdir()
    card = {
        exam.name: {
            "origin": origin,
            "file": exam.given,
            "digest": sha256_file(exam.files[0][0])
            if exam.alone
            else digest_files({place: sha256_file(file) for file, place in exam.files}),
            "count": report[exam.name]["kept"],
        }
        for exam in found.exams
    }
    (folder / CARD).write_text(json.dumps(card, ensure_ascii=False, indent=1) + "\n", "utf-8")


def run(params: Params) -> Report:
    started = time.time()
    with _yaml(params) as path:
        found = sources.load(path, params.licences)
        rows, reasons = collect_sources(found, params.output)
        exam_report = collect_exams(found, params.output / "exams", params.output / "exam_questions.jsonl")
        write_card(found, params.output, EMBEDDED if params.sources == EMBEDDED else "sources", exam_report)
    totals = {name: sum(row[name] for row in rows) for name in ("in", "collected")}
    print(f"collected {totals['collected']} of {totals['in']} items from {len(rows)} sources, {len(exam_report)} exams")
    absent = [name for name in STANDING if name not in exam_report]
    if absent and not (found.stock and absent == [names.POOLED]):
        print(
            f"no exam is called {' or '.join(absent)}: the gate lets no model through without these; list your own under "
            "`exams`, or name others by evaluation.harness.standing (a folder, or `embedded` for the little world's own)"
        )
    items = totals | {"set_aside": dict(sorted(reasons.items()))}
    return Report(items, rows, exam_report, params.as_of.isoformat(), round(time.time() - started, 1))


if __name__ == "__main__":
    sys.exit(main("legal_tasks.data.collect"))
