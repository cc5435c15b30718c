"""The SOURCES file: a YAML that lists sources, licences that may be trained on, and exams; its checks."""

from __future__ import annotations

import glob
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from legal_tasks import yamls
from legal_tasks.data import remote
from legal_tasks.data.readers import FORMATS
from legal_tasks.evaluation import names
from legal_tasks.step import StepError

KINDS = ("statute", "case", "contract", "consultation", "document", "instruction")
STOCK = ("ceval", "haonan-li")
TOP = {"sources", "licences", "exams"}


@dataclass(frozen=True)
class Source:
    """`files`: (path, place relative to what the YAML names), sorted. `alone`: the YAML names one file.

    `links`: places of links in the folder or glob, which are not followed: they may lead anywhere, or in a circle.
    `refused`: (name, why) of objects in a bucket that no file can be made of. `given`: the path as the YAML has it.
    """

    name: str
    kind: str
    licence: str
    form: str | None
    files: tuple[tuple[Path, str], ...]
    alone: bool
    links: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    given: str = ""


@dataclass(frozen=True)
class Sources:
    sources: tuple[Source, ...]
    exams: tuple[Source, ...]
    stock: tuple[Path, ...]


def load(path: Path, licences: tuple[str, ...]) -> Sources:
    """Read and check the YAML; StepError names the entry, what is allowed and the way out."""
    if not path.is_file():
        raise StepError(f"--sources {path}: there is no such file; name a YAML that lists sources, or `embedded`")
    try:
        content = yamls.read_file(path)
    except (yamls.YamlError, OSError) as error:
        raise StepError(f"--sources {path} cannot be read as YAML: {error}; correct the file") from error
    if not isinstance(content, dict) or not isinstance(content.get("sources"), list) or not content["sources"]:
        raise StepError(f"--sources {path}: the key `sources` must hold a list with at least one entry")
    _known(content, TOP, f"--sources {path}")
    allowed = tuple(str(item) for item in content.get("licences") or licences)
    sources = [_source(entry, f"{path}, sources[{n}]", path.parent, allowed) for n, entry in enumerate(content["sources"])]
    exams = [_exam(entry, f"{path}, exams[{n}]", path.parent) for n, entry in enumerate(content.get("exams") or [])]
    sources = _distinct(sources, content["sources"], f"{path}, sources")
    exams = _distinct(exams, content.get("exams") or [], f"{path}, exams")
    stock = tuple(path.parent / name for name in STOCK if (path.parent / name).is_dir())
    for exam in exams:
        names.check_exam(exam.name, f"{path}, exams, {exam.given}")
    names.check_stock({exam.name: exam.given for exam in exams}, names.stock_folders(path.parent))
    return Sources(tuple(sources), tuple(exams), stock)


def _distinct(entries: list[Source], raw: list[dict[str, Any]], where: str) -> list[Source]:
    """Entries with names of their own: one that was not given gets a number, one given twice is an error."""
    given = [str(item["name"]) for item in raw if item.get("name")]
    taken = set(given)
    result = []
    for entry, item in zip(entries, raw, strict=True):
        name = entry.name
        if item.get("name"):
            if given.count(name) > 1:
                raise StepError(f"{where}: two are called {name}; give each its own `name`")
        else:
            numbered = (f"{entry.name}-{number}" for number in itertools.count(2))
            name = next(one for one in itertools.chain([entry.name], numbered) if one not in taken)
            taken.add(name)
        result.append(replace(entry, name=name))
    return result


def _known(entry: Any, allowed: set[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise StepError(f"{where} must be a mapping with the keys {', '.join(sorted(allowed))}, got {repr(entry)[:200]}")
    for key in entry.keys() - allowed:
        raise StepError(f"{where}: unknown key `{key}`; allowed are {', '.join(sorted(allowed))}")


def _source(entry: Any, where: str, base: Path, licences: tuple[str, ...]) -> Source:
    _known(entry, {"kind", "path", "licence", "name", "format"}, where)
    for key in ("kind", "path", "licence"):
        if not entry.get(key):
            raise StepError(f"{where}: `{key}` is needed")
    if entry["kind"] not in KINDS:
        raise StepError(f"{where}: kind `{entry['kind']}` is not one of {', '.join(KINDS)}")
    if str(entry["licence"]) not in licences:
        raise StepError(
            f"{where}: the licence `{entry['licence']}` of {entry['path']} is not among those that may be trained on "
            f"({', '.join(licences)}); add it under `licences` if you may, or remove the source"
        )
    return _entry(entry, where, base, entry["kind"], str(entry["licence"]))


def _exam(entry: Any, where: str, base: Path) -> Source:
    from legal_tasks.evaluation.items import KINDS as EXAM_KINDS

    _known(entry, {"name", "path", "format", "kind"}, where)
    if not entry.get("path"):
        raise StepError(f"{where}: `path` is needed")
    kind = str(entry.get("kind") or "")
    if kind and kind not in EXAM_KINDS:
        raise StepError(f"{where}: kind `{kind}` is not one of {', '.join(EXAM_KINDS)}")
    return _entry(entry, where, base, kind, "")


def _entry(entry: dict[str, Any], where: str, base: Path, kind: str, licence: str) -> Source:
    form = entry.get("format")
    if form is not None and form not in FORMATS:
        raise StepError(f"{where}: format `{form}` is not one of {', '.join(FORMATS)}; leave it out to let the content tell")
    text = str(entry["path"])
    place = base / text
    refused: tuple[tuple[str, str], ...] = ()
    if remote.is_remote(text):
        copy = remote.fetch(text, where)
        place, refused = copy.path, copy.refused
    elif "://" in text:
        raise StepError(f"{where}: {text} is neither a path nor s3://; copy it here first and name the folder")
    links: list[str] = []
    if place.is_file():
        files, alone = [(place, place.name)], True
    else:
        if place.is_dir():
            base, found = place, [file for file in place.rglob("*") if not file.name.startswith(".")]
        else:
            base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), place.parts))
            found = [Path(name) for name in glob.glob(str(place), recursive=True)]
        alone = False
        crossed = {file for file in found if _crosses_link(file, base)}
        links = sorted(file.relative_to(base).as_posix() for file in crossed if not _crosses_link(file.parent, base))
        files = [(file, file.relative_to(base).as_posix()) for file in found if file.is_file() and file not in crossed]
    if not files and refused:
        raise StepError(f"{where}: no object of {text} can be read: {refused[0][0]!r} {refused[0][1]}; rename it in the bucket")
    if not files:
        raise StepError(f"{where}: {place} does not exist or holds no file; correct `path` (it is relative to the YAML)")
    name = str(entry.get("name") or place.name.split(".")[0].replace("*", "") or kind)
    if "/" in name or name.startswith("."):
        raise StepError(f"{where}: name `{name}` must not hold a slash or begin with a dot")
    found_files = tuple(sorted(files, key=lambda pair: pair[1]))
    return Source(name, kind, licence, form, found_files, alone, tuple(links), refused, text)


def _crosses_link(file: Path, base: Path) -> bool:
    """Whether the file, or a folder between it and `base`, is a link."""
    return any(part.is_symlink() for part in (file, *file.parents) if part != base and part.is_relative_to(base))
