"""Which laws and articles does a text cite, and with which words? Whether they are in force is `statutes`' to say.

A citation is a name, what stands between, and a run of articles. Between may stand blanks, a line end, mark-up, brackets with
the version or a short form, the book or chapter, 中的, a colon; in the run articles follow each other over 款, 项 and 的规定.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from legal_tasks.data.dedupe import normal
from legal_tasks.data.lawnames import BRACKETED, CODE_PARTS, DOCUMENT, ISSUERS, LONG, ORDINAL, Names, short_name
from legal_tasks.data.numerals import NUMBER, to_number

LONGEST_RANGE = 200  # articles; a longer one is a slip of the pen
SHORTEST_QUOTE = 10  # characters; shorter words in quotation marks are a term
UNREADABLE = "0"  # stands for an article whose number cannot be read: 第一千零六四条

# Mark-up, blanks and other ways of writing, which `plain` takes out before anything is read.
FINANCIAL = str.maketrans("壹贰貳叁肆伍陆陸柒捌玖拾佰仟", "一二二三四五六六七八九十百千")
_MONEY = "[壹贰貳叁肆伍陆陸柒捌玖拾佰仟零〇廿卅]+"
_FINANCIAL = re.compile(rf"第{_MONEY}条(?:之{_MONEY})?")
_HIDDEN = re.compile(
    r"[\u200b-\u200f\u2060\ufeff\u00ad]|\*+|`+|~~|__|</?(?:b|strong|em|i|u|span|font|mark|a|sup|sub)(?:\s[^<>]*)?>"
)
_LINK = re.compile(r"\[([^\[\]\n]{1,80})\]\((?:https?:|/|\.|#)[^()\s]*\)")
_BLANK = "[ \t\u3000\u00a0\u2000-\u200a]+"
_GAPS = re.compile(
    rf"(?<=[第《》零〇一二两三四五六七八九十百千0-9０-９条款之、，和至及与或]){_BLANK}|{_BLANK}(?=[第条款之《》、，（])"
)
_ZERO = re.compile(
    r"(?<=[一二三四五六七八九十百千])[○ＯOo0](?=[一二三四五六七八九十百千条])|(?<=[一二三四五六七八九])[○Ｏ](?=[条○Ｏ])"
)

# A run of articles.
TO = "至到—–～~－-"
_SEP = rf"(?:[、,，;；/／{TO}]|和|及|与|或者?|以及)"
_EXTRA = (
    rf"之{NUMBER}(?![款项日年人])(?:(?:[、,，和及与或{TO}]|以及)之?{NUMBER}(?![款项条零〇一二两三四五六七八九十百千0-9０-９]))*"
)
_ITEM = rf"第?[（(]?{NUMBER}[）)]?"
_SUB = rf"(?:{_ITEM}(?:{_SEP}{_ITEM})*[款项目]|[（(]{NUMBER}[）)]|前段|后段|但书|[前后]半[句段]|第[a-z]项)"
_LIST = rf"第?{NUMBER}(?:{_SEP}{{1,2}}第?{NUMBER})*条(?:{_EXTRA})?"
_SAME = r"(?:[该同]|前述|上述|前引)(?:法律?|法典|条例|规定|解释|办法|决定|规则|细则)的?"
_NOTE = r"[（(][^（）()《》\n第]{1,30}[）)]"
_JOIN = (
    rf"(?:[、,，;；/／{TO}]\s*|和|及其?|与|并(?=第)|或者?|以及|还有|连同|结合|(?:的|之)?(?:有关|相关|具体)?规定|等|的|之|"
    rf"第?{_SAME}|{_NOTE}|[ \t　])"
)
_TOKEN = re.compile(rf"(?P<sub>{_SUB})|(?P<list>{_LIST})|(?P<join>{_JOIN})")
_LISTED = re.compile(_LIST)
ARTICLES = rf"(?:[、和及与，{TO}]?(?:第{NUMBER}|[0-9]{{1,4}})(?:{_SEP}第?{NUMBER})*条(?:{_EXTRA})?(?:{_SUB})*)+"
_FIRST = re.compile(rf"第{NUMBER}(?:{_SEP}{{1,2}}第?{NUMBER})*条|[0-9０-９]{{1,4}}(?:{_SEP}{{1,2}}第?{NUMBER})*条")
_LAW_FIRST = re.compile(
    r"[一二三四五六七八九十百千][零〇一二两三四五六七八九十百千]*条(?!措施|意见|新规|建议|内容|原则|标准|禁令|规则|线)"
)

# What may stand between a name and its first article.
_ROUND = r"[（(〔\[【](?:[^（）()〔〕\[\]【】\n]|[（(][^（）()\n]{0,40}[）)]){0,90}[）)〕\]】]"
_TITLE = "(?:(?!第)[\u4e00-\u9fff、])"
_PART_OF = (
    rf"(?:第{NUMBER}(?:分?编|章|节)(?:[ 　]?{_TITLE}{{1,16}}(?=第)|{_TITLE}{{0,16}}?(?=[中的之，,、 　]))?|"
    rf"(?:{CODE_PARTS}|[\u4e00-\u9fff]{{2,12}})分?编(?!号|制|写)|(?:分|总|附)则|(?:{CODE_PARTS})?通则|"
    rf"(?<=[》典·:： ])(?:{CODE_PARTS})(?=第))"
)
_DATED = (
    r"(?:19|20)\d\d年?(?:\d{1,2}月)?(?:\d{1,2}日)?(?:第[一二三四]次)?(?:修[正订](?:本|版|案)?|新修订?|通过|颁布|公布|施行|版|本)?"
)
_WORDS = (
    "的|之|中|里|内|当中|其中|项下|所|等|有关|相关|关于|规定|明确|具体|如下|现行|条文|法条|条款|原文|分别|依据|根据|依照|按照|适用|参照|参见|"
    "详见|见|即|如|为|是|包括|例如|比如|特别是|尤其是|自|从|以及|此外"
)
_ANY = re.compile(r"[^。；！？\n“”《》]{0,32}?(?=第)")
# Words that make it an article of something else, or a count of articles.
_OF_ANOTHER = re.compile(
    f"合同|协议|约定|章程|公约|条例|办法|细则|规则|(?<!的)(?:{DOCUMENT})|方案|制度|守则|标准|保单|遗嘱|判决|裁定|本|甲|乙|双方|签|共|全文|修改|新增|增加|"
    "删除|改为|修正案|原告|被告|上诉|一审|二审|[法典例](?:的|第|$)|该|同"
)
_GOES_ON = re.compile(
    rf"[^。！？\n《》“”]{{0,80}}?[，,；;](?:以及|而|同时|并且|另外|其中)?(?=第{NUMBER}条(?:{_EXTRA})?(?:{_SUB})*[还则又也中]?(?:规定|明确))|"
    rf"[：:][^。！？\n《》“”]{{1,80}}?[；;](?=第{NUMBER}条(?:{_EXTRA})?(?:{_SUB})*[：:])"
)
_PARTIES = re.compile("约定|章程|手册|协议|保单|(?<!劳动)合同(?:文本|书)|条款|[法典例释则]第|办法|条例|解释|规则|细则|通知|意见")
_SUFFIX = re.compile(
    rf"(?:的)?(?:第[一二三四五六七]编)?(?P<book>(?:{CODE_PARTS})编)?(?:的|若干问题的?|有关)*"
    rf"(?P<kind>司法解释|解释|若干(?:问题的)?(?:解释|规定)|修正案|实施条例|实施细则|实施办法)"
    rf"(?P<number>[（(]{ORDINAL}[）)]|{ORDINAL}(?=[第》的]))?(?=[》〉」”]?(?:的|之|中|{_ROUND})?第?[0-9一二三四五六七八九十])"
)
# What parties or courts write in a single case; no law, code or treaty has such a name.
_PRIVATE = re.compile(
    r"(?:合同|(?<!知识产权)协议|公司章程|借条|欠条|收条|收据|借据|遗嘱|保险?单|手册|笔录|函件|聊天记录|(?<!议定)书)"
    r"(?:[（(][^（）()]*[）)]|[一二三四五]|\d+)?$"
)
_NUMBERED = re.compile(rf"[（(]{ORDINAL}[）)]")
_ALIAS = re.compile(r"(?:以下|下文|下称|下)(?:均|统|简|又)*称(?:为|作)?[：:]?[《“\"「『]?([^《》“”\"「」『』，,（）()\n]{2,30})")
_CALLED = re.compile(r"[（(][^（）()\n]{0,12}称[^（）()\n]{0,40}[）)]")
_FOREIGN = re.compile(r"(德国|法国|日本|美国|英国|瑞士|意大利|俄罗斯|韩国|奥地利|西班牙|荷兰|欧盟|台湾地区|台湾|香港|澳门)$")
# A name without brackets is another law behind a place: 白河市消防条例.
_PLACE = "[\u4e00-\u9fff]{2,7}?(?:省|市|自治区|自治州|自治县|特区)(?:人民政府)?"
_ELSEWHERE = re.compile(rf"(?:依照?|根据|按照?|依据|适用|违反|参照|和|与|及|在|的)?({_PLACE}|[德法日美英]国)$")
_FORMER = re.compile(
    r"(?:原(?![告审因则件来始被])|旧|废止的|失效的|(?:当时|行为时|事发时|案发时|事故发生时)(?:有效|施行|实施|适用|生效)的)[^，。；《》]{0,4}$"
)
_INSIDE = re.compile(rf"^(.{{2,60}}?[法典例定释则见法])(第{NUMBER}条.{{0,20}})$")


@lru_cache
def repeals() -> tuple[dict[str, tuple[str, str]], re.Pattern[str], tuple[str, str]]:
    """({law: (day it ended, successor)}, pattern of interpretations that ended with their law, (day, successor)).

    Facts with their official source, from repeals.yaml beside this file.
    """
    import yaml

    table = yaml.safe_load((Path(__file__).parent / "repeals.yaml").read_text("utf-8"))
    laws = {}
    for entry in table["repeals"]:
        for law, after in entry["laws"].items():
            laws[law] = (entry["ended"].isoformat(), after)
    rule = table["interpretations"]
    pattern = re.compile(rf"(?<!劳动)(?:{'|'.join(rule['of'])})(?!律)[^《》]{{0,14}}(?:解释|意见|补充规定)")
    return laws, pattern, (rule["ended"].isoformat(), rule["successor"])


def bare_names(names: Iterable[str]) -> Names:
    """Laws that may be named without brackets right before an article number: 刑法第二百六十四条."""
    from legal_tasks.data.lawnames import table

    held = list(names)
    return Names([*held, *table()[0], *table()[1]], held)


def plain(text: str) -> str:
    """The text as the patterns read it: no blanks and mark-up within a citation, one form of each numeral."""
    text = _LINK.sub(r"\1", _HIDDEN.sub("", text)).replace("條", "条")
    text = _FINANCIAL.sub(lambda found: found[0].translate(FINANCIAL), text)
    text = re.sub(r"第([一二三四五六七八九十百千]*)([廿卅])(?=[一二三四五六七八九]?条)", _twenty, text)
    text = re.sub(rf"第({NUMBER})之({NUMBER})条", r"第\1条之\2", text)  # 第一百三十三之一条
    return _ZERO.sub("〇", _GAPS.sub("", text))


def _twenty(found: re.Match[str]) -> str:
    return f"第{found[1]}{'二十' if found[2] == '廿' else '三十'}"


@dataclass(frozen=True)
class Mention:
    """A law named at `start`, with its articles ("12", "133-1", UNREADABLE) up to `end`; places in the plain text."""

    start: int
    end: int
    law: str
    articles: tuple[str, ...]
    formerly: bool


@dataclass(frozen=True)
class _Name:
    start: int
    end: int
    name: str
    bare: bool


def mentions(text: str, names: Names | None = None) -> list[Mention]:
    """Every law that a plain text names in brackets, or without them before an article, in order."""
    found, aliases, done = [], dict[str, str](), 0
    places = _names(text, names or _ended())
    for place, one in enumerate(places):
        if one.start < done:
            continue
        inside = None if one.bare else _INSIDE.match(one.name)
        if inside:
            start, end, run = one.end, one.end, read_run(inside[2], 0)[0]
            name = inside[1]
        else:
            name, end = _whole_name(text, one)
            until = next((other.start for other in places[place + 1 :] if other.start >= end), len(text))
            start, end, run = _articles(text, end, until, one.bare, name)
        name = aliases.get(_key(name)) or short_name(name)
        if names and name.startswith("关于"):  # the issuer is left out
            name = names.resolve(name)
        called = text[one.end : start] if run else re.split("[）)]", text[one.end : one.end + 60])[0]
        aliases |= {_key(alias[1]): name for alias in _ALIAS.finditer(called)}
        if one.bare and not run:
            continue
        if not one.bare and _PRIVATE.search(name) and not inside:  # 《房屋租赁合同》第三条 is no law's
            done = end
            continue
        before, after = text[max(0, one.start - 8) : one.start], text[end : end + 30]
        formerly = bool(_FORMER.search(before) or re.search("废止|失效", after))
        found.append(Mention(one.start, end, name, tuple(run), formerly))
        if run:
            until = next((other.start for other in places[place + 1 :] if other.start >= end), len(text))
            found += _further(text, found[-1], until)
            end = found[-1].end
        done = end
        if not run:  # what a bracket right behind it calls it is no mention of its own
            bracket = _CALLED.match(text, end)
            done = bracket.end() if bracket else end
    return found


def _further(text: str, one: Mention, until: int) -> Iterator[Mention]:
    """The articles of the same sentence: 《劳动合同法》第八十二条规定了二倍工资，第八十七条规定了赔偿金。"""
    while True:
        way = _GOES_ON.match(text, one.end, until)
        if not way or _PARTIES.search(way[0]):
            return
        run, end = read_run(text, way.end())
        one = Mention(way.end(), end, one.law, tuple(run), one.formerly)
        yield one


def _key(name: str) -> str:
    return re.sub(r"[\s《》〈〉“”\"]", "", name)


@lru_cache
def _ended() -> Names:
    return bare_names(repeals()[0])


def _names(text: str, names: Names) -> list[_Name]:
    """The places where names stand, none within another; those in brackets go before."""
    found = []
    if "《" in text:
        for one in _IN_BRACKETS.finditer(text):
            issuer = (one["issuer"] or "") if one["name"].startswith("关于") else ""
            land = _FOREIGN.search(text[max(0, one.start() - 6) : one.start()]) if not one["issuer"] else None
            found.append(_Name(one.start(), one.end(), (land[0] if land else "") + issuer + one["name"], False))
    if "条" in text:
        taken = [(one.start, one.end) for one in found]
        # A name without brackets may hold one with them: 最高人民法院关于适用《保险法》若干问题的解释（四）
        for one in LONG.finditer(text):
            if not any(start < one.start() < end or (start <= one.start() and one.end() <= end) for start, end in taken):
                found.append(_Name(one.start(), one.end(), one[0], True))
        long = [one for one in found if one.bare]
        for one in names.finditer(text):
            if any(start <= one.start() < end for start, end in taken) or any(a.start <= one.start() < a.end for a in long):
                continue
            elsewhere = _FOREIGN if re.search("[法典]$", one[1]) else _ELSEWHERE
            land = elsewhere.search(text[max(0, one.start() - 10) : one.start()])
            found.append(_Name(one.start(), one.end(), (land[1] if land else "") + one[1], True))
    return sorted(found, key=lambda one: (one.start, -one.end))


_IN_BRACKETS = re.compile(
    rf"(?:(?P<issuer>{ISSUERS})(?:发布|印发|公布|颁布|制定)?的?)?{BRACKETED.replace('((', '(?P<name>(', 1)}"
)


def _whole_name(text: str, one: _Name) -> tuple[str, int]:
    """(name, its end) with what belongs to it behind the brackets: 《刑法》修正案（八）, 《…的解释》（四）."""
    name, end = one.name, one.end
    more = _SUFFIX.match(text, end)
    if more and re.search("[法典例则]$", re.sub(r"[》〉]", "", name)):
        ordinal = f"（{more['number'].strip('（）()')}）" if more["number"] else ""
        return name + (more["book"] or "") + more["kind"] + ordinal, more.end()
    number = _NUMBERED.match(text, end)
    if number and re.search(f"(?:{DOCUMENT}|修正案)$", name):
        return name + number[0], number.end()
    return name, end


def _articles(text: str, start: int, until: int, bare: bool, name: str) -> tuple[int, int, list[str]]:
    """(start of the first article, end of the last, articles) behind a name that ends at `start`; nothing: (start, start, [])."""
    place = _first(text, start, until, bare, name)
    if place is None:
        return start, start, []
    found, end = read_run(text, place)
    return place, end, found


def _first(text: str, start: int, until: int, bare: bool, name: str) -> int | None:
    """Where the first article of a name stands; None where it has none."""
    if re.search("[法典]$", name) and _LAW_FIRST.match(text, start):
        return start
    for between in _ways(text, start):
        place = between
        if place > until and "称" not in text[start:place] and not re.fullmatch(rf"(?:{_ROUND}|[的之中\s])+", text[start:place]):
            continue
        if _FIRST.match(text, place) and not _heading(text, start, place):
            return place
    if bare:
        return None
    loose = _ANY.match(text, start, min(until, start + 40))
    if loose and not _OF_ANOTHER.search(loose[0]) and not loose[0].strip().startswith(("和", "与", "及", "、", "或")):
        return loose.end() if _FIRST.match(text, loose.end()) else None
    return None


_STEP = re.compile(
    rf"{_ROUND}|{_PART_OF}|{_DATED}|{_WORDS}|[\s:：,，、·•/／|>＞》〉」』”\"'’—\-–（(【\[「『“‘]|\d[.．、](?=\s*第)"
)


def _ways(text: str, start: int) -> Iterator[int]:
    """The places behind 0, 1, 2 … steps of what may stand between, at most twelve."""
    place = start
    for _ in range(12):
        yield place
        step = _STEP.match(text, place)
        if not step or step.end() == place:
            return
        # A bracket may hold the article itself.
        place = place + 1 if step[0][0] in "（([【〔" and re.search(rf"第{NUMBER}条", step[0]) else step.end()


def _heading(text: str, start: int, place: int) -> bool:
    """Whether the article begins a text of its own: 第一条 on a new line, followed by words."""
    lines = text.count("\n", start, place)
    return lines > 2 or bool(
        lines and re.match(r"第(?:一|1|１)条(?!$|[的规之，。；、,;）)]|第|和|及|与|至|或)", text[place : place + 9])
    )


def read_run(text: str, place: int) -> tuple[list[str], int]:
    """(articles in order, end) of the run that begins at `place`: 第三条第一款、第二款和第九十九条 are 3 and 99."""
    found: list[tuple[int, int]] = []
    end, joined, first = place, "", True
    while True:
        token = _TOKEN.match(text, place)
        if first and (not token or token.lastgroup == "sub"):
            token = _LISTED.match(text, place)
        if not token:
            break
        kind = "list" if first else token.lastgroup
        if kind == "join":
            if len(joined) > 12:
                break
            joined += "" if token[0][0] in "（(" else token[0]
        elif kind == "list":
            # A number without 第 goes on only in a list: 第三条、四条, not 第三条，两条意见.
            if not first and not re.match("第|[0-9０-９]", token[0]) and not re.search(rf"[、和及与或{TO}]$", joined):
                break
            _add(found, token[0], bool(re.search(rf"[{TO}]\s*$", joined)))
            end, joined, first = token.end(), "", False
        else:
            end, joined = token.end(), ""
        place = token.end()
    return [UNREADABLE if not base else f"{base}-{extra}" if extra else str(base) for base, extra in found], end


_NUMBERS = re.compile(rf"(?P<to>[{TO}])?(?P<extra>之)?第?(?P<number>{NUMBER})(?P<article>条)?")


def _add(found: list[tuple[int, int]], words: str, ranged: bool) -> None:
    """Append the articles of 第三至五条, 第120条之一、之二, 第563、566条; `ranged`: they go on from the last one found."""
    main, _, extras = words.partition("条")
    base, last = found[-1] if found else (0, 0)
    alone = _NUMBERS.fullmatch(main)
    if ranged and alone and extras and to_number(alone["number"]) == base:  # 第120条之一至第120条之六
        extras, main = f"至{extras}", ""
    if extras and alone and not ranged:  # 第133条和第133条之一 are two
        found.append((to_number(alone["number"]), 0))
        main = ""
    for one in _NUMBERS.finditer(main):
        _append(found, (to_number(one["number"]), 0), ranged or bool(one["to"]), dashed=one["to"] in ("-", "－", "–"))
        ranged = False
    for one in _NUMBERS.finditer(extras):
        base, last = found[-1]
        number = to_number(one["number"])
        if one["to"] and last < number <= last + 20:
            found.extend((base, extra) for extra in range(last + 1, number + 1))
        elif last:
            found.append((base, number))
        else:
            found[-1] = (base, number)


def _append(found: list[tuple[int, int]], one: tuple[int, int], ranged: bool, dashed: bool = False) -> None:
    base, _ = one
    last = found[-1][0] if found else 0
    if ranged and last < base <= last + LONGEST_RANGE and last:
        found.extend((number, 0) for number in range(last + 1, base))
    elif dashed and last and 0 < base < min(last, 30):  # 第120-1条
        found[-1] = (last, base)
        return
    if one not in found[-1:]:
        found.append(one)


Citation = tuple[str, str, str, bool]


def citations(text: str, names: Names | None = None) -> Iterator[Citation]:
    """(law, article or "", quotation or "", cited as former law) of every citation in order.

    `names`: of laws that may stand without brackets; by default those that ended.
    """
    if "《" not in text and "条" not in text and "條" not in text:
        return
    text = plain(text)
    for one in mentions(text, names):
        if not one.articles:
            yield one.law, "", "", one.formerly
        quote = _quotation(text[one.end :][:2000]) if len(one.articles) == 1 else ""
        for article in one.articles:
            yield one.law, article, quote, one.formerly


def _quotation(after: str) -> str:
    """The words in quotation marks that follow a citation directly; fewer than SHORTEST_QUOTE characters are a term."""
    found = re.match(r'(?:[^“”"。；\n《》]{0,16}[：:，,]?|[^“”"。；\n《》]{0,40}[：:])\s*[“"]([^”"]+)[”"]', after)
    if not found or len(normal(found[1])) < SHORTEST_QUOTE:
        return ""
    return re.sub(r"…+|\.{3,}", "", found[1])
