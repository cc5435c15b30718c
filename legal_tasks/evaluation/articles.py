"""Which articles of which law does a text name? By law and number, in every numeral and in every way of naming a law.

The parsing is that of `legal_tasks.data.citing`; what a model writes is first brought into the form that it reads:
第 271 条, 第２７１条, 第贰佰柒拾壹条, 271条, 第271、272条, 刑法（2020修正）第271条, **《刑法》** 第二百七十一条. An article
without a law is one of the law named last (…第二百七十一条……第二百七十二条), or of the law that the text is about.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path

from legal_tasks.data.citing import ARTICLES, CITATION, CODE_PARTS, SHORT, bare_names, repeals, short_name
from legal_tasks.data.citing import citations as read
from legal_tasks.data.numerals import NUMBER, to_number

ALIASES = {"刑法典": "刑法", "民法典草案": "民法典", **SHORT}
FINANCIAL = str.maketrans("壹贰貳叁肆伍陆陸柒捌玖拾佰仟條", "一二二三四五六六七八九十百千条")
# Before 第…条: what makes it an article of something else than a law that was named.
OF_ANOTHER = re.compile(
    r"(?:[法典例则]|规定|办法|决定|解释|意见|通知|批复|方案|修正案|合同|协议|章程|公约|约定|制度|守则|标准|条款|保单|遗嘱|"
    r"判决书?)的?$|》(?:（[^（）]*）)?的?$"
)
OF_THE_SAME = re.compile(r"(?:[该本同此]|上述|前述|前引)(?:法律?|法典|条例|规定|解释|办法|决定|规则|细则|通则)的?$")
NAKED = re.compile(ARTICLES)
_GAPS = re.compile(
    r"(?<=[第《》零〇一二两三四五六七八九十百千0-9０-９条款之、，和至])[ \t　]+|[ \t　]+(?=[第条款之《》、，（])|\*+|`+"
)
_VERSION = re.compile(r"(?<=[法典例则])[（(][^（）()]*(?:修[正订]|\d{4})[^（）()]*[）)](?=的?(?:第|[0-9]))")
_CODE_PART = re.compile(rf"(民法典》?)[·,，]?(?:第[一二三四五六七]编)?(?:{CODE_PARTS})编(?=的?(?:第|[0-9]))")
_NO_ORDINAL = re.compile(rf"(?<=[法典例》])(?={NUMBER}条)")
_SHARED = re.compile(rf"第({NUMBER})((?:[、，和及与]第?{NUMBER})+)条")

Article = tuple[str, str]  # (law, "271" or "133-1"); the law is "" where none is named


def plain(text: str) -> str:
    """The text as the statutes' patterns read it: no blanks and marks within a citation, each article with its own 条."""
    text = _GAPS.sub("", text.translate(FINANCIAL).replace("廿", "二十").replace("卅", "三十"))
    text = _NO_ORDINAL.sub("第", _CODE_PART.sub(r"\1", _VERSION.sub("", text)))
    return _SHARED.sub(_apart, text)


def _apart(found: re.Match[str]) -> str:
    """第271、272条 -> 第271条、第272条"""
    rest = re.sub(rf"([、，和及与])第?({NUMBER})", r"条\1第\2", found[2])
    return f"第{found[1]}{rest}条"


@lru_cache(maxsize=512)
def _bare(laws: tuple[str, ...]) -> re.Pattern[str]:
    # A longer name hides the shorter one in it (社会保险法, 保险法), so the list holds what is cited without brackets.
    listed = (Path(__file__).parent / "laws.txt").read_text("utf-8").split()
    return bare_names([*listed, *repeals()[0], *ALIASES, *laws])


def law_of(name: str) -> str:
    """The law's name as it is compared: short, without the state's name and notes on the version."""
    short = short_name(name)
    return ALIASES.get(short, short)


def articles(text: str, laws: Iterable[str] = (), about: str = "") -> list[Article]:
    """The articles that a text names, each once, in order.

    `laws`: further laws that may be named without brackets; `about`: the law of an article before which none is named.
    """
    if "条" not in text and "條" not in text:
        return []
    text, found, law = plain(text), dict[Article, None](), about
    bare = _bare(tuple(sorted({name for name in laws if name})))
    named = [(one.start(), one.end(), one[1], one[0]) for one in CITATION.finditer(text)]
    taken = [(start, end) for start, end, _, _ in named]
    named += [
        (one.start(), one.end(), one[1], one[0])
        for one in bare.finditer(text)
        if not any(start <= one.start() < end for start, end in taken)
    ]
    taken = [(start, end) for start, end, _, _ in named]
    events = [(start, name, words) for start, _, name, words in named]
    for one in NAKED.finditer(text):
        if any(start <= one.start() < end for start, end in taken):
            continue
        words = one[0].lstrip("、和及与，至到—～~-")
        start = one.end() - len(words)
        before = text[max(0, start - 12) : start]
        if OF_THE_SAME.search(before) or not OF_ANOTHER.search(before):
            events.append((start, "", words))
    for _, name, words in sorted(events):
        law = law_of(name) if name else law
        cited = read(words, bare) if name else read(f"《某法》{words}")
        found |= dict.fromkeys((law, number) for _, number, _, _ in cited if number)
    return list(found)


def canonical(text: str) -> list[str]:
    """`law number` for every article of a reference, however it is written: 刑法 271, 《中华人民共和国刑法》第二百七十一条.

    [] where the text names no article of a law.
    """
    written = re.fullmatch(rf"\s*《?(.+?)》?[\s　]+第?({NUMBER})条?(?:[之-]({NUMBER}))?\s*", plain_blanks(text))
    if written and to_number(written[2]):
        extra = f"-{to_number(written[3])}" if written[3] else ""
        return [f"{law_of(written[1])} {to_number(written[2])}{extra}"]
    found = [one for one in articles(text) if one[0]]
    if not found:  # a law that is in no list of ours, at the head of the reference
        name = re.match(rf"\s*(?:法条[:：])?\s*([\u4e00-\u9fff]{{2,40}}?)的?(?:第|[0-9]|{NUMBER}条)", plain(text))
        found = [one for one in articles(text, [name[1]] if name else ()) if one[0]]
    return [f"{law} {number}" for law, number in found]


def plain_blanks(text: str) -> str:
    """The text with its blanks, other numerals read alike."""
    return text.translate(FINANCIAL).replace("廿", "二十").replace("卅", "三十")


def split(wanted: Iterable[str]) -> list[Article]:
    """References in any writing as (law, number), each once."""
    pairs = [one.rpartition(" ") for text in wanted for one in canonical(text)]
    return list(dict.fromkeys((law, number) for law, _, number in pairs))


def said(answer: str, wanted: Collection[Article]) -> list[Article]:
    """The articles that an answer names, where `wanted` are those of the reference.

    An answer that names no law speaks of the reference's, if that is one; where it names another law first it does not.
    """
    laws = sorted({law for law, _ in wanted})
    return articles(answer, laws, laws[0] if len(laws) == 1 else "")


def without(text: str, laws: Iterable[str] = ()) -> str:
    """The text without its citations, with or without brackets, and without articles of no named law."""
    text = CITATION.sub("", plain(text))
    text = _bare(tuple(sorted({name for name in laws if name}))).sub("", text)
    return re.sub("中华人民共和国(?![\u4e00-\u9fff])", "", NAKED.sub("", text))
