"""One source item as training records: the key schemas met in practice, articles, judgments, contracts, dialogs."""

from __future__ import annotations

import re
from typing import Any

from legal_tasks.data.numerals import article_name
from legal_tasks.data.options import split_options
from legal_tasks.data.readers import unwrap
from legal_tasks.data.statutes import Law
from legal_tasks.records import Record

QUESTION = ("instruction", "query", "question", "prompt", "q", "问题", "咨询")
ANSWER = ("output", "response", "answer", "completion", "reply", "crime", "回答", "答复")
CATEGORY = {"statute": "statute", "case": "case", "contract": "contract", "consultation": "consultation"}
CATEGORY |= {"document": "document", "instruction": "instruction"}


def clean_text(text: str) -> str:
    """Mark-up and invisible characters off, legal text exact."""
    text = re.sub(r"[\ufeff\u200b-\u200f\u2060\u00ad]", "", text).replace("\r\n", "\n").replace("\xa0", " ")
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    if "<" in text:
        text = re.sub(r"<!--.*?-->|</?(?:p|br|div|span|b|strong|u|font)\b[^<>]*>", "", text, flags=re.S)
    if "\n" not in text:
        return text.strip()
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()


def category(kind: str, text: str) -> str:
    """The record's category: the source's kind."""
    return CATEGORY[kind]


def _text(fields: dict[str, Any], names: tuple[str, ...]) -> tuple[str, str]:
    """(key, text) of the first of the names that holds something."""
    lower = {str(key).strip().lower(): unwrap(value) for key, value in fields.items()}
    for name in names:
        value = lower.get(name)
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            value = "、".join(value)
        if isinstance(value, str) and value.strip():
            return name, clean_text(value)
    return "", ""


def from_fields(item: dict[str, Any]) -> Record | None:
    """The record of a mapping; None if it has no question or no answer."""
    fields = item["fields"]
    history, last = _history(fields)
    asked, question = _text(fields, QUESTION)
    given, answer = _text(fields, ANSWER)
    _, extra = _text(fields, ("input", "context", "background"))
    if last is not None and not answer:
        question, answer = last
    elif not question:
        question, extra = extra, ""
    if not question or not answer:
        return None
    if given == "crime":
        question, extra = "请根据下列案情，指出被告人触犯的罪名。", question
    stem, options = split_options(extra or question)
    if options and re.fullmatch(r"[A-H]{1,8}", answer):
        answer = "\n".join(f"{letter}: {options[letter]}" for letter in answer if letter in options) or answer
        question = question.replace("请只给出答案的序号", "请给出答案的序号和内容")
    return Record(question, extra, answer, item["source"], CATEGORY[item["kind"]], history)


def _history(fields: dict[str, Any]) -> tuple[list[list[str]], tuple[str, str] | None]:
    """(earlier turns, last turn if the dialog holds it) of `history`, `messages` or `conversations`."""
    turns = fields.get("messages") or fields.get("conversations") or fields.get("history") or []
    pairs: list[list[str]] = []
    if not isinstance(turns, list):
        return [], None
    if all(isinstance(turn, list) and len(turn) == 2 for turn in turns):
        return [[clean_text(str(part)) for part in turn] for turn in turns], None
    for turn in turns:
        if isinstance(turn, dict):
            who, text = str(turn.get("role") or turn.get("from")), str(turn.get("content") or turn.get("value") or "")
        else:
            found = re.match(r"\s*\[?(客户|用户|律师|助手|user|assistant)\]?[:：\s]*(.*)", str(turn), re.S)
            who, text = (found[1], found[2]) if found else ("", str(turn))
        if who in ("客户", "用户", "user", "human"):
            pairs.append([clean_text(text), ""])
        elif who in ("律师", "助手", "assistant", "gpt") and pairs and not pairs[-1][1]:
            pairs[-1][1] = clean_text(text)
    pairs = [pair for pair in pairs if all(pair)]
    return (pairs[:-1], (pairs[-1][0], pairs[-1][1])) if pairs else ([], None)


def title_of(text: str, locator: str) -> str:
    """The first heading, `title:` line or first line; the file's name if that is long."""
    found = re.search(r"(?m)^title[:：](.+)$", text) or re.search(r"(?m)^#\s*(.+)$", text) or re.match(r"\s*(.+)", text)
    title = re.sub(r"[*#\s　]", "", found[1]) if found else ""
    return title if 0 < len(title) <= 60 else locator.split("#")[0].rsplit("/", 1)[-1].rsplit(".", 1)[0]


def is_case(text: str) -> bool:
    """Whether a page tells a case: it has a heading of the facts."""
    return re.search(r"(?m)^#{0,4}\s*(?:基本案情|简要案情|案情回顾|案情简介|案例回顾)", text) is not None


REASONS = re.compile(
    r"(?:本院|法院)(?:经审查|经审理|审查|再审|审理)?(?:后)?认为"
    r"|(?m:^#{0,4}\s*(?:裁判理由|裁判结果|裁判要旨|案例分析|典型意义|处理结果|适用解析|法官(?:说法|解读|释法)).*$)"
)
RULING = re.compile(r"(?:判决|裁定|决定)如下[:：]")
SIGNED = re.compile(r"\n(?:审判长|代理审判员|审判员|人民陪审员|书记员|[二〇○零一三四五六七八九十年月日]{8,})[^\n]*(?=\n|$)")


def from_case(text: str, item: dict[str, Any]) -> list[Record]:
    """A judgment or a published model case as one analysis; a short decision as its operative part; else [].

    The names and date at the end of a judgment are left off.
    """
    body = re.sub(r"(?m)^(?:category|title|publictime)[:：].*\n", "", text)
    body = SIGNED.sub("", re.sub(r"(?m)^content[:：]", "", body)).strip()
    found = REASONS.search(body)
    if found and found.start() >= 20 and len(body) - found.start() >= 10:
        facts, reasons = body[: found.start()].strip(), body[found.start() :].strip()
        return [Record("请阅读下面的案情，分析法律适用并说明处理结果。", facts, reasons, item["source"], "case")]
    ruling = RULING.search(body)
    if ruling and ruling.start() >= 20 and len(body) - ruling.end() >= 10:
        facts, order = body[: ruling.end()].strip(), body[ruling.end() :].strip()
        return [Record("请根据下面的案情和法律依据，写出裁判的主文。", facts, order, item["source"], "case")]
    return []


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


def from_article(law: Law, number: str, source: str) -> Record:
    """What an article says, in its own words."""
    return Record(f"《{law.name}》{article_name(number)}是怎样规定的？", "", law.articles[number], source, "statute")
