"""Word's automatic numbers, computed from numbering.xml and styles.xml: they stand in no paragraph.

ECMA-376, part 1, 17.9 (numbering) and 17.18.59 (formats of numbers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from legal_tasks.data.numerals import DIGITS, numeral

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
LEVELS = 9
OFF = ("0", "false", "off", "none")


def local(element: Any) -> str:
    """An element's name without its namespace; "" for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def value(element: Any | None, *path: str) -> str | None:
    """The w:val of the element at the end of a path of children; None where there is none."""
    for name in path:
        element = element.find(W + name) if element is not None else None
    return element.get(W + "val") if element is not None else None


def is_on(element: Any | None, name: str) -> bool:
    """Whether a property that needs no value is set."""
    found = element.find(W + name) if element is not None else None
    return found is not None and found.get(W + "val") not in OFF


def _number(text: str | None, otherwise: int = 0) -> int:
    try:
        return int(text or "")
    except ValueError:
        return otherwise


@dataclass(frozen=True)
class Style:
    """A paragraph style: its name, and its own numbering before that of the style it is based on."""

    name: str
    based_on: str
    num: str | None
    level: str | None


class Styles:
    """The styles of a document, by id; an id that is not there is a style without properties."""

    def __init__(self, root: Any | None) -> None:
        self.known: dict[str, Style] = {}
        self.default = ""
        for one in root.findall(W + "style") if root is not None else ():
            number = one.find(f"{W}pPr/{W}numPr")
            self.known[one.get(W + "styleId", "")] = Style(
                value(one, "name") or "", value(one, "basedOn") or "", value(number, "numId"), value(number, "ilvl")
            )
            if one.get(W + "type") == "paragraph" and one.get(W + "default") not in (None, *OFF):
                self.default = one.get(W + "styleId", "")

    def line(self, style: str) -> Iterator[tuple[str, Style]]:
        """(id, style) of a style and those that it is based on."""
        seen = set[str]()
        while style in self.known and style not in seen:
            seen.add(style)
            yield style, self.known[style]
            style = self.known[style].based_on


@dataclass(frozen=True)
class Level:
    start: int
    form: str
    text: str
    suffix: str
    restart: int | None  # 0: never; n: after one of the first n levels; None: after any level above
    legal: bool  # all levels in Arabic digits
    style: str

    @classmethod
    def of(cls, element: Any) -> Level:
        restart = value(element, "lvlRestart")
        return cls(
            _number(value(element, "start"), 0 if value(element, "start") is None else 1),
            _form(element),
            value(element, "lvlText") or "",
            value(element, "suff") or "tab",
            None if restart is None else _number(restart),
            is_on(element, "isLgl"),
            value(element, "pStyle") or "",
        )


def _form(level: Any) -> str:
    """The format of its numbers; Word writes a custom one beside a usual one for older programs."""
    for one in level.iter(W + "numFmt"):
        name = one.get(W + "val") or ""
        if name == "custom":
            found = re.match(r"(0*)1\b", one.get(W + "format") or "")
            return f"zeros{len(found[1]) + 1}" if found else "decimal"
        return name
    return "decimal"


class Numbering:
    """Counts the paragraphs of a document in order, and says what stands before each."""

    def __init__(self, root: Any | None, styles: Styles) -> None:
        self.styles = styles
        self.abstract: dict[str, dict[int, Level]] = {}
        self.nums: dict[str, tuple[str, dict[int, Level], dict[int, int]]] = {}
        self.links: dict[str, str] = {}  # abstract numbering -> the style whose numbering it is
        self.counts: dict[str, list[int | None]] = {}
        self.begun: set[tuple[str, int]] = set()
        for one in root.findall(W + "abstractNum") if root is not None else ():
            name = one.get(W + "abstractNumId", "")
            self.abstract[name] = dict(_levels(one))
            if link := value(one, "numStyleLink"):
                self.links[name] = link
        for one in root.findall(W + "num") if root is not None else ():
            overrides = one.findall(W + "lvlOverride")
            starts = {
                _number(each.get(W + "ilvl")): _number(value(each, "startOverride"))
                for each in overrides
                if value(each, "startOverride") is not None
            }
            levels = {number: level for each in overrides for number, level in _levels(each)}
            self.nums[one.get(W + "numId", "")] = (value(one, "abstractNumId") or "", levels, starts)

    def label(self, properties: Any | None, style: str) -> str:
        """What stands before the next paragraph, with the blank behind it; "" for none."""
        found = self._place(properties, style or self.styles.default)
        if found is None:
            return ""
        num, number = found
        name, overrides, starts = self.nums[num]
        name = self._linked(name)
        levels = self.abstract.get(name, {}) | overrides
        level = levels.get(number)
        if level is None:
            return ""
        counts = self.counts.setdefault(name, [None] * LEVELS)
        if number in starts and (num, number) not in self.begun:
            self.begun.add((num, number))
            counts[number] = None
        last = counts[number]
        counts[number] = starts.get(number, level.start) if last is None else last + 1
        for deeper in range(number + 1, LEVELS):
            restart = levels[deeper].restart if deeper in levels else None
            if restart is None or number < restart:
                counts[deeper] = None
        return _shown(level, levels, counts)

    def _place(self, properties: Any | None, style: str) -> tuple[str, int] | None:
        """(numId, level) of a paragraph: its own, else its style's."""
        own = properties.find(W + "numPr") if properties is not None else None
        num, level = value(own, "numId"), value(own, "ilvl")
        owner = ""
        for name, each in self.styles.line(style) if num is None else ():
            if each.num is not None:
                num, owner, level = each.num, name, level or each.level
                break
        if num is None or num == "0" or num not in self.nums:
            return None
        if owner:  # the level is that which is linked with the style
            name, overrides, _ = self.nums[num]
            for number, one in (self.abstract.get(self._linked(name), {}) | overrides).items():
                if one.style and one.style in (style, owner):
                    return num, number
        number = _number(level)
        return (num, number) if 0 <= number < LEVELS else None

    def _linked(self, name: str) -> str:
        """The abstract numbering behind one that only names a style of numbering."""
        for _ in range(LEVELS):
            style = self.styles.known.get(self.links.get(name, ""))
            if style is None or style.num not in self.nums:
                return name
            name = self.nums[style.num][0]
        return name


def _levels(element: Any) -> Iterator[tuple[int, Level]]:
    for one in element.findall(W + "lvl"):
        number = _number(one.get(W + "ilvl"), -1)
        if 0 <= number < LEVELS:
            yield number, Level.of(one)


def _shown(level: Level, levels: dict[int, Level], counts: list[int | None]) -> str:
    if level.form == "bullet":
        return ""

    def count(found: re.Match[str]) -> str:
        number = int(found[1]) - 1
        one = levels.get(number)
        reached = counts[number] if number < LEVELS else None
        if reached is None:
            reached = one.start if one else 1
        return formatted(reached, "decimal" if level.legal else one.form if one else "decimal")

    text = re.sub(r"%([1-9])", count, level.text).strip()
    if not text:
        return ""
    if re.search("[条章节编款]$", text):
        return text + "\u3000"  # as statutes and contracts are set
    is_closed = level.suffix == "nothing" or text[-1] in "、）】〕：．"  # such marks need no blank behind them
    return text if is_closed else text + " "


# Numbers


def formatted(number: int, form: str) -> str:
    """A number in one of Word's formats; one that is not known is shown in Arabic digits."""
    if form == "none":
        return ""
    if form.startswith("zeros"):
        return str(number).zfill(int(form[5:]))
    make = FORMS.get(form)
    return (make(number) if make else "") or str(number)


def _ring(first: str, count: int) -> Callable[[int], str]:
    """Characters that follow one another in Unicode, from 1 to `count`."""
    return lambda number: chr(ord(first) + number - 1) if 1 <= number <= count else ""


def _list(names: str) -> Callable[[int], str]:
    return lambda number: names[(number - 1) % len(names)] if number >= 1 else ""


def _letters(first: str) -> Callable[[int], str]:
    """a to z, then aa, bb."""
    return lambda number: chr(ord(first) + (number - 1) % 26) * min((number - 1) // 26 + 1, 100) if number >= 1 else ""


def _roman(number: int) -> str:
    text = ""
    for size, name in zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1), "M CM D CD C XC L XL X IX V IV I".split(), strict=True
    ):
        text += name * (number // size if number < 100_000 else 0)
        number %= size
    return text


def _counted(number: int) -> str:
    return numeral(number) if 1 <= number <= 9999 else "零" if number == 0 else ""


def _legal(number: int) -> str:
    text = _counted(number)
    return ("壹" + text if text.startswith("十") else text).translate(
        str.maketrans(DIGITS + "十百千", "零壹贰叁肆伍陆柒捌玖拾佰仟")
    )


def _digits(number: int) -> str:
    return "".join("〇一二三四五六七八九"[int(digit)] for digit in str(number)) if number >= 0 else ""


def _full_width(number: int) -> str:
    return str(number).translate({ord("0") + n: ord("０") + n for n in range(10)})


FORMS: dict[str, Callable[[int], str]] = {
    "decimalZero": lambda number: f"{number:02}",
    "upperRoman": _roman,
    "lowerRoman": lambda number: _roman(number).lower(),
    "upperLetter": _letters("A"),
    "lowerLetter": _letters("a"),
    "decimalEnclosedCircle": _ring("①", 20),
    "decimalEnclosedCircleChinese": _ring("①", 20),
    "decimalEnclosedParen": _ring("⑴", 20),
    "decimalEnclosedFullstop": _ring("⒈", 20),
    "ideographEnclosedCircle": _ring("㊀", 10),
    "ideographTraditional": _list("甲乙丙丁戊己庚辛壬癸"),
    "ideographZodiac": _list("子丑寅卯辰巳午未申酉戌亥"),
    "chineseLegalSimplified": _legal,
    "ideographLegalTraditional": _legal,
    **dict.fromkeys(("chineseCounting", "chineseCountingThousand", "taiwaneseCounting"), _counted),
    **dict.fromkeys(("taiwaneseCountingThousand", "japaneseCounting", "koreanCounting"), _counted),
    **dict.fromkeys(("ideographDigital", "taiwaneseDigital", "japaneseDigitalTenThousand"), _digits),
    **dict.fromkeys(("decimalFullWidth", "decimalFullWidth2"), _full_width),
}
