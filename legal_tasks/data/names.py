"""What a Chinese name looks like in a legal text: surnames, where a name ends, and what looks like a name and is none.

Surnames, roles and the beginnings of causes of action stand in people.yaml, the words that look like names in words.txt, each
with its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
H = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f〇]"  # a Chinese character, the rare ones of names too


@lru_cache
def lists() -> dict[str, Any]:
    return yaml.safe_load((HERE / "people.yaml").read_text("utf-8"))


def _any(words: str) -> str:
    return "|".join(sorted(set(words.split()), key=lambda word: (-len(word), word)))


def _chars(name: str) -> str:
    return re.sub(r"\s", "", lists()[name])


def _words() -> frozenset[str]:
    lines = (HERE / "words.txt").read_text("utf-8").split("\n")
    words = frozenset(word for line in lines if not line.startswith("#") for word in line.split())
    return words | frozenset(lists()["words"].split())


WORDS = _words()
COMMON, RARE, DOUBTFUL = _chars("common"), _chars("rare"), frozenset(_chars("doubtful"))
SURE = _chars("sure")
COMPOUND = _any(lists()["compound"])
SURNAME, ANY_SURNAME = f"(?:{COMPOUND}|[{COMMON}])", f"(?:{COMPOUND}|[{COMMON}{RARE}])"
NAME = f"{SURNAME}{H}{{1,2}}"
ROLE = f"(?:{_any(lists()['prefixes'])})*(?:{_any(lists()['roles'])})"
PREFIXES = frozenset(lists()["prefixes"].split())
JUDGES = sorted(lists()["judges"].split(), key=len, reverse=True)
CAUSE = f"(?:{_any(lists()['causes'])})"
NOTES = r"(?:[ 　]{0,9}[（(【\[][^（）()【】\[\]\n]{0,60}[）)】\]])*"
DOT = "[·•‧・．]"
FOREIGN = rf"{H}{{1,10}}(?:{DOT}{H}{{1,10}}){{1,5}}"
SPACED = rf"{H}[ 　]{{1,6}}{H}(?:[ 　]{{1,6}}{H})?"
LATIN = r"[A-Z][A-Za-z'’.-]{0,20}(?:[ ,]{1,2}[A-Z][A-Za-z'’.-]{0,20}){1,4}"
EDGE = r"(?=[，,。；;、：:（(）)\]】\s　]|$)"
SEX = r"[，,、 　]{1,2}(?:性别[:：]?)?(?:男|女)性?(?=[，,。；;、（()）\s　\d]|汉族|$)"
# What may follow a name in a sentence: a mark, or a word that no given name ends in.
GOES_ON = re.compile(
    rf"[^\u4e00-\u9fff]|$|犯|因[与为涉病]?|与|诉|一案|两案|等[人\d一二三四五六七八九十，、。与诉]|不服|提出|提起|申请|提交|的|在|于|以[其下及其]|伙同|及|和"
    r"|陈述|证言|供述|辩称|述称|到庭|出庭|认为|主张|请求|系|均|共同|未|已[经将在于向被]|将|对|向|从|被|为[被上原一二再]|至今|之[间子女妻夫父母]|签订|签名|签字"
    r"|是否|提供|承担|支付|偿还|归还|返还|辩护|委托|驾驶|借款|借给|出具|名下|户口|本人|死亡|受伤|遂|则|曾|又|便|即|所|应|处|称|说|把|给|让|到|去|来|用|将"
    rf"|作为|双方|合伙|购买|出资|持有|转让|实施|交付|经营|进行|没有|同意|表示|先后|多次|经过|{CAUSE}"
)
# Characters that no given name holds: where a third one is of these the name has two.
NEVER = frozenset("的等与诉因了是被把给让称辩述不没未吗呢吧这那我你他她它们就都也还很亦犯罪案款债欠借")
LINKS = re.compile("[与诉和及的在以于向对将均系已为又则遂即便先后各曾付签支还因从到住应来经]")  # … unless it always stands there
ORGANISATION = re.compile(
    r"公司|银行|法院|政府|委员会|律师|医院|学校|中心|集团|机关|部门|单位|检察|公安|支行|分行|分公司|合作社|事务|协会|大学|学院|联社|基金|办事|开发|工程"
    r"|有限|企业|商行|酒店|工厂|超市|小组$|[局厂部社场所院行店站馆处矿]$"
)
ENTITY = (
    r"公司|集团|银行|支行|分行|厂|医院|中心|事务所|学校|大学|学院|商行|酒店|合作社|联社|矿业|实业|置业|建筑|建工|房地产|科技|贸易|工程|物业|劳务|保险|生物|农商"
    r"|经营部|门市|商店|超市"
)
BREAKS = r"诉与和、因等，。；：（(\n向对将以给从在于及为是的曾已签承经系告人了\d"  # between a person and an organisation
NO_NAME = re.compile(
    "^.[父母妻夫甲乙丙丁戊氏]$|^(?:本人|其他|任何|没有|以及|双方|上述|未到|无正|经传|均未|未提|合同|申请|无|无业|详见|同上|略|暂无|不详|同前|男|女"
    "|民币|身份|证号|住所|地址|电话|职务|职业|性别|民族|意见|事实|理由|年月|小学|中学|文化|农民|工人|汉族|户籍|[一二两三四五六七八九十]人|单方|曾[因经]"
    "|于[是当同次本此该其昨前某])|某|[Xx×Ｘ＊*]|^[甲乙丙丁戊己庚辛]方?$|[辩诉述声]称|当庭|答辩|起诉|上诉$|告$|罪$|[省县]$"
)
# In running text besides: how such a word begins or ends.
NO_START = re.compile(
    "[与和及人员书男女市区]$"
    "|^(?:方[的同盖承提]|母[亲女子]|[子女父]|代[位偿为理表办]|公[司款证]|费[用发由]|曾[于在向因经与为以用到申参对被多和已])"
)
INVENTED = re.compile(
    "^(?:张三|李四|王五|赵六|孙七|钱七|周八|吴九|郑十|小明|小红|小张|小王|小李|张三丰)$"
)  # people that nobody is


def plain(name: str) -> str:
    return re.sub(r"[ 　]", "", name)


def is_word(name: str, bounded: bool = False) -> bool:
    """Whether what stands where a name is expected is none: an organisation, a place, a word of the language.

    `bounded`: something stands behind it that ends a name; else three characters that begin with a word count as words.
    """
    bare = plain(name)
    if any(pattern.search(bare) for pattern in (ORGANISATION, NO_NAME, NO_START)) or bare in WORDS:
        return True
    return not bounded and len(bare) > 2 and bare[:2] in WORDS and bare[0] not in SURE


START = re.compile(SURNAME)
LITTLE = frozenset("和向从时应是支来由于当等方都要所无经以对同位")  # surnames that are mostly little words of the sentence


# What stands before and behind a name that is told from a word by it.
APART, INTRODUCES = re.compile(r"(?:[、，。：；\n]|(?<!员)人)$"), re.compile(rf"(?:{ROLE}|[、，。：])$")
ENDED = re.compile(r"[、，。：犯诉与称的系在（]|$")
SHORT_NAME = re.compile(r"简称[:：为]?[“\"‘]?([^”\"’）)\n]{1,16})[”\"’]?[）)]")
GOES_ON_AS = re.compile(rf"(?:[（(][^）)\n]{{1,12}}[）)])?[^{BREAKS}]{{0,12}}?(?:{ENTITY})|{H}{{0,2}}[县区镇乡路]")


def cut(text: str, start: int) -> str:
    """The name that begins with the surname at `start`, as long as what the text shows of it; "" where none is seen."""
    surname = START.match(text, start)
    if surname is None:
        return ""
    end = surname.end()
    short, long = text[start : end + 1], text[start : end + 2]
    third = text[end + 1 : end + 2]
    if re.match(DOT, text[end + 1 : end + 2] or " ") or re.match(DOT, text[end + 2 : end + 3] or " "):
        return ""
    if (
        len(short) <= len(surname[0])
        or not re.fullmatch(f"{H}+", short)
        or text[end] in NEVER - {"述", "辩", "是", "都", "案", "还", "它", "借", "款"}
    ):
        return ""
    if not third or not re.fullmatch(H, third) or third in NEVER:
        return short
    ends_long, ends_short = GOES_ON.match(text, end + 2) is not None, GOES_ON.match(text, end + 1) is not None
    both, alone = text.count(long), text.count(short)
    if both > 1 and 5 * both >= 4 * alone:
        others = {text[place.end() : place.end() + 1] for place in re.finditer(re.escape(long), text)}
        if len(others) > 1 or (ends_long and not LINKS.match(third)):
            return long
    elif alone > both:
        rest = [text[place.end() : place.end() + 1] for place in re.finditer(re.escape(short), text)]
        if any(not re.fullmatch(H, char) or char in NEVER for char in rest):
            return short
        if ends_long and not LINKS.match(third):
            return long
        if len(set(rest)) > 1 and (both == 1 or LINKS.match(third)):
            return short
    if ends_long and not (ends_short and LINKS.match(third)):
        return long
    return short if ends_short else ""


def is_person(name: str, text: str, least: int = 1, bounded: bool = False) -> bool:
    """Whether a name of running text is one: no word, not mostly the beginning of an organisation, often enough.

    `bounded`: a mark or a link stands before and behind it.
    """
    if not name or any(pattern.search(name) for pattern in (NO_NAME, NO_START, ORGANISATION, INVENTED)):
        return False
    if name[0] == "丁" and re.search("[甲乙丙]", text):  # the fourth of 甲乙丙丁
        return False
    count = text.count(name)
    begins = name[:2] in WORDS and len(name) == 3 and not bounded and name[0] not in SURE
    doubtful = name[0] in DOUBTFUL and not bounded and (len(name) == 2 or count < 2) and not re.match(COMPOUND, name)
    if name[0] in LITTLE and not (
        count > 1 and any(APART.search(text[max(0, at - 2) : at]) for at in _places(name, text, ENDED))
    ):
        return False
    if name in WORDS or begins or doubtful:
        roles = sum(INTRODUCES.search(text[max(0, at - 8) : at]) is not None for at in _places(name, text, ENDED))
        if name in WORDS or roles < 2 or count < 3:
            return False
    return count >= least and not heads_organisation(name, text)


def heads_organisation(name: str, text: str) -> bool:
    """Whether a name stands mostly inside the name of an organisation or a place, or is the short name of one."""
    if any(name in short for short in _short_names(text)):
        return True
    return sum(1 for _ in _places(name, text, GOES_ON_AS)) * 2 >= text.count(name)


def _places(name: str, text: str, behind: re.Pattern[str]) -> Iterator[int]:
    """Where a name begins behind which the pattern matches."""
    at = text.find(name)
    while at >= 0:
        if behind.match(text, at + len(name)):
            yield at
        at = text.find(name, at + 1)


@lru_cache(maxsize=8)
def _short_names(text: str) -> tuple[str, ...]:
    """What organisations are called for short (以下简称…)."""
    return tuple(SHORT_NAME.findall(text))
