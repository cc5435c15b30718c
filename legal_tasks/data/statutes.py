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

from legal_tasks.data import lawdates, lawtext
from legal_tasks.data.citing import UNREADABLE, Citation, bare_names, citations, repeals, short_name
from legal_tasks.data.numerals import article_name, numeral
from legal_tasks.data.quotations import fits

BRACKETS = r"(?:[（(〔][^（）()〔〕]*[）)〕])*$"
ARTICLELESS = re.compile(
    rf"(?:修正案|决定|决议|批复|答复|复函|函|解释|通知|意见|序言|宪法|解答|问答|安排|标准|命令|令|纪要|公告|公报){BRACKETS}"
)
OFFICIAL = re.compile(
    rf"{ARTICLELESS.pattern}|(?:规定|办法|方案|条例|规范|指引|准则|要点|措施|规程|细则|规则|目录|清单){BRACKETS}"
)
NUMBERED = re.compile(r"(?m)^[\s　#*]*(?:[一二三四五六七八九十]+、|[（(][一二三四五六七八九十]+[)）]|\d{1,2}[、.．])")
REPEALS = re.compile(r"(?:废止|失效|清理)[^《》]{0,30}(?:决定|公告|目录|通知|命令|令)")  # a document that lists what it ends
HEAD = 400  # characters of a document in which its own days stand
SHORTEST_WHOLE, SHORTEST_REPLY = 150, 60  # characters of a document that is kept whole
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


@lru_cache
def _court_days() -> dict[str, str]:
    """{day on which the Supreme Court amended many interpretations at once: their first day in force}, from the same file."""
    import yaml

    table = yaml.safe_load((Path(__file__).parent / "repeals.yaml").read_text("utf-8"))
    rule = table["interpretations_amended"]
    return {day.isoformat(): rule["effective"].isoformat() for day in rule["decided"]}


@dataclass
class Law:
    """One version of a law: `articles` {"12" or "133-1": text}, `version` its latest date.

    `effective`: the day the text names, unless it is the first version's (older than `version`): then `version`, the day of
    adoption, stands in. `since`: the day the text names, from which it ended the laws in `repeals`. `first`: the earliest day
    that the text knows of. `whole`: the text of an amendment, reply or decision that is not divided into articles. `annex`:
    what stands behind the last article. `part`: its place in an item that holds several laws, from 0.
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
    first: str = ""
    annex: str = ""
    part: int = 0


def parse_laws(text: str, title: str, item: str, hint: str = "") -> list[Law]:
    """The laws in a text, in order; [] where no line begins an article.

    `title`: the first one's name; the others have the titles that stand above them. `hint`: the file's name, for a date in it.
    """
    laws: list[Law] = []
    for number, part in enumerate(lawtext.read(text)):
        name = title if not number else part.title or f"{title}（其{numeral(number + 1)}）"
        law = Law(short_name(name), "", "", item, part.articles, annex=part.annex, part=number)
        _dates(law, part.head, hint if not number else "")
        if law.articles:
            laws.append(law)
    return laws


def parse_law(text: str, title: str, item: str, hint: str = "") -> Law | None:
    """The first law in a text; None if it has no articles."""
    return next(iter(parse_laws(text, title, item, hint)), None)


def _dates(law: Law, head: str, hint: str) -> None:
    """The law's days and what it ended, from its own text."""
    texts = list(law.articles.values())
    starts = lawdates.amended_day(head)
    law.since = lawdates.first_day(head, texts) or lawdates.amended_day(head, first=True)
    law.version = max(lawdates.decided(head) + lawdates.days(hint), default="") or max(starts, law.since)
    law.effective = max(starts or law.since, law.version)
    earlier = [day for day in lawdates.decided(head) if day < law.version]
    law.first = law.since or min(earlier, default="")
    law.ended = lawdates.ended(head)
    law.repeals = list(dict.fromkeys(short_name(name) for name in lawdates.repealed(head + "\n" + "\n".join(texts))))


@dataclass(frozen=True)
class Verdict:
    """What became of one citation. `state` is a key of LABELS.

    `not held`: the store has no such law; `unverified`: it has a part of the law, without this article, or not the version of
    that day; `former`: cited as the former law, or version, that it is. `version`: the first day of the version that was
    looked at, where the store holds several.
    """

    law: str
    article: str
    state: str
    detail: str = ""
    version: str = ""

    def line(self) -> str:
        """As people read it: the citation, one of the six verdicts of legal databases, what was found."""
        article = article_name(self.article) if self.article else ""
        version = f"version of {self.version}" if self.version else ""
        notes = [note for note in (NOTES.get(self.state, ""), self.detail, version) if note]
        return f"《{self.law}》{article}: {LABELS[self.state]} {self.state}" + (f" ({'; '.join(notes)})" if notes else "")


class Store:
    """All versions of all laws side by side, with what ended when and what came after."""

    def __init__(self, laws: Iterable[Law]) -> None:
        self.laws: dict[str, list[Law]] = defaultdict(list)
        laws = list(laws)
        decided = {(name, law.version): law.since for law in laws for name in _amends(law) if law.since}
        for law in laws:
            known = first_day(law) or decided.get((law.name, law.version))
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
        return self.judge_found(citations(text, self.bare), day, bound, compares(text))

    def judge_found(
        self, found: Iterable[Citation], day: datetime.date, bound: float = 0.6, compared: bool = False
    ) -> list[Verdict]:
        """The same of what `citations` found; `compared`: in a text that sets old and new law side by side."""
        verdicts = []
        for cited, article, quote, formerly in found:
            name = self.bare.resolve(cited)
            gone = self.repealed(name, day)
            if gone:
                detail = f"since {gone[0]}; now {gone[1]}"
                verdicts.append(Verdict(name, article, "former" if formerly or compared else "repealed", detail))
            elif name not in self.laws:
                verdicts.append(Verdict(name, article, "not held"))
            else:
                state, detail = self._article(name, article, quote, day, bound)
                if formerly and state in ("amended", "misquoted"):
                    state, detail = self._former(name, article, quote, day, bound)
                verdicts.append(Verdict(name, article, state, detail, self._version(name, day)))
        return verdicts

    def _article(self, name: str, article: str, quote: str, day: datetime.date, bound: float) -> tuple[str, str]:
        """(state, detail) of a citation of a law that the store holds and that has not ended."""
        current = self.current(name, day)
        if not current:
            oldest = self.laws[name][0]
            if min(law.first or law.effective for law in self.laws[name]) <= day.isoformat():
                return "unverified", f"the version in force on {day} is not held; the oldest is in force from {oldest.effective}"
            return "not yet in force", f"from {oldest.effective}"
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
            if versions:
                return "amended", f"the article is gone from the version in force; {self._where(name, article, '', day, bound)}"
            last = max((int(number.split("-")[0]) for law in current for number in law.articles), default=0)
            return "no such article", f"the law has {last} articles"
        if quote and not any(fits(quote, one, bound) for one in held):
            old = self._where(name, article, quote, day, bound)
            return ("amended", old) if old else ("misquoted", held[0][:80])
        return "in force", ""

    def _version(self, name: str, day: datetime.date) -> str:
        """The first day of the version in force on a day, where several are held."""
        current = self.current(name, day)
        return current[0].effective if current and len({law.effective for law in self.laws[name]}) > 1 else ""

    def _where(self, name: str, article: str, quote: str, day: datetime.date, bound: float) -> str:
        """Which version out of force has the article, with the words quoted; "" if none."""
        for law in reversed(self.laws[name]):
            if article in law.articles and (not quote or fits(quote, law.articles[article], bound)):
                later = min((one.effective for one in self.laws[name] if one.effective > law.effective), default="")
                until = f" until {later}" if later else ""
                return f"the words of another version, in force from {law.effective}{until}"
        return ""

    def _former(self, name: str, article: str, quote: str, day: datetime.date, bound: float) -> tuple[str, str]:
        """(state, detail) of a citation that says itself that it is of a former version."""
        where = self._where(name, article, quote, day, bound)
        return ("former", where) if where else ("unverified", "cited as a former version, which is not held")


COMPARES = re.compile(
    r"新旧(?:法|条文|规定|法条|对[照比])|(?:条文|法条|法律|新旧)?对照表|修[改订正]前[^。\n]{0,30}修[改订正]后|"
    r"(?:原|旧)(?:法|条文|规定|法条)[^。\n]{0,40}(?:新|现行)(?:法|条文|规定|法条)"
)


def compares(text: str) -> bool:
    """Whether a text sets old and new law side by side: what it names of the old one is no citation of law in force."""
    return COMPARES.search(text) is not None


def _amends(law: Law) -> list[str]:
    """The laws that a decision amends, by its name: 关于修改《灯会条例》的决定."""
    found = re.search(r"关于修改(.{2,40}?)(?:的决定|的决议)$", law.name)
    return re.split("[、和]", found[1]) if found else []


def first_day(law: Law) -> str:
    """The day on which a version took effect where its own text does not say it: from repeals.yaml; "" where that does not."""
    known = first_days().get((law.name, law.version))
    if not known and law.name.startswith("最高人民"):
        known = _court_days().get(law.version)
    return known or ""


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


def read_statute(text: str, title: str, item: str, hint: str = "") -> list[Law]:
    """The laws of a page of a statute source: divided into articles, or one document that is not; [] for another page."""
    laws = parse_laws(text, title, item, hint)
    if laws and not (title.endswith("决定") and "1" not in laws[0].articles):
        return laws
    document = parse_document(text, title, item, hint)
    return [document] if document else []


def parse_document(text: str, title: str, item: str, hint: str = "") -> Law | None:
    """An amendment, reply, decision or preamble that has no articles, kept whole; None for an index or another page.

    A law, regulation or set of rules has articles, or at least paragraphs with numbers.
    """
    if text.count("](") > 3 or not OFFICIAL.search(title):
        return None
    if len(text) < (SHORTEST_REPLY if ARTICLELESS.search(title) else SHORTEST_WHOLE):
        return None
    if not ARTICLELESS.search(title) and len(NUMBERED.findall(text)) < 2:
        return None
    since = lawdates.first_day(text[:1500], [text])
    day = max(lawdates.decided(text[:1500]) + lawdates.days(hint), default="") or since
    starts = lawdates.amended_day(text[:HEAD])
    law = Law(short_name(title), day, max(day, since, starts), item, whole=text, since=since, first=since)
    names = [*lawdates.repealed(text), *(lawdates.listed(text) if REPEALS.search(title) else ())]
    law.repeals = list(dict.fromkeys(map(short_name, names)))
    return law


def part_names(alike: list[tuple[Law, str]]) -> None:
    """Put the folder (and the file's name) before the name of laws that are called by their file: they are different ones."""
    if len({place for _, place in alike}) < 2:
        return
    for law, place in alike:
        folders = place.rsplit("/", 1)[0].replace("/", "·") if "/" in place else ""
        law.name = f"{folders}·{law.name}" if folders else law.name


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
