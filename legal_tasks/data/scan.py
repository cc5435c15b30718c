"""A second look for personal data: by runs of digits and letters and what stands beside them, without the masker's patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator

PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
RUN = re.compile(r"[0-9A-Za-z_]+(?:-[0-9A-Za-z_]+)*(?: [0-9]+)*")
NEAR = 8  # characters before a run in which its name is looked for
FILLING = "号码:： 是为"
IDS, CHATS, CARDS = ("身份证", "公民身份"), ("微信", "薇信"), ("62", "60", "95", "43", "45", "52", "35")
HOME = re.compile("住址|家住|现住|地址|住所地|户籍所在地|户籍地|租住|居住地")
YEAR = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}")
HOUSES = "号室栋幢弄座"
BIRTHS, NO_BIRTH = (
    ("出生日期", "出生年月", "出生年月日", "出生时间", "出生于", "生于", "生日", "出生"),
    "效成产存命活意病父母前于",
)


def scan(text: str) -> list[str]:
    """Kinds of personal data left in a text, one entry per find."""
    return [*_runs(text), *_mails(text), *_plates(text), *_births(text), *_homes(text)]


def _runs(text: str) -> Iterator[str]:
    for found in RUN.finditer(text):
        run, before = found[0], text[max(0, found.start() - NEAR) : found.start()].lower()
        after = text[found.end() : found.end() + NEAR]
        if run[:2].lower() == "qq" and run[2:3].isdigit():  # the name of the account and the account in one run
            before, run = "qq", run[2:]
        digits = run.replace(" ", "").replace("-", "")
        if digits and (kind := _number(digits, after, before) or _area_code(run, before) or _named(digits, before, after)):
            yield kind


def _number(digits: str, after: str, before: str) -> str:
    """What a number is by its length, its first digits and its check digit; "" for anything."""
    digits = digits.removeprefix("00") if len(digits) == 15 and digits.startswith("0086") else digits
    if len(digits) == 13 and digits.startswith("86"):
        digits = digits[2:]
    if not digits[:-1].isdigit():
        return ""
    if (
        len(digits) == 11
        and digits.isdigit()
        and digits[0] == "1"
        and digits[1] in "3456789"
        and after[:1] not in tuple("元万亿.余多")
    ):
        return "mobile"
    if len(digits) == 18 and digits[6:8] in ("19", "20") and (digits[-1].isdigit() or digits[-1] in "Xx") and _mod_11_2(digits):
        return "resident id"
    if len(digits) == 18 and not before.rstrip("：: 为是").endswith(("号", "码", "第")) and _like_id(digits):
        return "resident id"
    if 16 <= len(digits) <= 19 and digits.isdigit() and digits.startswith(CARDS) and _luhn(digits):
        return "bank card"
    return ""


def _like_id(digits: str) -> bool:
    """A place, a century, a month and a day where an id has them; its check character may be wrong."""
    area, century, month, day = digits[:2], digits[6:8], digits[10:12], digits[12:14]
    return "11" <= area <= "83" and century in ("19", "20") and "01" <= month <= "12" and "01" <= day <= "31"


def _area_code(run: str, before: str) -> str:
    """A landline: an area code, a dash, a space or brackets, seven or eight digits."""
    head, dash, rest = run.replace(" ", "-", 1).partition("-") if run[:1] == "0" else (run, "", "")
    area = head.isdigit() and (head == "010" or (len(head) == 3 and head[1] == "2") or (len(head) == 4 and head[1] in "3456789"))
    if dash and area and rest[:1] in tuple("2345678") and rest.split("-")[0].isdigit() and len(rest.split("-")[0]) in (7, 8):
        return "landline"
    inside = before.replace("（", "(").replace("）", ")").rstrip()
    if inside.endswith(")") and run.isdigit() and len(run) in (7, 8) and run[0] in "2345678":
        code = inside[:-1].rpartition("(")[2]
        return "landline" if code.isdigit() and code.startswith("0") and len(code) in (3, 4) else ""
    return ""


def _named(digits: str, before: str, after: str) -> str:
    """What stands beside its own name: a passport, an account of QQ or WeChat, the older id of 15 digits."""
    bare = before.rstrip(FILLING)
    if "护照" in before + after and len(digits) == 9 and digits[0].isupper() and digits[2:].isdigit():
        return "passport"
    if bare.endswith(("qq", "扣扣")) and digits.isdigit() and 5 <= len(digits) <= 11 and digits[0] != "0":
        return "QQ"
    if bare.endswith((*CHATS, "vx", "wx", "wechat", "weixin")) and digits[0].isalpha() and _account(digits):
        return "WeChat"
    return "resident id" if any(word in before for word in IDS) and _born(digits) else ""


def _account(word: str) -> bool:
    """Whether letters with a digit or an underscore may be somebody's account; the words of the trade are none."""
    return 6 <= len(word) <= 20 and not word.isalpha() and not word.lower().startswith(("pay", "app", "wechat", "weixin"))


def _born(digits: str) -> bool:
    """Whether 15 digits hold a month and a day where the older id has them."""
    return (
        len(digits) == 15
        and digits.isdigit()
        and digits[0] != "0"
        and "01" <= digits[8:10] <= "12"
        and "01" <= digits[10:12] <= "31"
    )


def _mails(text: str) -> Iterator[str]:
    for word in text.split("@")[1:]:
        host, dot, rest = word.lower().partition(".")
        if dot and host.replace("-", "").isalnum() and host.isascii() and rest[:2].isalpha() and rest[:2].isascii():
            yield "e-mail"


def _plates(text: str) -> Iterator[str]:
    for place, char in enumerate(text):
        if char in PROVINCES and text[place + 1 : place + 2].isascii() and text[place + 1 : place + 2].isupper():
            tail = text[place + 2 : place + 10].lstrip("·• -")
            size = next((n for n, one in enumerate(tail) if not (one.isascii() and (one.isdigit() or one.isupper()))), len(tail))
            if size in (5, 6) and any(one.isdigit() for one in tail[:size]) and not {"I", "O"} & {text[place + 1], *tail[:size]}:
                yield "plate"


def _births(text: str) -> Iterator[str]:
    """A date beside a word of birth."""
    for found in YEAR.finditer(text):
        end = _date_end(text, found.end())
        before, after = text[max(0, found.start() - NEAR) : found.start()].rstrip(" ：:为是在(（"), text[end : end + 3]
        born = after.startswith("出生") or (after[:1] == "生" and after[1:2] not in tuple(NO_BIRTH))
        if end and (born or (before.endswith(BIRTHS) and not before.endswith(("发生于", "产生于")))):
            yield "birth date"


def _date_end(text: str, place: int) -> int:
    """Where a date ends whose year ends at `place`: month and day behind 年月日 or the same sign; 0 where there is none."""
    for signs in ("年-./", "月-./"):
        sign, place = text[place : place + 1], place + 1
        size = next((n for n in range(3) if not text[place + n : place + n + 1].isdecimal()), 3)
        if not sign or sign not in signs or size == 3 or (size == 0 and sign != "月"):
            return 0
        place += size
    return place + (text[place : place + 1] == "日")


def _homes(text: str) -> Iterator[str]:
    """A house number behind a word that announces an address."""
    for found in HOME.finditer(text):
        rest = text[found.end() : found.end() + 44].lstrip("：:为是在于 ")
        size = next((n for n, char in enumerate(rest) if not (char.isalnum() or char in "-—")), len(rest))
        if any(rest[n].isdecimal() and rest[n + 1] in HOUSES for n in range(2, size - 1)):
            yield "address"


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
