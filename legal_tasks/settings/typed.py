"""Numbers as people type them: `2e-4`, `80 %`, `2 points`, `2 个百分点`, `900 ms`; what may mean two things is refused.

A number of the REST API is no text and keeps its meaning there: a share is from 0 to 1, and above 1 it is a percentage.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
NO_BOUND = 1e12
LONGEST = 40  # characters: a number with its unit
PERCENT = ("%", "percent", "per cent")
POINTS = ("points", "point", "pp", "percentage points", "percentage point", "个百分点", "百分点")
UNITS: dict[str, dict[str, tuple[str, ...]]] = {  # kind -> {unit: how it is written}
    "percent": {"%": PERCENT},
    "points": {"points": (*POINTS, *PERCENT)},
    "seconds": {"s": ("s", "sec", "second", "seconds", "秒"), "ms": ("ms", "millisecond", "milliseconds", "毫秒")},
    "number": {},
    "whole": {},
}
WORDS = {
    "percent": "a percentage such as `80 %`",
    "points": "points such as `2 points` (`2 个百分点`)",
    "seconds": "seconds such as `0.9 s` (or `900 ms`)",
    "number": "a number such as `2e-4`",
    "whole": "a whole number such as `16`",
}


class TypedError(ValueError):
    """What was typed is no such number, or may mean two; the message says what to write."""


@dataclass(frozen=True)
class Kind:
    """`name`: a key of UNITS. `low`, `high`: what is allowed, in the value's own unit (shares from 0 to 1, seconds).

    `above`: the low end itself is not allowed.
    """

    name: str
    low: float
    high: float
    above: bool = False

    def __post_init__(self) -> None:
        if self.name not in UNITS:
            raise ValueError(f"a kind is one of {', '.join(UNITS)}, got {self.name!r}")

    @property
    def pattern(self) -> str:
        """A pattern for JSON Schema that whatever `parse` takes matches, in full-width characters too; and an empty field."""
        units = sorted({word for words in UNITS[self.name].values() for word in words}, key=len, reverse=True)
        unit = rf"(?:(?:{'|'.join(map(_any_case, units))})\s*)?" if units else ""
        # NFKC makes these of full-width characters; \d takes their digits by itself.
        number = r"[+\-＋－]?(?:\d+[.．]?\d*|[.．]\d+)(?:[eEｅＥ][+\-＋－]?\d{1,3})?"
        return rf"^(?:\s*{number}\s*{unit})?$"

    def show(self, value: float) -> str:
        """A value as one would type it."""
        if self.name == "percent":
            return f"{_short(_times(value, 100))} %"
        if self.name == "points":
            points = _times(value, 100)
            return f"{_short(points)} point{'' if points == 1 else 's'}"
        return f"{_short(value)} s" if self.name == "seconds" else _short(value)

    def range(self) -> str:
        """What is allowed, in words."""
        low = ("more than " if self.above else "") + self.show(self.low)
        return f"{low} up to {self.show(self.high)}" if self.high < NO_BOUND else low

    def parse(self, given: Any) -> float | int:
        """The value of a text, or of a JSON number; TypedError where it is none, may mean two things, or is not allowed."""
        value = self._of_text(given) if isinstance(given, str) else self._of_number(given)
        if not (self.low < value if self.above else self.low <= value) or value > self.high:
            raise TypedError(f"must be {self.range()}, got {_said(given)}")
        if self.name == "whole":
            if value != int(value):
                raise TypedError(f"must be a whole number, got {_said(given)}")
            return int(value)
        return given if isinstance(given, int) and value == given else float(value)

    def _of_number(self, given: Any) -> Decimal:
        if isinstance(given, int) and abs(given) > 10**30:  # too large for a float, and to be shown
            raise TypedError(f"must be {self.range()}, got a number of more than 30 digits")
        if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
            raise TypedError(f"must be {WORDS[self.name]}, got {_said(given)}")
        value = Decimal(repr(given))
        return value / 100 if self.name in ("percent", "points") and value > 1 else value

    def _of_text(self, given: str) -> Decimal:
        text = " ".join(unicodedata.normalize("NFKC", given).split()) if len(given) <= LONGEST else ""
        found = re.fullmatch(rf"({NUMBER}) ?(\D*)", text)
        unit = next((unit for unit, words in UNITS[self.name].items() if found and found[2].lower() in words), None)
        if found is None or (found[2] and unit is None):
            raise TypedError(f"must be {WORDS[self.name]}, got {_said(given)}")
        value = Decimal(found[1])
        if self.name == "percent":
            return self._share(value, unit, given)
        if self.name == "points":
            if unit is None and 0 < abs(value) < 1:
                raise TypedError(
                    f"{_said(given)} may mean {found[1]} points or a share of 1: write `{found[1]} points` or "
                    f"`{_short(_times(float(value), 100))} points`"
                )
            return value / 100
        return value / 1000 if unit == "ms" else value

    @staticmethod
    def _share(value: Decimal, unit: str | None, given: str) -> Decimal:
        if unit is None and value == 1:
            raise TypedError(f"{_said(given)} may mean 1 % or all of it: write `1 %` or `100 %`")
        return value if unit is None and 0 <= value < 1 else value / 100


def _times(value: float, factor: int) -> float:
    return float(Decimal(repr(value)) * factor)


def _short(value: float) -> str:
    """3e-3, 0.05, 900: the shortest usual spelling."""
    if 0 < abs(value) < 0.01:
        mantissa, exponent = f"{value:.6e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.10g}"


def _said(given: Any) -> str:
    text = given if isinstance(given, str) else repr(given)
    return repr(text if len(text) <= LONGEST else text[:LONGEST] + "…")


def _any_case(word: str) -> str:
    """A pattern for a word in capitals or not, with any blanks between its parts; % also as ％."""
    parts = [f"[{each.lower()}{each.upper()}]" if each.isascii() and each.isalpha() else each for each in word]
    return "".join(r"\s+" if part == " " else "[%％]" if part == "%" else part for part in parts)
