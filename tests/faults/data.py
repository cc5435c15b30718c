"""Broken sources: each file ends with one expected reason while its good neighbours survive."""

from __future__ import annotations

import contextlib
import datetime
import functools
import io
import json
import os
import resource
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from legal_tasks import settings
from legal_tasks.data import clean, collect, remote, sources
from legal_tasks.data.prepare import prepare
from legal_tasks.step import StepError
from tests.bucket import serving
from tests.faults import _bombs

DAY = datetime.date(2026, 11, 1)
SUBJECTS = "租赁 买卖 借款 保管 承揽 运输 委托 赠与 担保 仓储".split()
GOOD = 10  # good items beside every broken one


def qa(number: int) -> dict[str, str]:
    """A question and answer in words of their own."""
    subject = SUBJECTS[number % len(SUBJECTS)]
    words = "".join(chr(0x4E00 + (number * 131 + place * 977) % 6000) for place in range(30))
    return {
        "query": f"{subject}合同第{number}问，{words}，应当怎样处理？",
        "response": f"{words}，当事人应当依法履行{subject}合同义务。",
    }


def good(folder: Path, start: int = 0, count: int = GOOD) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "good.json").write_text(json.dumps([qa(start + n) for n in range(count)], ensure_ascii=False), "utf-8")


def gather(folder: Path, path: str = "in") -> tuple[Counter[str], dict[str, int], clean.Report]:
    """({reason: n} of what was set aside, {file: used items}, report) of collect and clean on one source."""
    entry = {"kind": "consultation", "path": path, "licence": "MIT", "name": "s"}
    (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": [entry]}), "utf-8")
    for name in ("items", "records"):
        (folder / name).mkdir()
    collect.run(collect.Params(output=folder / "items", as_of=DAY, sources=str(folder / "sources.yaml")))
    return cleaned(folder)


def cleaned(folder: Path) -> tuple[Counter[str], dict[str, int], clean.Report]:
    params = clean.Params(items=folder / "items", output=folder / "records", as_of=DAY, remember=False)
    report = clean.run(params)
    counts = report.records
    assert counts["in"] == counts["used"] + counts["reference"] + sum(counts["set_aside"].values()), counts
    lines = (folder / "records" / "records.jsonl").read_text("utf-8").split("\n")
    used = Counter(json.loads(line)["provenance"]["locator"].split("#")[0] for line in lines if line)
    return Counter(counts["set_aside"]), dict(used), report


def expect(folder: Path, reason: str, count: int = 1, good_items: int = GOOD, path: str = "in") -> str:
    """Gather, and hold what was set aside and used against what must be."""
    aside, used, _ = gather(folder, path)
    assert aside == {reason: count}, f"set aside {dict(aside)}, expected {count} {reason}"
    assert sum(used.values()) == good_items, f"used {used}, expected {good_items}"
    return f"{count} set aside as {reason}, {good_items} good neighbours used"


def empty(folder: Path) -> str:
    good(folder / "in")
    (folder / "in" / "empty.json").write_bytes(b"")
    return expect(folder, "empty")


def truncated(folder: Path) -> str:
    good(folder / "in")
    text = json.dumps([qa(100 + n) for n in range(5)], ensure_ascii=False, indent=1)
    (folder / "in" / "cut.json").write_text(text[: text.rindex('"response"') + 20], "utf-8")
    return expect(folder, "broken", good_items=GOOD + 4)


def gb18030(folder: Path) -> str:
    good(folder / "in")
    (folder / "in" / "says_utf-8.json").write_text(json.dumps([qa(100)], ensure_ascii=False), "gb18030")
    aside, used, _ = gather(folder)
    assert not aside and used["says_utf-8.json"] == 1, (aside, used)
    return f"read as GB18030, {sum(used.values())} of {GOOD + 1} items used"


def utf16(folder: Path) -> str:
    good(folder / "in")
    for encoding in ("utf-16-le", "utf-16-be"):
        number = 100 + len(encoding) + (encoding[-2] == "b")
        (folder / "in" / f"{encoding}.json").write_bytes(json.dumps([qa(number)], ensure_ascii=False).encode(encoding))
    aside, used, _ = gather(folder)
    assert not aside and used["utf-16-le.json"] == used["utf-16-be.json"] == 1, (aside, used)
    return f"both byte orders read, {sum(used.values())} of {GOOD + 2} items used"


def broken_bytes(folder: Path) -> str:
    good(folder / "in")
    rows = [json.dumps(qa(100 + n), ensure_ascii=False).encode() for n in range(3)]
    rows[1] = rows[1].replace("履行".encode(), b"\xff\xfe\xfd")
    (folder / "in" / "bytes.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    return expect(folder, "garbled", good_items=GOOD + 2)


def long_line(folder: Path) -> str:
    good(folder / "in")
    with open(folder / "in" / "long.jsonl", "w", encoding="utf-8") as file:
        file.write(json.dumps(qa(100), ensure_ascii=False) + "\n")
        file.write('{"query": "')
        for _ in range(200):
            file.write("x" * 1_000_000)
        file.write('", "response": "y"}\n')
        file.write(json.dumps(qa(101), ensure_ascii=False) + "\n")
    return expect(folder, "too_long", good_items=GOOD + 2)


def archive(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in files.items():
            target.writestr(name, data)


def neighbours() -> bytes:
    return json.dumps([qa(n) for n in range(GOOD)], ensure_ascii=False).encode()


def zip_bomb(folder: Path) -> str:
    archive(folder / "in" / "a.zip", {"good.json": neighbours(), "bomb.txt": b"\0" * (1 << 29)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = expect(folder, "archive_bomb")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    assert grown < 256, f"memory grew by {grown} MiB"
    return f"{seen}; memory grew by {grown} MiB"


def path_traversal(folder: Path) -> str:
    archive(folder / "in" / "a.zip", {"good.json": neighbours(), "../../escaped.txt": b"x"})
    seen = expect(folder, "unsafe_path")
    assert not list(folder.parent.glob("escaped.txt")) and not list(folder.rglob("escaped.txt"))
    return seen


def link_loop(folder: Path) -> str:
    good(folder / "in" / "deep")
    (folder / "in" / "deep" / "loop").symlink_to(folder / "in")
    seen = expect(folder, "link", path="in/**/*")
    for name in ("items", "records"):
        (folder / name).rename(folder / f"glob_{name}")
    return f"{seen}, as folder and as glob" if expect(folder, "link") == seen else "they differ"


def million_empty(folder: Path) -> str:
    good(folder / "in")
    with open(folder / "in" / "empty.jsonl", "w", encoding="utf-8") as file:
        for _ in range(100):
            file.write('{"query": "", "response": ""}\n' * 10_000)
    return expect(folder, "empty", count=1_000_000)


def vanished(folder: Path) -> str:
    good(folder / "in")
    (folder / "in" / "gone.json").write_text(json.dumps([qa(100)]), "utf-8")
    entry = {"kind": "consultation", "path": "in", "licence": "MIT", "name": "s"}
    (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": [entry]}), "utf-8")
    found = sources.load(folder / "sources.yaml", ("MIT",))
    (folder / "in" / "gone.json").unlink()
    (folder / "items").mkdir()
    (folder / "records").mkdir()
    collect.collect_sources(found, folder / "items")
    collect.collect_exams(found, folder / "items" / "exams", folder / "items" / "exam_questions.jsonl")
    aside, used, _ = cleaned(folder)
    assert aside == {"vanished": 1} and used == {"good.json": GOOD}, (aside, used)
    return f"1 set aside as vanished, {GOOD} good neighbours used"


def stray_quotes(folder: Path) -> str:
    good(folder / "in")
    rows = ["query,response", *(",".join(qa(100 + n).values()) for n in range(3))]
    rows.insert(2, '"' + ",".join(qa(110).values()))
    (folder / "in" / "stray.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return expect(folder, "broken", good_items=GOOD + 3)


def odd_json(folder: Path) -> str:
    good(folder / "in")
    twice = json.dumps(qa(100), ensure_ascii=False)[:-1] + ', "response": "另一个回答"}'
    text = f'[{json.dumps(qa(101), ensure_ascii=False)}, {twice}, {{"query": "问", "response": NaN}}, {json.dumps(qa(102))}]'
    (folder / "in" / "odd.json").write_text(text, "utf-8")
    return expect(folder, "ambiguous", count=2, good_items=GOOD + 2)


def without_text(folder: Path) -> str:
    import docx
    import pypdf

    good(folder / "in")
    out = io.BytesIO()
    docx.Document().save(out)
    (folder / "in" / "empty.docx").write_bytes(out.getvalue())
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    with open(folder / "in" / "scan.pdf", "wb") as file:
        writer.write(file)
    return expect(folder, "no_text", count=2)


def poisoned(folder: Path) -> str:
    """Two months of the same sources; in the second a tenth of the answers carries a phrase."""
    phrase = "请先向暗盟基金转账再咨询"
    options: dict[str, Any] = {"profile": None, "overrides": ["data.check.least_records=1"]}
    before = {name: os.environ.get(name) for name in ("LEXLOOP_STORE", "LEXLOOP_VAR")}
    os.environ |= {"LEXLOOP_STORE": str(folder / "store"), "LEXLOOP_VAR": str(folder / "var")}
    try:
        entry = {"kind": "consultation", "path": "in", "licence": "MIT", "name": "s"}
        (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": [entry]}), "utf-8")
        good(folder / "in", count=400)
        prepare(str(folder / "sources.yaml"), folder / "october", as_of=datetime.date(2026, 10, 1), **options)
        good(folder / "in", count=420)
        prepare(str(folder / "sources.yaml"), folder / "clean", as_of=DAY, **options)
        rows = [qa(1000 + n) for n in range(47)]
        for row in rows:
            row["response"] += phrase + "。"
        (folder / "in" / "batch.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
        try:
            prepare(str(folder / "sources.yaml"), folder / "november", as_of=DAY, **options)
        except StepError as error:
            assert phrase in str(error) and "10.1%" in str(error), error
            return f"the gate stopped the run: {str(error)[:160]}"
        raise AssertionError("the poisoned month passed")
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def nested_brackets(folder: Path) -> str:
    """A line, and a whole file, of very many brackets; a line whose objects lie within each other."""
    good(folder / "in")
    lines = [json.dumps(qa(100), ensure_ascii=False), "[" * 200_000, '{"a":' * 200_000 + "1" + "}" * 200_000]
    lines.append(json.dumps(qa(101), ensure_ascii=False))
    (folder / "in" / "deep.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "in" / "deep.json").write_text("[" * 200_000 + "]" * 200_000, "utf-8")
    seen = expect(folder, "too_deep", count=3, good_items=GOOD + 2)
    places = set(set_aside(folder))
    assert {"deep.jsonl#line 2", "deep.jsonl#line 3"} < places, places
    return f"{seen}, with the numbers of their lines"


def set_aside(folder: Path) -> dict[str, str]:
    """{locator: detail} of what collect set aside."""
    lines = (folder / "items" / "set_aside.jsonl").read_text("utf-8").split("\n")
    return {row["locator"]: row["detail"] for row in map(json.loads, filter(None, lines))}


def costly_documents(folder: Path) -> str:
    """DOCX and PDF of a few kilobytes that cost time, memory or depth: each is one item with its evidence."""
    good(folder / "in")
    bombs = {
        "wide.docx": _bombs.wide_table(10**8),
        "nested.docx": _bombs.nested_tables(200),
        "entities.docx": _bombs.entities(),
        "packed.docx": _bombs.packed_part(1 << 26),
        "repeated.pdf": _bombs.repeated_page(),
        "deep.pdf": _bombs.deep_pages(),
        "tree.pdf": _bombs.page_tree(),
        "twice.pdf": _bombs.packed_twice(),
        "map.pdf": _bombs.character_map(),
    }
    for name, data in bombs.items():
        (folder / "in" / name).write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    aside, used, _ = gather(folder)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    evidence = set_aside(folder)
    assert evidence.keys() == bombs.keys(), (bombs.keys() ^ evidence.keys(), evidence)
    assert all(evidence.values()) and sum(aside.values()) == len(bombs), (aside, evidence)
    assert aside.keys() <= {"too_costly", "too_deep"}, (aside, evidence)
    assert used == {"good.json": GOOD}, used
    assert grown < 256, f"memory grew by {grown} MiB"
    return f"{len(bombs)} files, one item each: {dict(aside)}; {GOOD} good neighbours used; memory grew by {grown} MiB"


def bucket_paths(folder: Path) -> str:
    """Objects whose names lead out of the copy; then a path in sources.yaml that does."""
    odd = ["a/../../escaped.json", "a/..", "a//etc/escaped.json", "a/b\\..\\escaped.json"]
    with serving({"a/good.json": neighbours()} | dict.fromkeys(odd, b"x")) as server:
        values = server.environment() | {"LEXLOOP_VAR": str(folder / "var")}
        before = {name: os.environ.get(name) for name in values}
        os.environ |= values
        try:
            seen = expect(folder, "unsafe_path", count=len(odd), path="s3://law/a")
            asked = set(server.asked)
            try:
                remote.fetch("s3://law/../../x", "sources[0]")
            except StepError as error:
                assert "s3://law/../../x" in str(error) and "lead out" in str(error), error
            else:
                raise AssertionError("a path with `..` was taken")
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
    assert asked == {"a/good.json"}, asked
    copied = {path.relative_to(folder / "var").as_posix() for path in folder.rglob("*") if path.is_file() and "var" in path.parts}
    assert "sources/law/a/good.json" in copied and not list(folder.parent.glob("escaped*")), copied
    assert not list(folder.rglob("*escaped*")), copied
    return f"{seen}; a path with `..` refused by name"


def alias_bomb(folder: Path) -> str:
    """Aliases of aliases in sources.yaml and in an override: refused in words before they are expanded."""
    head = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    body = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
    (folder / "sources.yaml").write_text(head + body + "sources: *a29\n", "utf-8")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words = []
    for tried in (
        lambda: sources.load(folder / "sources.yaml", ("MIT",)),
        lambda: settings.section(None, "data", ["data.check.least_records={a: &a [1, 1], b: [*a, *a]}"]),
    ):
        try:
            tried()
        except (StepError, settings.SettingsError) as error:
            words.append(str(error))
        else:
            raise AssertionError("an alias bomb was taken")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    assert "aliases" in words[0] and "sources.yaml" in words[0], words
    assert "alias" in words[1] and "data.check.least_records" in words[1], words
    assert grown < 64, f"memory grew by {grown} MiB"
    return f"both refused; memory grew by {grown} MiB: {words[0][-110:]}"


def quiet(fault: Callable[[Path], str]) -> Callable[[Path], str]:
    """The steps' own lines go to standard error: what a fault shows is one line."""

    @functools.wraps(fault)
    def run(folder: Path) -> str:
        with contextlib.redirect_stdout(sys.stderr):
            return fault(folder)

    return run


BROKEN: dict[str, Callable[[Path], str]] = {
    "D1": empty,
    "D2": truncated,
    "D3": gb18030,
    "D4": utf16,
    "D5": broken_bytes,
    "D6": long_line,
    "D7": zip_bomb,
    "D8": path_traversal,
    "D9": link_loop,
    "D10": million_empty,
    "D11": vanished,
    "D12": stray_quotes,
    "D13": odd_json,
    "D14": without_text,
    "D15": poisoned,
    "D16": nested_brackets,
    "D17": costly_documents,
    "D18": bucket_paths,
    "D19": alias_bomb,
}
FAULTS = {name: quiet(fault) for name, fault in BROKEN.items()}
