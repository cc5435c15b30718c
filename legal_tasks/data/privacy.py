"""Personal data: found by pattern and checksum, replaced by pseudonyms that stay the same within a document."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def valid_resident_id(text: str) -> bool:
    """GB 11643: a date and the check character of 18; of 15 only the date."""
    month, day = (int(text[10:12]), int(text[12:14])) if len(text) == 18 else (int(text[8:10]), int(text[10:12]))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return False
    if len(text) == 15:
        return True
    return "10X98765432"[sum(int(digit) * weight for digit, weight in zip(text, WEIGHTS, strict=False)) % 11] == text[17].upper()


def valid_card(text: str) -> bool:
    """Luhn's check of a bank card number."""
    digits = [int(char) for char in reversed(re.sub(r"\D", "", text))]
    return sum(digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(digits)) % 10 == 0


def _always(text: str) -> bool:
    return True


# kind, pattern (the group to replace is the last one, or the whole), what must hold besides
KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("邮箱", re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"), _always),
    ("身份证号", re.compile(r"(?<![\dA-Za-z])[1-9]\d{5}(?:19|20)\d{9}[\dXx](?![\dA-Za-z])"), valid_resident_id),
    ("身份证号", re.compile(r"(?:身份证|公民身份)[^\d\n]{0,12}([1-9]\d{16}[\dXx]|[1-9]\d{14})(?!\d)"), _always),
    ("银行卡号", re.compile(r"(?<!\d)[3-6]\d{3}(?:[ -]?\d{4}){2,3}(?:[ -]?\d{1,4})?(?!\d)"), valid_card),
    ("银行卡号", re.compile(r"(?:卡号|账号|帐号|账户)[^\d\n]{0,8}(\d{12,19})(?!\d)"), _always),
    ("手机号", re.compile(r"(?<!\d)(?:\+?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d)"), _always),
    ("固定电话", re.compile(r"(?<!\d)0\d{2,3}-\d{7,8}(?:-\d{1,5})?(?!\d)"), _always),
    ("固定电话", re.compile(r"(?:电话|传真)[^\d\n]{0,4}((?:0\d{2,3}[- ]?)?\d{7,8})(?!\d)"), _always),
    (
        "车牌号",
        re.compile(
            r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·]?[A-HJ-NP-Z0-9]{5,6}(?![A-Z0-9])"
        ),
        _always,
    ),
    ("护照号", re.compile(r"护照[^A-Za-z\d\n]{0,8}([A-Z]\d{8}|[A-Z]{2}\d{7})(?!\d)"), _always),
    ("QQ号", re.compile(r"(?:QQ|qq|扣扣)[^\d\n]{0,4}([1-9]\d{4,10})(?!\d)"), _always),
    ("微信号", re.compile(r"(?:微信|weixin|WeChat)[号]?[:：为是\s]{1,3}([A-Za-z][A-Za-z0-9_-]{5,19})"), _always),
)
ROLES = """原告人 被告人 上诉人 被上诉人 再审申请人 被申请人 申请人 申请再审人 原审被告人 原审被告 原审原告 第三人 原告 被告
委托代理人 委托诉讼代理人 法定代表人 负责人 辩护人 申诉人 罪犯 申请执行人 被执行人 异议人
审判长 审判员 代理审判员 书记员 陪审员 人民陪审员"""
ROLE = "|".join(ROLES.split())
PARTY = re.compile(
    rf"(?m)(?:^|[。\n])[\s　]*(?:{ROLE})(?:（[^（）\n]{{0,30}}）)?[:：\s　]*([\u4e00-\u9fff·]{{2,4}})(?=[，,。（\s　]|$)"
)
ORGANISATION = re.compile(r"公司|银行|法院|政府|委员会|律师|医院|学校|中心|集团|某|局$|厂$|部$|社$")


class Masker:
    """Replaces personal data; the salt makes pseudonyms unlinkable between data sets."""

    def __init__(self, salt: str) -> None:
        self.salt = salt.encode()
        self.counts: Counter[str] = Counter()

    def pseudonym(self, kind: str, value: str, document: str) -> str:
        """The same value in the same document always gets the same pseudonym."""
        plain = re.sub(r"[\s-]", "", value).lower()
        code = hmac.new(self.salt, f"{document}\0{kind}\0{plain}".encode(), hashlib.sha256).hexdigest()[:4]
        return f"【{kind}{code}】"

    def mask(self, text: str, document: str) -> str:
        """The text with every find replaced; counts go to `counts` {kind: n}."""
        for kind, pattern, check in KINDS:
            group = pattern.groups

            def put(found: re.Match[str], kind: str = kind, group: int = group, check: Callable[[str], bool] = check) -> str:
                if not check(found[group]):
                    return found[0]
                self.counts[kind] += 1
                start = found.start(group) - found.start()
                rest = found[0][start + len(found[group]) :]
                return found[0][:start] + self.pseudonym(kind, found[group], document) + rest

            text = pattern.sub(put, text)
        return text

    def people(self, text: str) -> list[str]:
        """Names of people in the header and title of a judgment, longest first."""
        names = {found[1] for found in PARTY.finditer(text)}
        title = re.search(r"(?m)^title[:：](.*)$", text)
        if title:
            parts = re.split(r"犯|与|诉|等|[一二再]审|申请|、|因", title[1])
            names |= {part for part in parts if re.fullmatch(r"[\u4e00-\u9fff]{2,4}", part)}
        people = [name for name in names if not ORGANISATION.search(name) and not re.search(r"[罪案书法纠纷]", name)]
        return sorted(people, key=lambda name: (-len(name), text.find(name)))

    def mask_people(self, text: str, people: list[str]) -> str:
        """The text with each of the people as 张某1, 张某2, …"""
        for number, name in enumerate(people, 1):
            self.counts["姓名"] += text.count(name)
            text = text.replace(name, f"{name[0]}某{number}")
        return text
