"""Personal data: found by pattern and checksum, replaced by pseudonyms that stay the same within a document."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections import Counter
from collections.abc import Callable

from legal_tasks.data import people

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


# The first two digits of a resident id (GB/T 2260).
AREAS = frozenset(
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83".split()
)


def valid_resident_id(text: str) -> bool:
    """GB 11643: a date and the check character of 18; of 15 only the date."""
    text = _bare(text)
    month, day = (int(text[10:12]), int(text[12:14])) if len(text) == 18 else (int(text[8:10]), int(text[10:12]))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return False
    if len(text) == 15:
        return True
    return "10X98765432"[sum(int(digit) * weight for digit, weight in zip(text, WEIGHTS, strict=False)) % 11] == text[17].upper()


def _like_resident_id(text: str) -> bool:
    """Whether 18 characters hold a province and a day of birth where an id has them, whatever their check character is."""
    day, month = int(text[12:14]), int(text[10:12])
    return text[:2] in AREAS and 1 <= month <= 12 and 1 <= day <= 31


def valid_card(text: str) -> bool:
    """Luhn's check of a bank card number of 16 to 19 digits that has not the form of a resident id."""
    plain = _bare(text)
    if not 16 <= len(plain) <= 19 or re.fullmatch(r"[1-8]\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{4}", plain):
        return False
    digits = [int(char) for char in reversed(plain)]
    return sum(digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(digits)) % 10 == 0


def _bare(text: str) -> str:
    return re.sub(r"[\s-]", "", text)


def _always(text: str) -> bool:
    return True


HOUSE = r"(?:[\d一二三四五六七八九十百]+(?:号楼|号院|号|室|栋|幢|组|单元|楼|层|弄|座)|\d+户)"
LIVES = (
    "(?:家住|现住|现居|暂住|租住|居住|住址|地址|住在|住于|家在|住所地?|居住地|户籍所在地|户籍地|户口所在地|(?:(?<=[，,、。；;：:（(])|(?m:^))住)"
    r"[:：为是在于]?\s{0,2}"
)
PROVINCES = """北京 天津 上海 重庆 河北 山西 辽宁 吉林 黑龙江 江苏 浙江 安徽 福建 江西 山东 河南 湖北 湖南 广东 海南 四川
贵州 云南 陕西 甘肃 青海 内蒙古 广西 西藏 宁夏 新疆"""
# A place by its province, or by a city of two characters with a district; then a street and a house.
PLACE = (
    rf"(?:(?:{'|'.join(PROVINCES.split())})(?:[\u4e00-\u9fff]{{0,5}}(?:省|自治区)|市)?"
    r"|[\u4e00-\u9fff]{2}市[\u4e00-\u9fff]{1,4}[区县])"
)
STREET = r"[\u4e00-\u9fff\d]{0,20}?(?:路|街|巷|大道|弄|胡同|里|村|小区|花园|社区)[\u4e00-\u9fffA-Za-z\d\-—]{0,16}?"
DASH = "[-－—–]"
DATE = (
    r"(?:(?:19|20)\d\d\s?(?:年\s?\d{1,2}\s?月(?:\s?\d{1,2}(?!\d)\s?[日号]?)?|[./-]\s?\d{1,2}\s?[./-]\s?\d{1,2}日?)"
    r"|[一二][九〇零○0][一二三四五六七八九〇零○]{2}年[一二三四五六七八九十]{1,2}月(?:[一二三四五六七八九十]{1,3}日?)?)"
)
# kind, pattern (the group to replace is the last one, or the whole), what must hold besides
KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("邮箱", re.compile(r"[A-Za-z0-9._%+-]+[@＠][A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"), _always),
    ("身份证号", re.compile(r"(?<![\dA-Za-z])[1-9]\d{5}[ -]?(?:19|20)\d{6}[ -]?\d{3}[\dXx](?![\dA-Za-z])"), valid_resident_id),
    ("身份证号", re.compile(r"(?:身份证|公民身份|身份号|证件号)[^\d\n]{0,12}([1-9]\d{14})(?!\d)"), valid_resident_id),
    # Named as an id, but its check fails: somebody's number with a slip, or cut.
    ("证件号", re.compile(r"(?:身份证|公民身份|身份号|证件号)[^\d\n]{0,12}([1-9]\d{16}[\dXx]|[1-9]\d{14})(?!\d)"), _always),
    # Not named, with a slip in it: behind the name of another number (案号, 编号, 代码) it is that number.
    (
        "证件号",
        re.compile(r"(?<![\dA-Za-z号码第])(?<![号码][:：为是 ])([1-8]\d{5}(?:19|20)\d{9}[\dXx])(?![\dA-Za-z])"),
        _like_resident_id,
    ),
    ("银行卡号", re.compile(r"(?<![\dA-Za-z])[3-69]\d{3}(?:[ -]?\d{4}){2,3}(?:[ -]?\d{1,4})?(?![\dA-Za-z])"), valid_card),
    # Accounts of companies, and cards with a slip, have no check digit that holds.
    (
        "账号",
        re.compile(r"(?:卡号|账号|帐号|账户|帐户|银行卡)[^\d\n]{0,8}(\d{4}(?:[ -]?\d{4}){2,3}(?:[ -]?\d{1,4})?|\d{12,19})(?!\d)"),
        _always,
    ),
    ("手机号", re.compile(r"(?<!\d)(?:(?:\+|00)?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d|\.\d|[\s余多]?[元万亿])"), _always),
    (
        "固定电话",
        re.compile(
            rf"(?<!\d)(?:0(?:10|2\d|[3-9]\d\d)(?:{DASH}| )|[（(]0\d{{2,3}}[）)] ?)[2-8]\d{{2,3}}[- ]?\d{{4}}"
            rf"(?:{DASH}\d{{1,5}})?(?!\d)"
        ),
        _always,
    ),
    (
        "固定电话",
        re.compile(r"(?:电话|传真|座机|固话|热线)[^\d\n]{0,6}((?:0\d{2,3}[- ]?)?\d{7,8})(?!\d|[\s余多]?[元万亿])"),
        _always,
    ),
    (
        "车牌号",
        re.compile(
            r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Za-hj-np-z][·• -]?"
            r"(?=[A-Za-z]*\d)(?:[A-HJ-NP-Za-hj-np-z0-9]{5,6}|[A-HJ-NP-Za-hj-np-z0-9]{4}[学警挂港澳])(?![A-Za-z0-9])"
        ),
        _always,
    ),
    ("护照号", re.compile(r"护照[^A-Za-z\d\n]{0,8}([A-Z]\d{8}|[A-Z]{2}\d{7})(?!\d)"), _always),
    ("护照号", re.compile(r"(?<![A-Za-z\d])(?:[A-Z]\d{8}|[A-Z]{2}\d{7})(?=号?的?[^\n，。；]{0,6}护照)"), _always),
    ("QQ号", re.compile(r"(?:QQ|qq|扣扣|企鹅号)[^\d\n]{0,6}([1-9]\d{4,10})(?!\d)"), _always),
    ("出生日期", re.compile(rf"(?<!\d)({DATE})(?:出生|生(?![效成产存命活意病父母前于]))"), _always),
    (
        "出生日期",
        re.compile(
            rf"(?:出生日期|出生年月日?|出生时间|生日|(?<![发产])生于|诞生|出生)[:：为是在于(（\s]{{0,3}}({DATE}|(?:19|20)\d{{6}})(?!\d)"
        ),
        _always,
    ),
    (
        "住址",
        re.compile(rf"{LIVES}([\u4e00-\u9fffA-Za-z\d\-—]{{2,40}}?{HOUSE}(?:[\dA-Za-z\-—]*{HOUSE})*(?:[\-—]?\d+)*)"),
        _always,
    ),
    (
        "住址",
        re.compile(
            rf"{LIVES}([\u4e00-\u9fffA-Za-z\d\-—]{{2,40}}?[省市区县镇乡村路街巷道][\u4e00-\u9fffA-Za-z\d\-—]{{0,30}}?[号室栋幢组村楼户])"
            r"(?=[，,。；;）)\s]|$)"
        ),
        _always,
    ),
    ("住址", re.compile(rf"{PLACE}{STREET}{HOUSE}(?:[\dA-Za-z\-—]*{HOUSE})*(?:[\-—]?\d+)*"), _always),
    (
        "微信号",
        re.compile(
            r"(?:微信|[Vv]信|薇信|(?<![A-Za-z])(?i:weixin|wechat|vx|wx))(?:账号|帐号|号码|号|(?i:id))?(?:码|[:：为是\s]){0,4}"
            r"((?!(?i:pay|app|wechat|weixin))[A-Za-z][A-Za-z0-9_-]{5,19})"
        ),
        _always,
    ),
)
# Share of planted values of each kind that were found (seed 1 of benchmarks/privacy.py, whose result a test compares), for the
# data card. Of names the worst of its kinds stands here; the benchmark's result tells how many of the real headers were found, on
# the half of the judgments that the patterns were made with and on the other.
MEASURED = {
    "住址": 1.0,
    "出生日期": 1.0,
    "固定电话": 0.9977,
    "姓名": 1.0,
    "微信号": 0.9989,
    "手机号": 0.9966,
    "护照号": 1.0,
    "身份证号": 1.0,
    "车牌号": 1.0,
    "邮箱": 1.0,
    "银行卡号": 1.0,
    "QQ号": 1.0,
}
# These hold so many digits at least: a text with fewer has none of them.
DIGITS, DIGIT = 5, re.compile(r"\d")
NUMBERS = {"身份证号", "证件号", "银行卡号", "账号", "手机号", "固定电话", "护照号", "QQ号"}
# Without these a text has none of the kind; they are faster to look for than the kind.
NEEDS = {
    "邮箱": re.compile("[@＠]"),
    "出生日期": re.compile("生"),
    "住址": re.compile(
        r"[\d一二三四五六七八九十百](?:号|室|栋|幢|组|单元|楼|层|弄|座|户|村)|[号室栋幢组村楼户](?:[，,。；;）)\s]|$)"
    ),
    "微信号": re.compile("[A-Za-z]"),
    "护照号": re.compile("[A-Z]"),
}
WIDE = re.compile("[０-９Ａ-Ｚａ-ｚ＠．＿－]{6,}")


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
        """The text with every find replaced; counts go to `counts` {kind: n}.

        Wide letters and digits in long runs become plain ones.
        """
        if not text:
            return text
        text = WIDE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
        numbers = len(DIGIT.findall(text)) >= DIGITS
        needed = {kind: pattern.search(text) is not None for kind, pattern in NEEDS.items()}
        for kind, pattern, check in KINDS:
            if (kind in NUMBERS and not numbers) or not needed.get(kind, True):
                continue
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
        """Names of people in the header, the title, the signatures and the running text of a judgment, longest first."""
        return list(people.names(text, judgment=True, spoken=False))

    def speakers(self, text: str) -> list[str]:
        """Names of people whom a dialog, a letter or a form introduces, longest first."""
        return list(people.names(text, judgment=False, spoken=True))

    def named(self, text: str, kind: str) -> list[str]:
        """Names of people in an item of a kind: all that is known is asked of texts that mix questions with judgments."""
        if kind == "statute":
            return []
        return list(people.names(text, judgment=kind in ("case", "instruction"), spoken=kind != "case"))

    def mask_people(self, text: str, names: list[str]) -> str:
        """The text with each of the people as 张某1, 张某2, …; one person's names get one pseudonym.

        A digit that follows is set apart by a blank, so that it is not read as part of the number.
        """
        if not names:
            return text
        labels: dict[str, str] = {}
        for name in names:
            bare = people.plain(name)
            labels[bare] = getattr(name, "label", "") or labels.get(bare) or f"{bare[0]}某{len(labels) + 1}"

        def put(found: re.Match[str]) -> str:
            bare = people.plain(found[0])
            word = bare in people.WORDS and not people.stands_apart(text, found.start(), found.end())
            if word or people.is_place(text, found.start(), found.end()):
                return found[0]
            self.counts["姓名"] += 1
            return labels[bare] + (" " if text[found.end() : found.end() + 1].isdigit() else "")

        return re.sub("|".join(map(re.escape, sorted(names, key=len, reverse=True))), put, text)
