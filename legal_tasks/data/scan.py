"""A second look for personal data: by runs of digits and letters and what stands beside them, without the masker's patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator

PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
RUN = re.compile(r"[0-9A-Za-z_]+(?:[ -][0-9]+)*")
NEAR = 8  # characters before a run in which its name is looked for


def scan(text: str) -> list[str]:
    """Kinds of personal data left in a text, one entry per find."""
    return [*_runs(text), *_mails(text), *_plates(text), *_births(text)]


def _runs(text: str) -> Iterator[str]:
    for found in RUN.finditer(text):
        run, before = found[0], text[max(0, found.start() - NEAR) : found.start()].lower()
        after = text[found.end() : found.end() + NEAR]
        digits = run.replace(" ", "").replace("-", "")
        kind = _number(digits) or _area_code(run, before) or _named(digits, before, after)
        if kind:
            yield kind


def _number(digits: str) -> str:
    """What a number is by its length, its first digits and its check digit; "" for anything."""
    if len(digits) == 13 and digits.startswith("86"):
        digits = digits[2:]
    if not digits[:-1].isdigit():
        return ""
    if len(digits) == 11 and digits.isdigit() and digits[0] == "1" and digits[1] in "3456789":
        return "mobile"
    if len(digits) == 18 and digits[6:8] in ("19", "20") and (digits[-1].isdigit() or digits[-1] in "Xx") and _mod_11_2(digits):
        return "resident id"
    if 16 <= len(digits) <= 19 and digits.isdigit() and digits[:2] in ("62", "60", "95") and _luhn(digits):
        return "bank card"
    return ""


def _area_code(run: str, before: str) -> str:
    """A landline: an area code, a dash or brackets, seven or eight digits."""
    head, dash, rest = run.partition("-")
    if dash and head.isdigit() and head[0] == "0" and len(head) in (3, 4) and len(rest.split("-")[0]) in (7, 8):
        return "landline"
    inside = before.replace("（", "(").replace("）", ")").rstrip()
    if inside.endswith(")") and run.isdigit() and len(run) in (7, 8):
        code = inside[:-1].rpartition("(")[2]
        return "landline" if code.isdigit() and code.startswith("0") and len(code) in (3, 4) else ""
    return ""


def _named(digits: str, before: str, after: str) -> str:
    """What stands beside its own name: a passport, an account of QQ or WeChat, the older id of 15 digits."""
    if "护照" in before + after and len(digits) == 9 and digits[0].isupper() and digits[2:].isdigit():
        return "passport"
    if before.rstrip("号码:： 是为").endswith("qq") and digits.isdigit() and 5 <= len(digits) <= 11:
        return "QQ"
    if before.rstrip("号码:： 是为").endswith("微信") and digits[0].isalpha() and len(digits) >= 6 and not digits.isalpha():
        return "WeChat"
    return "resident id" if "身份证" in before and digits.isdigit() and len(digits) == 15 else ""


def _mails(text: str) -> Iterator[str]:
    for word in text.split("@")[1:]:
        host, dot, rest = word.lower().partition(".")
        if dot and host.replace("-", "").isalnum() and host.isascii() and rest[:2].isalpha() and rest[:2].isascii():
            yield "e-mail"


def _plates(text: str) -> Iterator[str]:
    for place, char in enumerate(text):
        if char in PROVINCES and text[place + 1 : place + 2].isascii() and text[place + 1 : place + 2].isupper():
            tail = text[place + 2 : place + 9].lstrip("·")
            size = next((n for n, one in enumerate(tail) if not (one.isascii() and (one.isdigit() or one.isupper()))), len(tail))
            if size in (5, 6) and any(one.isdigit() for one in tail[:size]):
                yield "plate"


def _births(text: str) -> Iterator[str]:
    for part in text.split("出生")[:-1]:
        if part.endswith("日") and "年" in part[-11:] and part[-11:].partition("年")[0][-4:].isdigit():
            yield "birth date"


def _luhn(number: str) -> bool:
    """Luhn's check by its table of doubled digits."""
    return (
        sum(
            int(char) if place % 2 else (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)[int(char)]
            for place, char in enumerate(number if len(number) % 2 == 0 else "0" + number)
        )
        % 10
        == 0
    )


def _mod_11_2(number: str) -> bool:
    """ISO 7064 MOD 11-2 by its recursive form."""
    rest = 0
    for char in number[:17]:
        rest = (rest + int(char)) * 2 % 11
    last = 10 if number[17] in "Xx" else int(number[17])
    return (rest + last) % 11 == 1
