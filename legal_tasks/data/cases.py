"""Small inputs with the outcome that is right, run through the data phase's own readers, cleaning and checkers as a month would.

    make cases DIR=folder
    python -m legal_tasks.data.cases folder [--profile small]

A folder holds any of these files, and the inputs that they name:

answers.jsonl         {answer, options, letters}: what evaluation.extract must read out of an answer; "" is an abstention
citations.jsonl       {text, citations: [[law, article]]}: which citations a text holds; citation_laws.json lists the laws' names
cases.yaml            a list of {path, kind, ...}: a file or a folder, its kind of source (in a folder {file: kind} too), and
    laws              {name: number of articles} of the whole statute store
    used              items used
    contains, lacks   texts that the records and articles (do not) hold; `once`: texts that they hold one time
    aside             true, false, or a word in the reason or detail of what was set aside

A line per case says what was seen. Exit code: 0 all pass, 1 one fails, 2 the folder is not laid out so.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from legal_tasks import yamls
from legal_tasks.data import clean, collect, sources, statutes
from legal_tasks.data.citing import UNREADABLE
from legal_tasks.data.works import parts
from legal_tasks.evaluation import extract
from legal_tasks.records import read_records
from legal_tasks.step import EXIT_CALLER, EXIT_DONE, StepError, build_params

FAILED = 1
FILES = ("answers.jsonl", "citations.jsonl", "cases.yaml")
LICENCE = "CC0-1.0"  # our own texts; no licence is judged here
CHECKS: dict[str, Any] = {"laws": dict, "used": int, "contains": list, "lacks": list, "once": list, "aside": (bool, str)}
SHOWN = 300  # characters of what was seen

Outcome = tuple[str, bool, str]  # path, whether it passes, what was seen


@dataclass
class Seen:
    """What the data phase made of one case."""

    used: int = 0
    aside: list[tuple[str, str]] = field(default_factory=list)  # (reason, detail)
    records: list[str] = field(default_factory=list)
    laws: dict[str, list[int]] = field(default_factory=dict)  # name -> articles of each version
    articles: list[str] = field(default_factory=list)

    def line(self) -> str:
        laws = ", ".join(f"{name}: {'+'.join(map(str, counts))}" for name, counts in self.laws.items())
        aside = "; ".join(f"{reason} ({detail})" if detail else reason for reason, detail in self.aside)
        return f"used {self.used}" + (f"; laws {laws}" if laws else "") + (f"; set aside: {aside}" if aside else "")


def outcomes(folder: Path, profile: str | None = None) -> Iterator[Outcome]:
    """Every case of the folder, one after the other; StepError where it is not laid out as it should be."""
    if not folder.is_dir():
        raise StepError(f"DIR={folder} is no folder: name one that holds {', '.join(FILES)} or some of them")
    if not any((folder / name).is_file() for name in FILES):
        raise StepError(f"DIR={folder} holds none of {', '.join(FILES)}: nothing says what is right")
    listed = list(_listed(folder))  # what is laid out wrongly is said before anything runs
    answers, cited = _lines(folder / "answers.jsonl", ANSWERS), _lines(folder / "citations.jsonl", CITATIONS)
    names = _laws(folder / "citation_laws.json") if cited else []
    for path, row in answers:
        yield _checked(path, lambda row=row: _answer(row))  # type: ignore[misc]
    for path, row in cited:
        yield _checked(path, lambda row=row: _citations(row, names))  # type: ignore[misc]
    for case in listed:
        yield _checked(case["path"], lambda case=case: _judge(case, _run(folder, case, profile)))  # type: ignore[misc]


def _checked(path: str, check: Callable[[], tuple[bool, str]]) -> Outcome:
    """The case's outcome; an exception is a failure of that case alone."""
    try:
        return path, *check()
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return path, False, f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"


# What the files must hold

ANSWERS = {"answer": str, "options": dict, "letters": str}
CITATIONS = {"text": str, "citations": list}


def _lines(path: Path, keys: Mapping[str, type]) -> list[tuple[str, dict[str, Any]]]:
    """(place, row) of each line; [] where there is no such file."""
    rows: list[tuple[str, dict[str, Any]]] = []
    if not path.is_file():
        return rows
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path.name}:{number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise StepError(f"{path}, line {number} is not JSON: {error}; correct it") from error
            for key, kind in keys.items():
                if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                    raise StepError(f"{path}, line {number}: `{key}` must be a {kind.__name__}; correct it")
            rows.append((place, row))
    return rows


def _laws(path: Path) -> list[str]:
    try:
        names = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StepError(f"{path} must list the names of the laws that citations.jsonl cites: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise StepError(f"{path} must be a list of names of laws")
    return names


def _listed(folder: Path) -> Iterator[dict[str, Any]]:
    """The entries of cases.yaml, each checked."""
    path = folder / "cases.yaml"
    if not path.is_file():
        return
    try:
        entries = yamls.read_file(path)
    except (yamls.YamlError, OSError) as error:
        raise StepError(f"{path} cannot be read as YAML: {error}; correct it") from error
    if not isinstance(entries, list):
        raise StepError(f"{path} must be a list of cases")
    for number, entry in enumerate(entries):
        where = f"{path}, case {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise StepError(f"{where} must be a mapping with `path`")
        where = f"{where} ({entry['path']})"
        if unknown := entry.keys() - CHECKS.keys() - {"path", "kind"}:
            raise StepError(f"{where}: unknown key {', '.join(map(str, unknown))}; allowed are path, kind, {', '.join(CHECKS)}")
        for key, kind in CHECKS.items():
            if key in entry and (not isinstance(entry[key], kind) or (kind is int and isinstance(entry[key], bool))):
                raise StepError(f"{where}: `{key}` cannot be {entry[key]!r}")
        given = entry.get("kind")
        for name in given.values() if isinstance(given, dict) else [given]:
            if name not in sources.KINDS:
                raise StepError(f"{where}: kind `{name}` is not one of {', '.join(sources.KINDS)}")
        for name in [entry["path"], *(f"{entry['path']}/{one}" for one in (given if isinstance(given, dict) else ()))]:
            if not (folder / name).exists():
                raise StepError(f"{where}: there is no {folder / name}")
        yield entry


# Running a case


def _answer(row: dict[str, Any]) -> tuple[bool, str]:
    letters = "".join(extract.flexible(row["answer"], row["options"]))
    right = "".join(sorted(row["letters"]))
    return letters == right, f"read {letters or 'nothing'}" + ("" if letters == right else f", right is {right or 'nothing'}")


def _citations(row: dict[str, Any], names: list[str]) -> tuple[bool, str]:
    """The order counts for nothing, and a law by any of its short names is that law.

    A law named without an article, or with one whose number cannot be read, counts where the row says so.
    """
    store = statutes.Store(statutes.Law(statutes.short_name(name), "", "", "") for name in names)
    right = {(store.bare.resolve(statutes.short_name(law)), article) for law, article in row["citations"]}
    read = ((store.bare.resolve(law), article) for law, article, *_ in statutes.citations(row["text"], store.bare))
    found = {(law, article) for law, article in read if article not in ("", UNREADABLE) or (law, article) in right}
    said = ", ".join(f"{law} {article}" for law, article in sorted(found)) or "nothing"
    wanted = ", ".join(f"{law} {article}" for law, article in sorted(right)) or "nothing"
    return found == right, f"read {said}" + ("" if found == right else f", right is {wanted}")


def _run(folder: Path, case: dict[str, Any], profile: str | None) -> Seen:
    """Collect and clean the case's files, which lie in a folder of their own for each kind, as a month's sources do."""
    with tempfile.TemporaryDirectory(prefix="lexloop-case-") as name, contextlib.redirect_stdout(io.StringIO()):
        work = Path(name)
        kinds = _lay_out(folder / case["path"], case["kind"], work)
        entries = [{"kind": kind, "path": kind, "licence": LICENCE} for kind in kinds]
        content = {"licences": [LICENCE], "sources": entries}
        (work / "sources.yaml").write_text(json.dumps(content), "utf-8")  # YAML reads it too
        day = datetime.date.today().replace(day=1)
        values: dict[str, Any] = {"sources": str(work / "sources.yaml"), "as_of": day}
        for module, output in ((collect, "items"), (clean, "cleaned")):
            (work / output).mkdir()
            params = build_params(module, module.__name__, values, profile, [])
            module.run(replace(params, output=work / output))
            values = {"items": work / "items", "as_of": day, "remember": False}
        return _seen(work / "cleaned")


def _lay_out(path: Path, kind: str | dict[str, str], work: Path) -> list[str]:
    """Copy the case's files into a folder per kind; return the kinds."""
    if isinstance(kind, str):
        if path.is_dir():
            shutil.copytree(path, work / kind)
        else:
            (work / kind).mkdir()
            shutil.copyfile(path, work / kind / path.name)
        return [kind]
    for name, one in kind.items():
        target = work / one / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (path / name).is_dir():
            shutil.copytree(path / name, target)
        else:
            shutil.copyfile(path / name, target)
    return sorted(set(kind.values()))


def _seen(folder: Path) -> Seen:
    seen = Seen(used=json.loads((folder / "accounts.json").read_text("utf-8"))["used"])
    with open(folder / "set_aside.jsonl", encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in file]
    seen.aside = [(row["reason"], row["detail"]) for row in rows]
    seen.records = ["\n".join(parts(record)) for record in read_records(folder / "records.jsonl")]
    for name, laws in statutes.read_store(folder / "statutes.jsonl").laws.items():
        seen.laws[name] = [len(law.articles) for law in laws]
        seen.articles += [text for law in laws for text in (*law.articles.values(), law.whole)]
    return seen


def _judge(case: dict[str, Any], seen: Seen) -> tuple[bool, str]:
    """Whether the case came out right, and what was seen: first what is wrong."""
    wrong = []
    if "laws" in case:
        right = {statutes.short_name(name): [count] for name, count in case["laws"].items()}
        held = {name: counts for name, counts in seen.laws.items() if any(counts) or name in right}
        if held != right:
            wrong.append("laws should be " + ", ".join(f"{name}: {count}" for name, count in case["laws"].items()))
    if "used" in case and seen.used != case["used"]:
        wrong.append(f"used should be {case['used']}")
    texts = [*seen.records, *seen.articles]
    wrong += [f"nothing holds {text!r}" for text in case.get("contains", ()) if not any(text in one for one in texts)]
    wrong += [f"a text holds {text!r}" for text in case.get("lacks", ()) if any(text in one for one in texts)]
    for text in case.get("once", ()):
        count = sum(one.count(text) for one in seen.records) or sum(one.count(text) for one in seen.articles)
        if count != 1:
            wrong.append(f"{text!r} stands {count} times")
    wrong += _aside(case.get("aside"), seen)
    return not wrong, "; ".join([*wrong, seen.line()])


def _aside(wanted: bool | str | None, seen: Seen) -> list[str]:
    if wanted is False and seen.aside:
        return ["nothing should be set aside"]
    if wanted is True and not seen.aside:
        return ["it should be set aside"]
    if isinstance(wanted, str) and not any(wanted in reason or wanted in detail for reason, detail in seen.aside):
        return [f"it should be set aside for {wanted}"]
    return []


def command(argv: list[str] | None = None) -> int:
    """The command line; 0 all pass, 1 one fails, 2 the caller can fix it."""
    parser = argparse.ArgumentParser(
        prog="python -m legal_tasks.data.cases", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with answers.jsonl, citations.jsonl, cases.yaml or some of them")
    parser.add_argument("--profile", help="take the steps' settings from this profile")
    arguments = parser.parse_args(argv)
    passed = failed = 0
    try:
        for path, good, said in outcomes(arguments.folder, arguments.profile):
            passed, failed = passed + good, failed + (not good)
            shown = " ".join(said.split())
            print(f"{path} {'PASS' if good else 'FAIL'} {shown[:SHOWN]}", flush=True)
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CALLER
    print(f"{passed} passed, {failed} failed")
    return FAILED if failed else EXIT_DONE


if __name__ == "__main__":
    sys.exit(command())
