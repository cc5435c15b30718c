"""The pages of the statute sources: which laws they hold, how these are called, and which pages hold none."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from legal_tasks.data import formats, lawtext, lawtitle, statutes
from legal_tasks.data.numerals import NUMBER
from legal_tasks.data.works import Items, Work

TITLES = ("title", "law", "name", "标题", "名称", "法规名称", "法律名称", "法律")
ARTICLE = re.compile(rf"第{NUMBER}条")
ARTICLES = re.compile(rf"(?m)^[ \t\u3000]*第{NUMBER}条")
BEFORE = re.compile(r"\ufeff?---\s*\n.*?\n---\s*\n", re.S)
TITLED = re.compile(r"(?m)^title[:：][ \t]*[\"'《]?(.+?)[\"'》]?[ \t]*$")
NUMBERS = ("article", "article_no", "number", "条", "条号", "条文序号", "条款")
BODIES = ("content", "text", "body", "正文", "内容", "全文", "条文", "条文内容", "法条内容", "articles")


def read_laws(items: Items) -> list[statutes.Law]:
    """Parse the statutes; their items become reference, or are set aside as pages without articles.

    A part of a code (第三编 合同) is named after the one page of its folder that is no part, and shares its dates. A text
    without a title is named after its file; two such of one name are two laws, each with its folder's name before it. Rows of
    one file that hold an article each are one law.
    """
    heads, united = _heads(items), dict[str, list[Work]]()
    laws, codes = [], defaultdict[tuple[str, str, str], list[statutes.Law]](list)
    unnamed = defaultdict[str, list[tuple[statutes.Law, str]]](list)
    for work, item in _united(items, united):
        text, place = formats.clean_text(item["text"]), item["locator"]
        if formats.is_case(text):
            work.kind = "case"
            continue
        folder, _, name = place.rpartition("/")
        title, hint = lawtext.title_of(text, name), name
        above, dates = heads.get((work.source, folder), ("", ""))
        if above and title != above:
            title, hint = statutes.part_title(title, above), f"{name} {dates}"
        elif lawtitle.is_structure(title):
            title = lawtitle.file_name(name)
        found = statutes.read_statute(text, title, work.id, hint)
        if not found:
            work.aside("no_articles", lawtext.why_none(text))
            continue
        laws += found
        if not lawtitle.is_title(title):
            unnamed[found[0].name].append((found[0], place))
        codes[work.source, folder, found[0].name].append(found[0])
        work.fate = "reference"
    for work in items.works:
        for other in united.get(work.id, ()):
            other.kind, other.fate, other.detail = work.kind, work.fate, work.detail
    for same in codes.values():
        statutes.unite(same)
    for name, alike in unnamed.items():
        if len({law.version for law, _ in alike}) < len(alike) or not lawtitle.is_title(name):
            statutes.part_names(alike)
    return laws


def _pages(items: Items) -> Iterator[tuple[Work, dict[str, Any]]]:
    for work in items.works:
        if work.kind == "statute":
            item = items.read(work)
            if "text" not in item:  # a question with its answer is no law, whatever its source is
                item |= {"text": "" if formats.from_fields(item) else text_of(item["fields"])}
            if item["text"]:
                item["text"] = _named(item["text"])
                yield work, item


def _named(text: str) -> str:
    """The page, with the title that stands in the fields before it (--- title: … ---) as its heading."""
    found = BEFORE.match(text)
    title = TITLED.search(found[0]) if found else None
    return f"# {title[1]}\n{text[found.end() :]}" if found and title and lawtitle.is_title(title[1]) else text


def _united(items: Items, united: dict[str, list[Work]]) -> Iterator[tuple[Work, dict[str, Any]]]:
    """The pages; of rows that hold an article each, the first with the text of all of them.

    `united` is told which other items that one stands for.
    """
    groups = defaultdict[tuple[str, str, str], list[tuple[int, Work, dict[str, Any]]]](list)
    for work, item in _pages(items):
        title, _, body = item["text"].partition("\n")
        file, _, place = item["locator"].partition("#")
        row = re.search(r"\d+", place)
        if "fields" in item and row and body and ARTICLE.match(body) and len(ARTICLES.findall(body)) == 1:
            groups[work.source, file, title].append((int(row[0]), work, item))
        else:
            yield work, item
    for (_, _, title), rows in groups.items():
        rows.sort(key=lambda row: row[0])
        _, first, item = rows[0]
        united[first.id] = [work for _, work, _ in rows[1:]]
        yield first, item | {"text": "\n".join([title, *(one["text"].partition("\n")[2] for _, _, one in rows)])}


def _said(value: Any) -> str:
    """The text of a value; of a list of articles, each on its line."""
    if isinstance(value, list):
        return "\n".join(filter(None, (text_of(one) if isinstance(one, dict) else _said(one) for one in value)))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else ""


def text_of(fields: dict[str, Any]) -> str:
    """A law that stands in a mapping, its title above its text; "" where no key of TITLES or BODIES holds a text."""
    texts = {str(key).strip().lower(): _said(value) for key, value in fields.items()}
    held = {key: text for key, text in texts.items() if text}
    bodies = [held[key] for key in BODIES if key in held]
    titles = [held[key] for key in TITLES if key in held]
    numbers = [f"第{held[key]}条" if held[key].isdecimal() else held[key] for key in NUMBERS if key in held]
    return "\n".join([*titles[:1], "　".join([*numbers[:1], bodies[0]])]) if bodies else ""


def _heads(items: Items) -> dict[tuple[str, str], tuple[str, str]]:
    """{(source, folder): (title, beginning of the text)} of the page above the parts of a code, whatever the files are called."""
    folders = defaultdict[tuple[str, str], list[tuple[str, str]]](list)
    for work, item in _pages(items):
        folder, _, name = item["locator"].rpartition("/")
        text = formats.clean_text(item["text"])
        folders[work.source, folder].append((lawtext.title_of(text, name), text[:4000]))
    heads = {}
    for place, titles in folders.items():
        whole = [(title, text) for title, text in titles if not statutes.is_part(title) and not statutes.is_decision(title)]
        if len(whole) == 1 and any(statutes.is_part(title) for title, _ in titles):
            heads[place] = whole[0]
    return heads
