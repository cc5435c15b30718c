"""The statute store: which article says what, in which version, and is a citation in force, invented or misquoted?

python -m legal_tasks.data.statutes check "根据《合同法》第五十二条……" --store CLEAN_ARTIFACT/statutes.jsonl --as-of 2026-11-01
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

from legal_tasks.data.dedupe import grams, normal

NUMBER = r"[零〇一二两三四五六七八九十百千0-9０-９]+"
ARTICLE = re.compile(rf"^[\s　]*(?:\*\*)?第({NUMBER})条(?:之({NUMBER}))?(?:\*\*)?(?=[\s　:：*【（]|$)[\s　:：]*", re.M)
CITATION = re.compile(rf"《([^《》]{{2,60}})》(?:（[^（）]{{0,20}}）)?((?:[、和及与，]?第{NUMBER}条(?:之{NUMBER}(?!款))?)+)?")
PART = re.compile(rf"第({NUMBER})条(?:之({NUMBER})(?!款))?")
DATE = re.compile(r"(\d{4})\s*[年-]\s*(\d{1,2})\s*[月-]\s*(\d{1,2})\s*日?")
ENDS = re.compile(r"((?:[、和及]?《[^《》]+》)+)[^。《》]{0,12}同时废止")
HEADING = re.compile(rf"^#+\s*|^第{NUMBER}[编章节][\s　]|^附\s*则", re.M)
CIVIL_CODE_DAY = datetime.date(2021, 1, 1)
# Laws that ended when the Civil Code took effect: Civil Code of the PRC, art. 1260; the successor is the part of the code.
CIVIL_CODE_REPEALS = {
    "婚姻法": "民法典（婚姻家庭编）",
    "继承法": "民法典（继承编）",
    "民法通则": "民法典（总则编）",
    "收养法": "民法典（婚姻家庭编）",
    "担保法": "民法典（物权编、合同编）",
    "合同法": "民法典（合同编）",
    "物权法": "民法典（物权编）",
    "侵权责任法": "民法典（侵权责任编）",
    "民法总则": "民法典（总则编）",
}
BARE = re.compile(rf"(?<![劳动《])({'|'.join(CIVIL_CODE_REPEALS)})(?=第{NUMBER}条)")


@lru_cache(maxsize=20000)
def to_number(text: str) -> int:
    """An article number in Chinese or Arabic digits; 0 where it is none."""
    import cn2an

    plain = text.translate(str.maketrans("０１２３４５６７８９〇两", "0123456789零二"))
    if plain.isdigit():
        return int(plain)
    try:
        return int(cn2an.cn2an(plain, "smart"))
    except (ValueError, KeyError):
        return 0


def short_name(name: str) -> str:
    """The name as it is cited: without the state's name, brackets and notes on the version."""
    name = re.sub(r"[\s　*#《》〈〉]", "", name).replace("中华人民共和国", "")
    return re.sub(r"[（(][^（）()]*(?:修[正订]|试行|\d{4}|编)[^（）()]*[）)]$", "", name)


@dataclass
class Law:
    """One version of a law: `articles` {"12" or "133-1": text}, `version` its latest date, `effective` where it says so."""

    name: str
    version: str
    effective: str
    item: str
    articles: dict[str, str] = field(default_factory=dict)
    repeals: list[str] = field(default_factory=list)
    ended: str = ""


def parse_law(text: str, title: str, item: str, hint: str = "") -> Law | None:
    """The law in a text of either mark-up; None if it has no articles. `hint`: the file's name, for a date in it."""
    marks: list[tuple[re.Match[str], str]] = []
    last = 0
    for mark in ARTICLE.finditer(text):
        count = to_number(mark[1])
        if count and (count >= last or not marks):
            marks.append((mark, str(count) + (f"-{to_number(mark[2])}" if mark[2] else "")))
            last = count
    if not marks:
        return None
    head = text[: marks[0][0].start()]
    dates = [date for date in map(_date, DATE.finditer(head + " " + hint)) if date]
    law = Law(short_name(title), max(dates, default=""), "", item)
    ends = [mark.start() for mark, _ in marks[1:]] + [len(text)]
    for (mark, number), end in zip(marks, ends, strict=True):
        body = text[mark.end() : end]
        cut = HEADING.search(body)
        body = re.sub(r"\n\s*\n+", "\n", (body[: cut.start()] if cut else body).replace("**", "")).strip(" \n　")
        if body and number not in law.articles:
            law.articles[number] = body
    whole = head + "\n" + "\n".join(law.articles.values())
    starts = re.search(r"自\s*(\d{4}年\d{1,2}月\d{1,2}日)起(?:施行|生效|实施)", whole) or re.search(
        r"(\d{4}年\d{1,2}月\d{1,2}日)\s*施行", head
    )
    law.effective = _date(DATE.search(starts[1])) if starts else law.version  # type: ignore[arg-type]
    gone = re.search(r"(\d{4}年\d{1,2}月\d{1,2}日)起?\s*(?:废止|失效)", head)
    law.ended = _date(DATE.search(gone[1])) if gone else ""  # type: ignore[arg-type]
    for found in ENDS.finditer(whole):
        law.repeals += [short_name(name) for name in re.findall(r"《([^《》]+)》", found[1])]
    return law if law.articles else None


def _date(found: re.Match[str]) -> str:
    try:
        return datetime.date(int(found[1]), int(found[2]), int(found[3])).isoformat()
    except ValueError:
        return ""


@dataclass(frozen=True)
class Verdict:
    """What became of one citation. `state`: in force, repealed, not yet in force, no such article, misquoted, not held."""

    law: str
    article: str
    state: str
    detail: str = ""


class Store:
    """All versions of all laws side by side, with what ended when and what came after."""

    def __init__(self, laws: Iterable[Law]) -> None:
        self.laws: dict[str, list[Law]] = defaultdict(list)
        for law in laws:
            self.laws[law.name].append(law)
        for versions in self.laws.values():
            versions.sort(key=lambda law: (law.effective, law.version, law.item))
        self.ended = {name: (CIVIL_CODE_DAY.isoformat(), after) for name, after in CIVIL_CODE_REPEALS.items()}
        for law in sorted(
            (law for versions in self.laws.values() for law in versions), key=lambda law: (law.effective, law.name)
        ):
            if law.ended:
                self.ended.setdefault(law.name, (law.ended, "see the law's own note"))
            for name in law.repeals:
                if name != law.name and law.effective and all(one.effective < law.effective for one in self.laws.get(name, [])):
                    self.ended.setdefault(name, (law.effective, law.name))

    def current(self, name: str, day: datetime.date) -> list[Law]:
        """The parts of the law's version in force on a day (a code may lie in several files); [] if none or repealed."""
        if self.repealed(name, day):
            return []
        chosen: list[Law] = []
        for law in reversed([law for law in self.laws.get(name, []) if law.effective <= day.isoformat()]):
            if all(law.effective == one.effective or not law.articles.keys() & one.articles.keys() for one in chosen):
                chosen.append(law)
        return chosen

    def repealed(self, name: str, day: datetime.date) -> tuple[str, str] | None:
        """(date, successor) if the law had ended by that day."""
        found = self.ended.get(name)
        return found if found and found[0] <= day.isoformat() else None

    def texts(self, name: str, article: str) -> list[str]:
        """What the article says in each version held, newest first."""
        return [law.articles[article] for law in reversed(self.laws.get(name, [])) if article in law.articles]

    def judge(self, text: str, day: datetime.date, bound: float = 0.6) -> list[Verdict]:
        """A verdict per citation in the text; `bound`: share of a quotation's 5-grams that the article must hold."""
        verdicts = []
        for name, article, quote, formerly in citations(text):
            gone = self.repealed(name, day)
            held = self.texts(name, article) if article else []
            if gone and not formerly:
                verdicts.append(Verdict(name, article, "repealed", f"since {gone[0]}; now {gone[1]}"))
            elif not article or name not in self.laws or gone:
                verdicts.append(Verdict(name, article, "not held" if name not in self.laws else "in force"))
            elif not held and self._complete(name, article):
                verdicts.append(Verdict(name, article, "no such article"))
            elif not held:
                verdicts.append(Verdict(name, article, "not held"))
            elif quote and max(_share(quote, one) for one in held) < bound:
                verdicts.append(Verdict(name, article, "misquoted", held[0][:80]))
            else:
                verdicts.append(Verdict(name, article, "in force"))
        return verdicts

    def _complete(self, name: str, article: str) -> bool:
        """Whether the store holds so much of the law that an absent article does not exist."""
        numbers = {int(number.split("-")[0]) for law in self.laws[name] for number in law.articles}
        return 1 in numbers and len(numbers) >= 0.95 * max(numbers) and "-" not in article


def _share(quote: str, article: str) -> float:
    wanted = grams(quote)
    return len(wanted & grams(article)) / len(wanted) if wanted else 1.0


def citations(text: str) -> Iterator[tuple[str, str, str, bool]]:
    """(law, article or "", quotation or "", cited as former law) of every citation in order."""
    for found in CITATION.finditer(text):
        before = text[max(0, found.start() - 6) : found.start()]
        formerly = (
            "原" in before
            or "废止" in text[found.end() : found.end() + 30]
            or "旧" in before
            or "失效" in text[found.end() :][:30]
        )
        name = short_name(found[1])
        parts = list(PART.finditer(found[2] or ""))
        if not parts:
            yield name, "", "", formerly
        for part in parts:
            article = str(to_number(part[1])) + (f"-{to_number(part[2])}" if part[2] else "")
            yield name, article, _quotation(text[found.end() :]) if len(parts) == 1 else "", formerly
    for bare in BARE.finditer(text):
        number = PART.match(text, bare.end())
        formerly = "原" in text[max(0, bare.start() - 6) : bare.start()]
        yield bare[1], str(to_number(number[1])) if number else "", "", formerly


def _quotation(after: str) -> str:
    """The words in quotation marks that follow a citation directly; shorter than 12 characters are a term, not a quotation."""
    found = re.match(r"[^“”。；\n《》]{0,16}[：:，,]?\s*“([^”]{12,})”", after)
    if not found or re.match(r"第.{1,4}款", after) and "款" not in found[1] and len(normal(found[1])) < 12:
        return ""
    return re.sub(r"……|\.{3,}|…", "", found[1])


def write_store(path: Path, laws: Iterable[Law]) -> int:
    """One law version per line; return how many."""
    lines = [json.dumps(asdict(law), ensure_ascii=False) + "\n" for law in laws]
    path.write_text("".join(lines), "utf-8")
    return len(lines)


def read_store(path: Path) -> Store:
    """The store that `write_store` wrote."""
    return Store(Law(**json.loads(line)) for line in path.read_text("utf-8").splitlines())


def command(argv: list[str] | None = None) -> int:
    """Print a line per citation of a text with its verdict."""
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.data.statutes", description=__doc__)
    parser.add_argument("action", choices=["check"])
    parser.add_argument("text")
    parser.add_argument("--store", type=Path, required=True, help="statutes.jsonl of data.clean's artifact")
    parser.add_argument("--as-of", type=datetime.date.fromisoformat, default=datetime.date.today())
    arguments = parser.parse_args(argv)
    if not arguments.store.is_file():
        print(f"error: --store {arguments.store} is not a file; name statutes.jsonl of data.clean's artifact", file=sys.stderr)
        return 2
    for verdict in read_store(arguments.store).judge(arguments.text, arguments.as_of):
        article = f"第{verdict.article}条" if verdict.article else ""
        print(f"《{verdict.law}》{article}: {verdict.state}{' (' + verdict.detail + ')' if verdict.detail else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(command())
