"""Judgments and published model cases as training records: what is asked, what is taught, and where a long one is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from legal_tasks.records import Record

ANALYSE = "请阅读下面的案情，分析法律适用并说明处理结果。"
RULE = "请根据下面的案情和法律依据，写出裁判的主文。"
ISSUE = "请阅读下面的案情，分析其中的问题：{}。"
PART = "请阅读下面的案情，分析法律适用（第{}部分）。"
REASONS = re.compile(
    r"(?:本院|法院)(?:经审查|经审理|审查|再审|审理)?(?:后)?认为"
    r"|(?m:^#{0,4}\s*(?:裁判理由|裁判结果|裁判要旨|案例分析|典型意义|处理结果|适用解析|法官(?:说法|解读|释法)).*$)"
)
OWN = re.compile(r"(?m)^[ \t\u3000]*本院(?:经审查|经审理|审查|再审|审理|二审)?(?:后)?认为")
RULING = re.compile(r"(?:判决|裁定|决定)如下[:：]")
# Who signs, with the blanks that spread a word over the line.
SIGNS = r"审\s*判\s*长|审\s*判\s*员|陪\s*审\s*员|书\s*记\s*员|法\s*官\s*助\s*理|速\s*录\s*员|执\s*行\s*[员长]|院\s*长"
SIGNER = rf"(?:(?:代\s*理|助\s*理|见\s*习|人\s*民|副)\s*)*(?:{SIGNS})"
YEAR = r"(?:[二〇○Ｏ零Oo0一三四五六七八九十×ⅹXx*]{4}|(?:19|20)\d\d)\s*年[^\n。，；]{0,14}"
COPY = r"[（(]?(?:本|此)件与原本核对无异[）)]?|[（(]此页无正文[）)]|[（(【\[]\s*[）)】\]]"
SIGNED = re.compile(rf"\n[ \t\u3000]*(?:{SIGNER}[^\n。]{{0,60}}|{YEAR}|{COPY})[ \t\u3000]*(?=\n|\Z)")
# The same on one line behind the last sentence: 。审判长甲审判员乙二〇二六年一月二日书记员丙
TAIL = re.compile(rf"(?<=[。；）])[ \t\u3000]*{SIGNER}[^\n。；，]{{1,120}}\Z")
EMPTY = re.compile(r"（\s*）|\(\s*\)|【\s*】|［\s*］|\[\s*\]")
HEADER = re.compile(r"(?m)^(?:category|title|publictime)[:：].*\n")
# Where a part of the facts begins: a claim, an answer to it, what a court found or held.
FACTS = re.compile(
    r"\s*(?:(?:原告|被告|上诉人|被上诉人|申请人|再审申请人|被申请人|第三人|公诉机关|检察院)[^\n。]{0,60}?(?:诉称|辩称|称|指控|请求)"
    r"|[^\n，。]{0,14}(?:查明|认定)(?=[，：:,事如以\n])|(?:一审|原审|二审)[^\n，。]{0,14}(?:认为|判决|裁定)|(?:上述|以上)事实)"
)
FOUND = re.compile(r"\s*[^\n，。]{0,14}(?:查明|认定)(?=[，：:,事如以\n])")
HEADING = re.compile(r"\s*(?:[一二三四五六七八九十]{1,3}、|（[一二三四五六七八九十]{1,3}）|关于)[^\n。]{2,60}")
LEAST = 500  # characters of facts without which nothing can be analysed


def from_case(text: str, item: dict[str, Any], longest: int = 8000) -> list[Record]:
    """A judgment or a published model case as one analysis; a short decision as its operative part; else [].

    The names and the date at the end of a judgment are left off. One of more than `longest` characters is cut at its parts:
    of the facts, those nearest to the reasons stay; where the reasons alone are too long, each of their questions is a record.
    """
    body = re.sub(r"(?m)^content[:：]", "", HEADER.sub("", text))
    body = EMPTY.sub("", TAIL.sub("", SIGNED.sub("", body).rstrip())).strip()
    found = REASONS.search(body)
    if found and found.start() >= 20 and len(body) - found.start() >= 10:
        facts, reasons = body[: found.start()].strip(), body[found.start() :].strip()
        whole = [Record(ANALYSE, facts, reasons, item["source"], "case")]
        if len(body) + len(ANALYSE) + 2 <= longest:
            return whole
        return list(_cut(facts, reasons, item["source"], longest - 80)) or whole
    ruling = RULING.search(body)
    if ruling and ruling.start() >= 20 and len(body) - ruling.end() >= 10:
        facts, order = body[: ruling.end()].strip(), body[ruling.end() :].strip()
        return [Record(RULE, facts, order, item["source"], "case")]
    return []


def _cut(facts: str, reasons: str, source: str, longest: int) -> Iterator[Record]:
    """The records of a judgment that is too long; `longest`: characters of facts and reasons together.

    Its reasons are the court's own: what the court below held belongs to the facts.
    """
    own = list(OWN.finditer(reasons))
    if own and own[-1].start():
        facts = f"{facts}\n{reasons[: own[-1].start()].strip()}"
        reasons = reasons[own[-1].start() :].strip()
    if len(reasons) + LEAST <= longest:
        if near := nearest(facts, longest - len(reasons)):
            yield Record(ANALYSE, near, reasons, source, "case")
        return
    ruling = None
    for ruling in RULING.finditer(reasons):  # noqa: B007 (the last counts)
        pass
    analysis, order = (reasons[: ruling.end()], reasons[ruling.end() :].strip()) if ruling else (reasons, "")
    for number, part in enumerate(_parts(analysis, longest // 2), 1):
        heading = HEADING.match(part)
        question = ISSUE.format(heading[0].strip()) if heading else PART.format(number)
        if near := nearest(facts, longest - len(part)):
            yield Record(question, near, part, source, "case")
    if len(order) >= 10:
        before = nearest(analysis, max(LEAST, longest // 2), last=True)
        if before and len(order) + len(before) <= longest:
            yield Record(RULE, before, order, source, "case")


def nearest(text: str, size: int, last: bool = False) -> str:
    """The parts at the end of a text that fit into `size` characters; of a last part that is too long, the paragraphs that do.

    `last`: paragraphs from the end, whatever they begin with; so too where the parts that fit are less than half of it.
    """
    if len(text) <= size:
        return text
    lines = text.split("\n")
    starts = range(len(lines)) if last else [n for n, line in enumerate(lines) if FACTS.match(line)]
    for start in starts:
        part = "\n".join(lines[start:]).strip()
        if len(part) <= size:
            return part if last or len(part) >= size // 2 else nearest(text, size, last=True)
    findings = [n for n, line in enumerate(lines) if FOUND.match(line)]
    kept, used = [], 0
    for line in lines[findings[-1] if findings else 0 :]:
        used += len(line) + 1
        if used > size:
            break
        kept.append(line)
    return "\n".join(kept).strip()


def _parts(text: str, size: int) -> Iterator[str]:
    """A text cut before its headings, or where there are too few of them, between paragraphs, into parts that fit."""
    part: list[str] = []
    used = 0
    for line in text.split("\n"):
        heads = bool(HEADING.match(line)) and used > LEAST
        if part and (heads or used + len(line) > size):
            yield "\n".join(part).strip()
            part, used = [], 0
        if len(line) <= size:
            part.append(line)
            used += len(line) + 1
    if used >= 10:
        yield "\n".join(part).strip()
