"""Names of people in legal texts, found by what stands around them, without a model.

Evidence comes in two strengths. Strong: a role with a colon, “，男，” behind the name, a signature; there any characters are a
name, whatever the surname. Weaker: a role before a surname in running text, a title, a name beside a known one; there the name
must end where a sentence would go on, be no word of the language and no part of a company's name.
How a name looks is told by data.names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from legal_tasks.data.names import (
    ANY_SURNAME,
    CAUSE,
    COMPOUND,
    DOT,
    EDGE,
    FOREIGN,
    GOES_ON,
    INVENTED,
    JUDGES,
    LATIN,
    LINKS,
    LITTLE,
    NAME,
    NEVER,
    NO_NAME,
    NO_START,
    NOTES,
    ORGANISATION,
    PREFIXES,
    ROLE,
    SEX,
    SPACED,
    SURE,
    SURNAME,
    WORDS,
    H,
    cut,
    heads_organisation,
    is_person,
    is_word,
    plain,
)


class Name(str):
    """A name as it stands in a text; `label`: the pseudonym, 张某1, the same for all names of one person."""

    label: str = ""

    @classmethod
    def of(cls, name: str, label: str) -> Name:
        made = cls(name)
        made.label = label
        return made


OTHER_NAME = r"(?:又名|曾用名|化名|别名|绰号|外号|小名|原名|乳名|网名|自报名)"
ALIAS = re.compile(rf"{OTHER_NAME}(?:为|叫|是)?[:：]?[“\"「‘'《]?({H}{{2,4}}|{FOREIGN})(?=[”\"」’'》，,。；;、）)\s]|$)")


# --- strong evidence -------------------------------------------------------------------------------------------------------

KNOWN, KNOWN_NAME = re.compile(ANY_SURNAME), re.compile(f"{ANY_SURNAME}{H}{{1,2}}")
ONE = rf"(?:{FOREIGN}|{H}{{2,4}}|{SPACED}|{LATIN})"
CORE = re.compile(
    "(?:原告人?|被告人?|上诉人|申请人|第三人|代表人?|负责人|经营者|代理人?|辩护人|申诉人|自诉人|执行人|罪犯|监护人|投资人|异议人)$"
)
# A role, perhaps several with a mark between, notes, a colon, names.
LABELLED = re.compile(
    rf"({ROLE})[一二三四五六七八九十\d]{{0,2}}{NOTES}[ 　]{{0,9}}[:：][ 　]{{0,9}}"
    rf"((?:{ONE}){NOTES}(?:[、，,／/ 　](?:{ONE}){NOTES})*){EDGE}"
)
# Any other label of a person.
OTHER_LABEL = re.compile(
    rf"(?:^|[\s，。；、（(])(?:{H}{{0,10}}(?:人|人员|员|长|师|经理|会计)|姓名|原告方|被告方|甲方|乙方|丙方|户名){NOTES}"
    rf"[ 　]{{0,9}}[:：][ 　]{{0,9}}"
    rf"((?:{ANY_SURNAME}{H}{{1,2}}|{FOREIGN})(?:、{ANY_SURNAME}{H}{{1,2}})*){EDGE}",
    re.M,
)
# A role without a colon, or nothing, before a name with its sex behind it.
SEXED = re.compile(
    rf"(?<!{H})({H}{{2,24}}|{H}{{0,12}}{FOREIGN}|(?:{ROLE})?[ 　]{{0,9}}{SPACED}|(?:{ROLE})[ 　]+{H}{{2,4}}){NOTES}{SEX}"
)
IN_NOTES = re.compile(
    rf"(?<!{H})({H}{{2,20}}|{FOREIGN})[（(](?:男|女|身份证|公民身份|居民身份|系?\d{{4}}年[^（）()\n]{{0,10}}生|曾用名|又名|化名|绰号|别名)"
)
# At the head of a line: the role and a name that the mark ends, the surname known.
HEADED = re.compile(
    rf"(?:^|[。；;])[ 　]{{0,9}}{ROLE}(?:[、，]{ROLE})*\d?{NOTES}[ 　]{{0,9}}"
    rf"({FOREIGN}|{ANY_SURNAME}[ 　]{{1,6}}{H}|{ANY_SURNAME}{H}{{1,2}}){NOTES}(?=[，,。\s　]|$)",
    re.M,
)
JUDGE = "|".join(r"[ 　]{0,9}".join(role) for role in JUDGES)
SIGNED = re.compile(rf"^[ 　]{{0,9}}(?:{JUDGE})[ 　:：]*({FOREIGN}|{H}{{2,4}}|{SPACED})[ 　]{{0,9}}$", re.M)
# Several signatures in one line: the next role or the date ends the name.
IN_LINE = re.compile(
    rf"(?:{JUDGE})[ 　:：]*({ANY_SURNAME}{H}{{1,2}}?|{ANY_SURNAME}[ 　]{{1,6}}{H})"
    rf"(?=[ 　]{{0,9}}(?:{JUDGE}|[二2][〇○ＯO0零Ｏ][〇○ＯO0零一二\d]|[\s，。、；（）)]|$))"
)
ROLE_END = re.compile(rf"^(?:.*(?:{ROLE}|{CAUSE}的|原告|被告|人|员|之子|之女|儿子|女儿|妻子|丈夫|父亲|母亲|[与和及]))(?=.{{2}})")


# The accused of a charge or the parties of a case, in a sentence.
ONES = rf"(?:{FOREIGN}|{H}{{2,4}})"
ACCUSED = re.compile(
    rf"(?:{ROLE})((?:{ONES}、)*(?:{FOREIGN}|{H}{{2,4}}?))"
    rf"(?=(?:等[一二三四五六七八九十\d]*人?)?(?:犯{H}[^罪。]{{0,40}}罪|{CAUSE}[^，。]{{0,40}}(?:一案|罪)))"
)


def _strong(text: str) -> Iterator[str]:
    for found in LABELLED.finditer(text):
        yield from _listed(text, found.start(2), found[2], CORE.search(found[1]) is not None)
    for found in OTHER_LABEL.finditer(text):
        yield from (name for name in found[1].split("、") if not is_word(name, True))
    for pattern in (SEXED, IN_NOTES):
        for found in pattern.finditer(text):
            opens = re.search(r"(?:^|[\n。；：:、]) *$", text[max(0, found.start() - 2) : found.start()]) is not None
            name = _after_role(found[1], pattern is SEXED and opens)
            if name:
                yield name
    for found in HEADED.finditer(text):
        little = found[1][0] in LITTLE and text.count(found[1]) == 1  # 原告方联系，
        if not is_word(found[1]) and not little:
            yield found[1]
    for found in ACCUSED.finditer(text):
        parts = found[1].split("、")
        known = [part for part in parts if KNOWN_NAME.fullmatch(part) or re.search(DOT, part)]
        if len(parts) == 1:
            known = [part for part in known if part not in WORDS and part[0] not in LITTLE]
        elif 2 * len(known) >= len(parts):  # most are names: the others are too
            known = [part for part in parts if part in known or (len(part) <= 3 and not is_word(part))]
        for part in known:
            if not (NO_NAME.search(part) or NO_START.match(part) or part in PREFIXES or heads_organisation(part, text)):
                yield part
    yield from (found[1] for found in SIGNED.finditer(text) if not NO_NAME.search(plain(found[1])))
    yield from (found[1] for found in IN_LINE.finditer(text) if not is_word(found[1], True) and found[1][0] not in "和或")


PERSONAL = re.compile(
    rf"^{NOTES}(?:{SEX}|[，,](?:系|该|本|无|[^，。]{{0,30}}(?:律师|法律工作者|法律服务工作者|经理|董事|员工|职员|职工|主任|厂长|会计|干部|生于|出生))|[，,]?(?:19|20)\d\d年)"
)


def _listed(text: str, start: int, names: str, core: bool) -> Iterator[str]:
    """The names behind a label: the first, and what follows it as long as it looks like a name.

    `core`: the role is one of the header, where a name stands whatever its surname.
    """
    place = start
    for number, part in enumerate(
        re.split(r"([、，,／/])", re.sub(r"[（(【\[][^（）()【】\[\]\n]*[）)】\]]", lambda f: "\0" * len(f[0]), names))
    ):
        name = part.strip("\0 　")
        behind = text[place + len(part) : place + len(part) + 80]
        place += len(part)
        if number % 2 or not name:
            continue
        known = KNOWN_NAME.fullmatch(plain(name)) is not None
        sure = PERSONAL.match(behind) is not None and len(plain(name)) <= 4
        if number == 0:
            good = (_may_be(name) and (core or known)) or (
                sure and not NO_NAME.search(plain(name)) and not re.search("公司|银行|法院|政府|[局厂]$", name)
            )
        else:
            good = known and not is_word(name, True)
        # A company's name in brackets goes on behind them.
        if good and not re.match(rf"[（(][^）)\n]{{1,12}}[）)]{H}{{0,20}}(?:公司|集团|厂|中心|事务所)", behind):
            yield name
        elif number == 0:
            return


def _may_be(name: str) -> bool:
    bare = plain(name)
    if NO_NAME.search(bare) or ORGANISATION.search(bare):
        return False
    if re.fullmatch(r"[\x00-\x7f’]+", name):
        return not re.search(r"(?i)\b(?:ltd|inc|co|corp|limited|llc|gmbh|company|bank|group|corporation|s\.?a\.?)\b\.?", name)
    return len(bare) <= 3 or KNOWN.match(bare) is not None or re.search(DOT, bare) is not None


SOMEBODY = re.compile("公司|银行|政府|学生|患者|儿子|女儿|孩子|婴儿|性别|个人|[一二三四五六七八九十两]名")


def _after_role(run: str, opens: bool) -> str:
    """The name at the end of a run of characters that its sex or its id follows; "" where none is seen.

    `opens`: the run opens a sentence and a sex follows, so that a surname nobody knows may be one.
    """
    run = run.strip(" 　").lstrip("房室号栋楼层户" if not run.startswith(("房", "楼")) or len(run) > 3 else "")
    if re.search(DOT, run):
        return re.sub(rf"^(?:{ROLE})+", "", run)
    bare = run
    for _ in range(3):
        shorter = re.sub(rf"^(?:{ROLE})[一二三四五六七八九十]?[ 　]{{0,9}}", "", bare)
        if shorter == bare or len(plain(shorter)) < 2:
            break
        bare = shorter
    if len(plain(bare)) > 4 or re.search(r"[人员]$", bare):
        tails = (bare[-size:] for size in (3, 2))
        tail = next((tail for tail in tails if re.match(SURNAME, tail) and tail not in WORDS), "")
        bare = tail or (ROLE_END.sub("", bare) if ROLE_END.match(bare) else "")
    if not 2 <= len(plain(bare)) <= 4 or NO_NAME.search(plain(bare)) or SOMEBODY.search(bare):
        return ""
    if bare in WORDS:  # somebody's name only where a role stands before it
        return bare if KNOWN.match(bare) and bare != run else ""
    return bare if KNOWN.match(bare) or bare != run or (opens and len(bare) <= 3) else ""


# --- weaker evidence -------------------------------------------------------------------------------------------------------

RUNNING = re.compile(rf"(?:{ROLE}|第三人|原告|被告)(?={SURNAME})")
RELATIVE = re.compile(
    r"(?:其(?:[子女妻夫兄弟姐妹](?!女)|[父母](?!母)|前[妻夫]|父亲|母亲|儿子|女儿|妻子|丈夫)|之[子女妻夫父母]|妻子|丈夫|儿子|女儿|父亲|母亲|哥哥|弟弟|姐姐|妹妹|伙同|同伙|同案人|案外人|股东|经理|员工|村民|居民"
    rf"|司机|会计(?!师)|律师|民警|医生)(?={SURNAME})"
)
BRACKETS = re.compile(NOTES)
BOUND = re.compile(rf"[、，。；（和与及犯等]|{CAUSE}|签|名下|提供|系|三人|二人|两人")
MORE = re.compile(rf"(?:[、和与及]|以及)(?={SURNAME})")


AHEAD = re.compile(rf"(?<!{H})({NAME})[、与和]$")


def _running(text: str) -> Iterator[str]:
    for pattern, shortest in ((RUNNING, 2), (RELATIVE, 3)):
        for found in pattern.finditer(text):
            name = cut(text, found.end())
            if len(name) >= shortest and is_person(name, text):
                yield name
                yield from _beside(text, found.end() + len(name))


def _beside(text: str, place: int) -> Iterator[str]:
    """Names that a list goes on with behind one that ends at `place`."""
    while True:
        notes = BRACKETS.match(text, place)
        link = MORE.match(text, notes.end() if notes else place)
        name = cut(text, link.end()) if link else ""
        if not link or not is_person(name, text, bounded=BOUND.match(text, link.end() + len(name)) is not None):
            return
        yield name
        place = link.end() + len(name)


TITLE = re.compile(r"(?:^title[:：]|^标题[:：])(.*)$", re.M)
FIRST = re.compile(rf"(?:{NAME})(?=[、与诉等]|{CAUSE}|不服|申诉|申请|上诉|再审|[一二]审)")


def _titled(text: str) -> Iterator[str]:
    """Names in the title: before a cause of action, or between the marks of a list."""
    found = TITLE.search(text)
    if not found:
        return
    title = found[1]
    for part in re.finditer(rf"(?:^|[、与诉]|{ROLE})(?={ANY_SURNAME})", title):
        start = part.end()
        rest = title[start:]
        if re.match(CAUSE, rest):
            continue
        surname = re.match(ANY_SURNAME, rest)
        for size in (2, 1) if surname else ():
            end = surname.end() + size if surname else 0
            name, behind = rest[:end], rest[end:]
            ends = re.match(rf"$|[、与诉等，,（(\s]|{CAUSE}|不服|申诉|申请|上诉|再审|[一二]审|因|犯|涉", behind)
            if (
                re.fullmatch(f"{H}{{2,4}}", name)
                and name[-1] not in NEVER
                and ends
                and not is_word(name, True)
                and not heads_organisation(name, text)
            ):
                if size == 2 and re.match(CAUSE, rest[surname.end() + 1 :]) and text.count(name) == 1:  # type: ignore[union-attr]
                    continue
                yield name
                break


# --- dialogs ---------------------------------------------------------------------------------------------------------------

INTRODUCED = re.compile(
    rf"(?:我叫|名叫|[对他她方]叫|名字[是叫为]|姓名[:：是为]{{1,2}}|[叫是](?=[^，。]{{2,3}}的(?:人|男|女)))(?={SURNAME})"
)
SELF = re.compile(
    rf"(?:本人(?={SURNAME})|我是|原告人?|被告人?|被害人|借款人|出借人|债务人|债权人|担保人|欠款人|法人|房东|老板)[:：]?((?:{COMPOUND}|[{SURE}]|(?<=本人){SURNAME}){H}{{1,2}}){EDGE}"
)
RELATED = re.compile(
    rf"(?:丈夫|妻子|老公|老婆|儿子|女儿|父亲|母亲|前夫|前妻|女友|男友|女朋友|男朋友|朋友|同事|邻居|老板|房东|亲戚|舅舅|叔叔|哥哥|弟弟|姐姐|妹妹|包工头|工头)(?=(?:{COMPOUND}|[{SURE}]))"
)


CALLED = re.compile(rf"叫([{SURE}]{H}{{2}})(?:{EDGE}|(?=请问|的|他|她|欠|借|住|在|跟|和))")


def _spoken(text: str) -> Iterator[str]:
    for found in INTRODUCED.finditer(text):
        name = cut(text, found.end())
        if is_person(name, text):
            yield name
            yield from _beside(text, found.end() + len(name))
    for found in CALLED.finditer(text):
        if found[1][:2] not in WORDS and found[1][2] not in NEVER and is_person(found[1], text):
            yield found[1]
    for found in SELF.finditer(text):
        name = found[1]
        if is_person(name, text) and not name.startswith(("方", "单")):
            yield name
    for found in RELATED.finditer(text):
        name = cut(text, found.end())
        if is_person(name, text, 2):
            yield name


def _near(text: str, name: str) -> Iterator[str]:
    """Names that stand in a list with a known one, before it or behind it."""
    for place in re.finditer(re.escape(name), text):
        yield from _beside(text, place.end())
        before = AHEAD.search(text[max(0, place.start() - 5) : place.start()])
        if before and not LINKS.match(before[1][-1]) and before[1][-1] not in NEVER:
            if not is_word(before[1], True) and not heads_organisation(before[1], text):
                yield before[1]


def names(text: str, judgment: bool, spoken: bool) -> list[Name]:
    """The people named in a text, the longest name first; `judgment`: by signatures, titles and roles in running text too."""
    found = list(_strong(text))
    sure = {plain(name) for name in found}
    found += [*_running(text), *_titled(text)] if judgment else []
    found += _spoken(text) if spoken else []
    known = dict.fromkeys(plain(name) for name in found if not INVENTED.search(plain(name)))
    for name in list(known) if judgment else ():
        known |= dict.fromkeys(_near(text, name))
    # What is nothing but the beginning of a name that is sure was cut too short.
    short = {
        name
        for name in known
        if name not in sure and any(one.startswith(name) and text.count(one) == text.count(name) for one in sure)
    }
    known = {name: None for name in known if name not in short}
    return _numbered(text, found, list(known))


def _numbered(text: str, found: list[str], known: list[str]) -> list[Name]:
    """Each name with its pseudonym: the other name in brackets behind a name is the same person's.

    The numbers go on behind those that the text itself holds (张某1), so that no two people become one.
    """
    first = max((int(number) for number in re.findall(r"某(\d{1,3})(?!\d)", text)), default=0) + 1
    labels = {name: f"{name[0]}某{first + number}" for number, name in enumerate(sorted(known, key=text.find))}
    for alias in ALIAS.finditer(text):
        if NO_NAME.search(alias[1]) or ORGANISATION.search(alias[1]):
            continue
        before = text[max(0, alias.start() - 40) : alias.start()]
        owner = max((name for name in known if name in before), key=lambda name: (before.rfind(name), len(name)), default="")
        labels[alias[1]] = labels.get(owner) or labels.get(alias[1]) or f"{alias[1][0]}某{first + len(labels)}"
    forms = {name for name in found if plain(name) in labels} | set(labels)
    listed = [Name.of(name, labels[plain(name)]) for name in forms]
    return sorted(listed, key=lambda name: (-len(name), text.find(name), name))


def is_place(text: str, start: int, end: int) -> bool:
    """Whether two characters that are somebody's name are a place's here: 安平县."""
    return end - start == 2 and re.match("[省市县区镇乡村路街]", text[end : end + 1]) is not None


def stands_apart(text: str, start: int, end: int) -> bool:
    """Whether a name that is also a word stands here as a name: a mark, a role or a link before it, the end of a name behind."""
    before = text[max(0, start - 8) : start]
    return bool(re.search(rf"(?:^|[^\u4e00-\u9fff]|[与和及诉由对向]|{ROLE}|{JUDGE})$", before) and GOES_ON.match(text, end))
