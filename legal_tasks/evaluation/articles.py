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

from legal_tasks.data.citing import ARTICLES, FINANCIAL, UNREADABLE, bare_names, mentions, plain, read_run, repeals, short_name
from legal_tasks.data.lawnames import Names
from legal_tasks.data.numerals import NUMBER, to_number

# Before 第…条: what makes it an article of something else than a law that was named.
OF_ANOTHER = re.compile(
    r"(?:[法典例则]|规定|办法|决定|解释|意见|通知|批复|方案|修正案|合同|协议|章程|公约|约定|制度|守则|标准|条款|保单|遗嘱|"
    r"判决书?)的?$|》(?:（[^（）]*）)?的?$"
)
OF_THE_SAME = re.compile(r"(?:[该本同此]|上述|前述|前引)(?:法律?|法典|条例|规定|解释|办法|决定|规则|细则|通则)的?$")
_VERSION = re.compile(r"[（(][^（）()]*[）)](?=的?$)")
NAKED = re.compile(ARTICLES)

Article = tuple[str, str]  # (law, "271" or "133-1"); the law is "" where none is named


@lru_cache(maxsize=512)
def _bare(laws: tuple[str, ...]) -> Names:
    # A longer name hides the shorter one in it (社会保险法, 保险法), so the list holds what is cited without brackets.
    listed = (Path(__file__).parent / "laws.txt").read_text("utf-8").split()
    return bare_names([*listed, *repeals()[0], *laws])


def law_of(name: str) -> str:
    """The law's name as it is compared: short, without the state's name and notes on the version."""
    return short_name(name)


def articles(text: str, laws: Iterable[str] = (), about: str = "") -> list[Article]:
    """The articles that a text names, each once, in order.

    `laws`: further laws that may be named without brackets; `about`: the law of an article before which none is named.
    """
    if "条" not in text and "條" not in text:
        return []
    text, found, law = plain(text), dict[Article, None](), about
    named = mentions(text, _bare(tuple(sorted({name for name in laws if name}))))
    events: list[tuple[int, str, tuple[str, ...]]] = [(one.start, one.law, one.articles) for one in named]
    for one in NAKED.finditer(text):
        words = one[0].lstrip("、和及与，至到—～~-")
        start = one.end() - len(words)
        if any(other.start <= start < other.end for other in named):
            continue
        before = _VERSION.sub("", text[max(0, start - 24) : start])
        if OF_THE_SAME.search(before) or not OF_ANOTHER.search(before):
            events.append((start, "", tuple(read_run(words, 0)[0])))
    for _, name, numbers in sorted(events):
        law = name or law
        found |= dict.fromkeys((law, number) for number in numbers if number != UNREADABLE)
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
    text = plain(text)
    for one in reversed(mentions(text, _bare(tuple(sorted({name for name in laws if name}))))):
        text = text[: one.start] + text[one.end :]
    return re.sub("中华人民共和国(?![\u4e00-\u9fff])", "", NAKED.sub("", text))
