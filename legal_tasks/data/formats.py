"""One source item as training records: the key schemas met in practice, articles, judgments, contracts, dialogs."""

from __future__ import annotations

import re
from typing import Any

from legal_tasks.data import dialogs, fields
from legal_tasks.data.fields import CATEGORY
from legal_tasks.data.judgments import from_case as from_case
from legal_tasks.data.markup import clean_text as clean_text
from legal_tasks.data.numerals import article_name
from legal_tasks.data.statutes import Law
from legal_tasks.records import Record


def category(kind: str, text: str) -> str:
    """The record's category: the source's kind."""
    return CATEGORY[kind]


def from_fields(item: dict[str, Any]) -> Record | None:
    """The record of a mapping; None where fields.from_fields says why there is none."""
    try:
        return fields.from_fields(item)
    except dialogs.Unfit:
        return None


def title_of(text: str, locator: str) -> str:
    """The first heading, `title:` line or first line; the file's name if that is long."""
    found = re.search(r"(?m)^title[:：](.+)$", text) or re.search(r"(?m)^#\s*(.+)$", text) or re.match(r"\s*(.+)", text)
    title = re.sub(r"[*#\s　]", "", found[1]) if found else ""
    return title if 0 < len(title) <= 60 else locator.split("#")[0].rsplit("/", 1)[-1].rsplit(".", 1)[0]


def is_case(text: str) -> bool:
    """Whether a page tells a case: it has a heading of the facts."""
    return re.search(r"(?m)^#{0,4}\s*(?:基本案情|简要案情|案情回顾|案情简介|案例回顾)", text) is not None


def from_sections(text: str, item: dict[str, Any]) -> list[Record]:
    """A contract text: one record per clause group; the whole where it has no headings."""
    title = title_of(text, item["locator"])
    marks = list(re.finditer(r"(?m)^#{2,3}\s*(.+)$", text))
    records = []
    for mark, end in zip(marks, [*(m.start() for m in marks[1:]), len(text)], strict=False):
        body = text[mark.end() : end].strip().strip("-").strip()
        if len(body) >= 60:
            question = f"请说明《{title}》中“{mark[1].strip()}”的要点和条款写法。"
            records.append(Record(question, "", body, item["source"], "contract"))
    return records or [Record(f"请起草一份《{title}》。", "", text, item["source"], "contract")]


def from_document(text: str, item: dict[str, Any]) -> list[Record]:
    """A legal document: to be drafted from its title."""
    return [Record(f"请起草一份法律文书：{title_of(text, item['locator'])}。", "", text, item["source"], "document")]


def from_dialog(text: str, item: dict[str, Any]) -> list[Record]:
    """A dialog that is told in marked lines (客户：… 律师：…); [] where no line says who speaks."""
    try:
        pairs = dialogs.pairs_of(dialogs.marked(text))
    except dialogs.Unfit:
        return []
    if not pairs:
        return []
    *history, (question, answer) = pairs
    return [Record(question, "", answer, item["source"], "consultation", history)]


def from_article(law: Law, number: str, source: str) -> Record:
    """What an article says, in its own words."""
    return Record(f"《{law.name}》{article_name(number)}是怎样规定的？", "", law.articles[number], source, "statute")
