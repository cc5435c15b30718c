"""The lines of a statute's text without what pages and sites add: page numbers, running headers, addresses."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from legal_tasks.data.numerals import NUMBER

ENDS_OF_LINE = re.compile("\r\n|[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
INVISIBLE = re.compile("[\ufeff\u200b-\u200f\u2060\u00ad]")
CLOSED = "。；：！？…”）」』】.;:!?)》"  # a line that ends so may end its paragraph
ARTICLE_LIKE = re.compile(rf"^[\W_]*第[ \t　]*{NUMBER}")
DASHES = r"[-—–―－─~·•.|/_\s　]"
PAGE_NUMBER = re.compile(
    rf"{DASHES}*[(（\[【]?\d{{1,4}}[)）\]】]?{DASHES}*|{DASHES}*[(（\[【]?\s*第\s*(?:\d{{1,4}}|{NUMBER})\s*页"
    rf"{DASHES}*[,，]?(?:共\s*(?:\d{{1,4}}|{NUMBER})\s*页)?\s*[)）\]】]?{DASHES}*|\d{{1,4}}\s*(?:/|of)\s*\d{{1,4}}|(?i:page|p\.?)\s*\d+(?:\s*(?:of|/)\s*\d+)?"
)
AT_AN_END = re.compile(rf"^(?:第?\s*\d{{1,4}}\s*页?{DASHES}+)|(?:{DASHES}+第?\s*\d{{1,4}}\s*页?{DASHES}*)$")
SITE = re.compile(
    r"(?:https?://|www\.)\S*|(?:打印|关闭|收藏|分享|返回)(?:本页|窗口|顶部|首页)?|【?字体[:：].{0,12}】?|(?:上|下)一篇.{0,60}|(?:责任编辑|浏览次数|访问量|点击数)[:：].{0,30}"
)
NAMED = re.compile(r"(?:法|条例|规定|办法|细则|规则|解释|决定|意见)(?:[（(][^（）()]*[）)])?$")
FULL_WIDTH = str.maketrans("０１２３４５６７８９", "0123456789")
LONGEST_HEADER = 60  # characters


@dataclass
class Line:
    """One line without its indentation and mark-up. `blank`: an empty line stands before it.

    `cut`: a page ended between it and the line before. `level`: of a Markdown heading, else 0. `width` in
    characters, as it stood.
    """

    text: str
    blank: bool = False
    cut: bool = False
    level: int = 0
    marked: bool = False
    indented: bool = False
    width: int = 0


def lines(text: str) -> list[Line]:
    """The lines that say something, in order."""
    found, blank, cut = list[Line](), False, False
    place, ends = 0, [*ENDS_OF_LINE.finditer(text), None]
    for end in ends:
        raw = text[place : end.start() if end else len(text)]
        place = end.end() if end else place
        line = _line(raw)
        if line is None:
            blank = True
        else:
            line.blank, line.cut = blank, cut
            blank = cut = False
            found.append(line)
        cut = cut or bool(end and end[0] == "\x0c")
    return _without_pages(found)


def _line(raw: str) -> Line | None:
    raw = INVISIBLE.sub("", raw).replace("\xa0", " ")
    mark = re.match(
        r"[\s　]*((?:>[\s　]*)*)(#{1,6}(?=[\s　*第])[\s　]*)?(?:[-*•·+][\s　]+(?=[*_]*第)|[◆●■▲◇□★☆►※][\s　]*(?=[*_]*第))?", raw
    )
    assert mark is not None
    body = raw[mark.end() :]
    text = re.sub(r"\*\*|__", "", body).strip(" \t\r　*")
    if not text:
        return None
    return Line(
        text,
        level=(mark[2] or "").count("#"),
        marked=bool(mark[2]) or body.startswith(("**", "__")),
        indented=raw[:1] in "　\t" or raw[:2] == "  ",
        width=len(raw.rstrip()),
    )


def is_page_number(text: str) -> bool:
    plain = text.translate(FULL_WIDTH) if len(text) <= LONGEST_HEADER else ""
    return bool(plain) and PAGE_NUMBER.fullmatch(plain) is not None and bool(re.search(r"\d|页", plain))


def _without_pages(found: list[Line]) -> list[Line]:
    numbers = _page_numbers(found)
    gone = numbers | _running(found, numbers)
    gone |= {place for place, line in enumerate(found) if line.level == 0 and SITE.fullmatch(line.text)}
    kept, cut = list[Line](), False
    for place, line in enumerate(found):
        if place in gone:
            cut = True
            continue
        if cut:
            line.blank, line.cut = False, True
        cut = False
        kept.append(line)
    return kept


def _page_numbers(found: list[Line]) -> set[int]:
    """Lines that are page numbers; digits alone only where they count up through the text or cut a sentence in two."""
    sure, bare = set[int](), list[int]()
    for place, line in enumerate(found):
        if line.level == 0 and is_page_number(line.text):
            if re.fullmatch(r"\d{1,4}", line.text.translate(FULL_WIDTH)):
                bare.append(place)
            else:
                sure.add(place)
    values = [int(found[place].text.translate(FULL_WIDTH)) for place in bare]
    if len(values) > 1 and values[0] <= 3 and all(second == first + 1 for first, second in zip(values, values[1:], strict=False)):
        sure.update(bare)
    sure.update(place for place in bare if found[place].cut or _splits(found, place, place))
    return sure


def _splits(found: list[Line], first: int, last: int) -> bool:
    """Whether the lines from `first` to `last` stand in the middle of a sentence."""
    if first == 0 or last + 1 >= len(found):
        return False
    before, after = found[first - 1].text, found[last + 1].text
    return before[-1] not in CLOSED and len(before) > 8 and not ARTICLE_LIKE.match(after) and not is_page_number(after)


def _key(text: str) -> str:
    """A running header without its page number."""
    return text if len(text) > 2 * LONGEST_HEADER else AT_AN_END.sub("", text.translate(FULL_WIDTH)).strip()


def _running(found: list[Line], numbers: set[int]) -> set[int]:
    """Lines that stand at the edge of several pages. Before the first article nothing is one: there it may be the title."""
    keys = [_key(line.text) for line in found]
    counts = Counter(keys)
    first = next((place for place, line in enumerate(found) if ARTICLE_LIKE.match(line.text)), 0)
    places = defaultdict(list)
    for place, (line, key) in enumerate(zip(found, keys, strict=True)):
        if counts[key] > 1 and not line.level and key and len(key) <= LONGEST_HEADER and key[-1] not in "。；：，、;:,":
            if not ARTICLE_LIKE.match(line.text) and not re.match(r"[(（]?[一二三四五六七八九十\d]+[)）、.]", key):
                places[key].append(place)
    heads = {place for some in places.values() for place in some}
    gone, kept, above = set[int](), heads | numbers, set(keys[:first])
    for key, some in places.items():
        edges = [place for place in some if _at_an_edge(found, place, numbers) or keys[place] != found[place].text]
        inner = [place for place in some if place > first]
        is_title = some[0] < first and key in above
        often = len(edges) * 2 >= len(inner) and len(edges) > (0 if is_title else 1)
        if often or (is_title and NAMED.search(key)):
            gone.update(place for place in inner if not _begins_a_law(found, place, kept))
    return gone


def _at_an_edge(found: list[Line], place: int, numbers: set[int]) -> bool:
    near = {place - 1, place + 1}
    return bool(near & numbers) or found[place].cut or (place + 1 < len(found) and found[place + 1].cut)


def _begins_a_law(found: list[Line], place: int, gone: Iterable[int]) -> bool:
    """Whether the next article after the line is a first one, with nothing of a sentence between."""
    after = [line for number, line in enumerate(found[place + 1 : place + 40], place + 1) if number not in gone]
    for line in after:
        if ARTICLE_LIKE.match(line.text) and "条" in line.text[:8]:
            return bool(re.match(r"[\W_]*第[ \t　]*(?:一|1|１)[ \t　]*条", line.text))
    return False
