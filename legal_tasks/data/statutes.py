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
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from legal_tasks.data.citing import UNREADABLE, Citation, bare_names, citations, repeals, short_name
from legal_tasks.data.numerals import NUMBER, article_name, to_number
from legal_tasks.data.quotations import fits

ARTICLE = re.compile(rf"^[\s　]*(?:\*\*)?第({NUMBER})条(?:之({NUMBER}))?(?:\*\*)?(?=[\s　:：*【（]|$)[\s　:：]*", re.M)
DATE = re.compile(r"(\d{4})\s*[年-]\s*(\d{1,2})\s*[月-]\s*(\d{1,2})\s*日?")
ISSUED = r"(?:[^《》。；\n]{0,60}?(?:发布|公布|颁布|印发|批准|通过|颁发)的)?"
ENDS = re.compile(rf"((?:[，、,和及以]*{ISSUED}《[^《》]+》)+)[^。《》\n]{{0,30}}?(?:同时|即行|随之)(?:废止|失效)")
OFFICIAL = re.compile(r"(?:修正案|决定|批复|解释|规定|办法|方案|条例|通知|意见|序言|宪法)(?:[（(][^（）()]*[）)])*$")
HEADING = re.compile(rf"^#+\s*|^第{NUMBER}[编章节][\s　]|^附\s*则", re.M)
LABELS = {"in force": "现行有效", "amended": "已修改", "repealed": "已废止", "not yet in force": "尚未生效"}
LABELS |= {"no such article": "未收录", "misquoted": "现行有效", "not held": "未收录", "unverified": "未核验", "former": "已废止"}
NOTES = {"no such article": "条文不存在", "misquoted": "引文与条文不符"}


@lru_cache
def first_days() -> dict[tuple[str, str], str]:
    """{(law, day of the amending decision): day on which the amended text took effect}, from the same file."""
    import yaml

    table = yaml.safe_load((Path(__file__).parent / "repeals.yaml").read_text("utf-8"))
    days = {}
    for law, versions in table["amendments"].items():
        for decided, effective in versions.items():
            days[law, decided.isoformat()] = effective.isoformat()
    return days


@dataclass
class Law:
    """One version of a law: `articles` {"12" or "133-1": text}, `version` its latest date.

    `effective`: the day the text names, unless it is the first version's (older than `version`): then `version`, the day of
    adoption, stands in. `since`: the day the text names, from which it ended the laws in `repeals`. `whole`: the text of an
    amendment, reply or decision that is not divided into articles.
    """

    name: str
    version: str
    effective: str
    item: str
    articles: dict[str, str] = field(default_factory=dict)
    repeals: list[str] = field(default_factory=list)
    ended: str = ""
    whole: str = ""
    since: str = ""


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
    law.since = _date(DATE.search(starts[1])) if starts else ""  # type: ignore[arg-type]
    law.effective = max(law.since, law.version)
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
    """What became of one citation. `state` is a key of LABELS.

    `not held`: the store has no such law; `unverified`: it has a part of the law, without this article; `former`: cited as the
    former law that it is.
    """

    law: str
    article: str
    state: str
    detail: str = ""

    def line(self) -> str:
        """As people read it: the citation, one of the six verdicts of legal databases, what was found."""
        article = article_name(self.article) if self.article else ""
        notes = [note for note in (NOTES.get(self.state, ""), self.detail) if note]
        return f"《{self.law}》{article}: {LABELS[self.state]} {self.state}" + (f" ({'; '.join(notes)})" if notes else "")


class Store:
    """All versions of all laws side by side, with what ended when and what came after."""

    def __init__(self, laws: Iterable[Law]) -> None:
        self.laws: dict[str, list[Law]] = defaultdict(list)
        for law in laws:
            known = first_days().get((law.name, law.version))
            self.laws[law.name].append(replace(law, effective=known) if known else law)
        for versions in self.laws.values():
            versions.sort(key=lambda law: (law.effective, law.version, law.item))
        self.ended = dict(repeals()[0])
        for law in sorted(
            (law for versions in self.laws.values() for law in versions), key=lambda law: (law.since or law.effective, law.name)
        ):
            day = law.since or law.effective
            if law.ended:
                self.ended.setdefault(law.name, (law.ended, "see the law's own note"))
            for name in law.repeals:
                if name != law.name and day and all(one.effective < day for one in self.laws.get(name, [])):
                    self.ended.setdefault(name, (day, law.name))
        self.bare = bare_names([*self.laws, *self.ended])

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
        """(date, successor) if the law, or the law that this interpretation explains, had ended by that day."""
        _, pattern, rule = repeals()
        found = self.ended.get(name) or (rule if pattern.search(name) else None)
        return found if found and found[0] <= day.isoformat() else None

    def article(self, name: str, article: str, day: datetime.date) -> str | None:
        """What the article ("12", "133-1") says on a day; None where it was not in force or is not held."""
        return next((law.articles[article] for law in self.current(name, day) if article in law.articles), None)

    def texts(self, name: str, article: str) -> list[str]:
        """What the article says in each version held, newest first."""
        return [law.articles[article] for law in reversed(self.laws.get(name, [])) if article in law.articles]

    def judge(self, text: str, day: datetime.date, bound: float = 0.6) -> list[Verdict]:
        """A verdict per citation in the text; `bound`: share of a quotation's 5-grams that the article must hold."""
        return self.judge_found(citations(text, self.bare), day, bound)

    def judge_found(self, found: Iterable[Citation], day: datetime.date, bound: float = 0.6) -> list[Verdict]:
        """The same of what `citations` found."""
        verdicts = []
        for cited, article, quote, formerly in found:
            name = self.bare.resolve(cited)
            gone = self.repealed(name, day)
            if gone:
                detail = f"since {gone[0]}; now {gone[1]}"
                verdicts.append(Verdict(name, article, "former" if formerly else "repealed", detail))
            elif name not in self.laws:
                verdicts.append(Verdict(name, article, "not held"))
            else:
                state, detail = self._article(name, article, quote, day, bound)
                verdicts.append(Verdict(name, article, state, detail))
        return verdicts

    def _article(self, name: str, article: str, quote: str, day: datetime.date, bound: float) -> tuple[str, str]:
        """(state, detail) of a citation of a law that the store holds and that has not ended."""
        current = self.current(name, day)
        if not current:
            return "not yet in force", f"from {self.laws[name][0].effective}"
        held = [law.articles[article] for law in current if article in law.articles]
        versions = self.texts(name, article)
        if not article:
            return "in force", ""
        if article == UNREADABLE:
            return "no such article", "its number cannot be read"
        if not held and not _complete(current, article):
            return "unverified", "only a part of the law is held"
        if not held:
            later = [law.effective for law in self.laws[name] if article in law.articles and law.effective > day.isoformat()]
            if later:
                return "not yet in force", f"from {min(later)}"
            return ("amended", "the article is gone from the version in force") if versions else ("no such article", "")
        if quote and not any(fits(quote, one, bound) for one in held):
            old = any(fits(quote, one, bound) for one in versions)
            return ("amended", "the words of another version") if old else ("misquoted", held[0][:80])
        return "in force", ""


def _complete(parts: list[Law], article: str) -> bool:
    """Whether the version is held so far that an absent article does not exist."""
    numbers = {int(number.split("-")[0]) for law in parts for number in law.articles}
    return 1 in numbers and len(numbers) >= 0.95 * max(numbers) and "-" not in article


def unite(parts: list[Law]) -> None:
    """Give the files of one code (no article in two of them) the version and the first day that any of them names."""
    numbers = [number for law in parts for number in law.articles]
    if len(parts) > 1 and len(set(numbers)) == len(numbers):
        version, effective = max(law.version for law in parts), max(law.effective for law in parts)
        for law in parts:
            law.version, law.effective = version, effective


def is_part(title: str) -> bool:
    """Whether a page's title is that of a part: 第三编 合同, 附则, 序言, 修正案."""
    return bool(re.match(r"第.{1,3}[编章]|[总分附]则$|序言$|修正案", title))


def is_decision(title: str) -> bool:
    """Whether it is a decision or amendment that stands beside a law, not the law."""
    return bool(re.search(r"决定$|修正案|解释$", title))


def part_title(title: str, above: str) -> str:
    """The law's name for a file in a code's folder: the code's for its parts, the file's own for amendments and decisions."""
    if title.startswith("修正案"):
        return above + title
    return above if is_part(title) or not OFFICIAL.search(title) else title


def parse_document(text: str, title: str, item: str, hint: str = "") -> Law | None:
    """An amendment, reply, decision or preamble that has no articles, kept whole; None for an index or another page."""
    if len(text) < 150 or text.count("](") > 3 or not OFFICIAL.search(title):
        return None
    dates = [date for date in map(_date, DATE.finditer(text[:1500] + " " + hint)) if date]
    day = max(dates, default="")
    return Law(short_name(title), day, day, item, whole=text)


def write_store(path: Path, laws: Iterable[Law]) -> int:
    """One law version per line; return how many."""
    lines = [json.dumps(asdict(law), ensure_ascii=False) + "\n" for law in laws]
    path.write_text("".join(lines), "utf-8")
    return len(lines)


def read_store(path: Path) -> Store:
    """The store that `write_store` wrote."""
    with open(path, encoding="utf-8") as file:  # its lines end at a line feed; an article may hold U+2028
        return Store(Law(**json.loads(line)) for line in file)


def newest_store() -> Path | None:
    """statutes.jsonl of the artifact of data.clean that was made last, or None."""
    from legal_tasks import step

    found = [
        path for path in (step.store().root / "data.clean").glob("*/statutes.jsonl") if path.with_name("manifest.json").is_file()
    ]
    return max(found, key=lambda path: (path.stat().st_mtime, path), default=None)


def command(argv: list[str] | None = None) -> int:
    """Print a line per citation of a text with its verdict; 0 done, 2 the caller can fix it."""
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.data.statutes", description=__doc__)
    parser.add_argument("action", choices=["check"])
    parser.add_argument("text", help="the text; - reads standard input")
    parser.add_argument("--store", type=Path, help="statutes.jsonl of data.clean's artifact (default: the newest in the store)")
    parser.add_argument("--as-of", type=datetime.date.fromisoformat, default=datetime.date.today(), help="default: today")
    arguments = parser.parse_args(argv)
    path = arguments.store or newest_store()
    if path is None:
        print("error: there is no statute store yet: run make prepare or make retrain, or name one by --store", file=sys.stderr)
        return 2
    if not path.is_file():
        print(f"error: --store {path} is not a file; name statutes.jsonl of data.clean's artifact", file=sys.stderr)
        return 2
    text = sys.stdin.read() if arguments.text == "-" else arguments.text
    verdicts = read_store(path).judge(text, arguments.as_of)
    for verdict in verdicts:
        print(verdict.line())
    if not verdicts:
        print("no citation of a law was found in the text")
    return 0


if __name__ == "__main__":
    sys.exit(command())
