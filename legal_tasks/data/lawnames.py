"""By which names are laws cited? Brackets within brackets, short names, the issuer outside the brackets, names without any.

Short names stand in lawnames.yaml beside this file, with the source of the titles.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path

CODE_PARTS = "总则|物权|合同|人格权|婚姻家庭|继承|侵权责任"
CODE_PART = re.compile(rf"^民法典[·:：,，\-—]*(?:第[一二三四五六七]编)?(?:{CODE_PARTS})编?$")
OPEN, CLOSE = "《〈‹﹤<＜«〖", "》〉›﹥>＞»〗"
_INNER = rf"[{OPEN}][^{OPEN}{CLOSE}\n。；]{{1,70}}[{CLOSE}]"
_DEEPER = rf"[{OPEN}](?:[^{OPEN}{CLOSE}\n。；]|{_INNER}){{1,90}}[{CLOSE}]"
BRACKETED = rf"《((?:[^{OPEN}{CLOSE}\n。；]|{_DEEPER}){{2,110}})》"
ISSUER = r"(?:最高人民法院|最高人民检察院|最高院|最高法院|最高法|最高检|国务院|公安部|司法部)"
ISSUERS = rf"{ISSUER}(?:[、和与及,，]?{ISSUER})*"
ORDINAL = "[一二三四五六七八九十]{1,3}"
DOCUMENT = "解释|规定|批复|意见|决定|办法|通知|答复|规则|纪要"
# 最高人民法院关于适用保险法若干问题的解释（四）, without 《》 around the whole.
LONG = re.compile(
    rf"(?:{ISSUERS}(?=关于)|(?<![《〈<])(?=关于(?:适用|审理|执行|办理|贯彻)))"
    rf"(?:[^，。；：！？\n“”{OPEN}{CLOSE}]|{_INNER}){{4,80}}?(?:{DOCUMENT})(?:[（(]{ORDINAL}[）)]|{ORDINAL}(?=第))?"
)
_SPACE = re.compile(rf"[\s　*#`_{OPEN}{CLOSE}\u200b-\u200f\u2060\ufeff]")
_VERSION = re.compile(r"[（(〔\[][^（）()〔〕\[\]]*(?:修[正订]|试行|\d{4}|编|草案)[^（）()〔〕\[\]]*[）)〕\]]$")
_YEAR = re.compile(
    r"^(?:19|20)\d\d年?(?:修[正订])?(?:版|本)?的?(?=[\u4e00-\u9fff]{2,}[法典例]$)|(?<=[法典])(?:19|20)\d\d年?(?:修[正订])?[版本]?$"
)
_NEW = re.compile(r"^(?:最新|现行|新修订的?|新|旧|原)(?=[\u4e00-\u9fff]{2,}[法典]$|刑法$)")
_OLD_FORM = str.maketrans(
    "訴訟動條項規則編實國華權責釋護婦勞處罰範復審險適應關婚紛產財證標專著稅園場車輛買賣繼養監獄計檢組織選舉質環電網絡藥資貸準執業師農銀鄉鎮衛療醫學會團眾約競爭賠償",
    "诉讼动条项规则编实国华权责释护妇劳处罚范复审险适应关婚纷产财证标专著税园场车辆买卖继养监狱计检组织选举质环电网络药资贷准执业师农银乡镇卫疗医学会团众约竞争赔偿",
)


@lru_cache
def table() -> tuple[dict[str, str], dict[str, str]]:
    """({short name of a law: its title}, {short name of an interpretation: its title})."""
    import yaml

    read = yaml.safe_load((Path(__file__).parent / "lawnames.yaml").read_text("utf-8"))
    laws = {short: title for title, names in read["laws"].items() for short in names}
    return laws, {short: row["title"] for row in read["interpretations"] for short in row["short"]}


@lru_cache(maxsize=20000)
def short_name(name: str) -> str:
    """The name as it is cited: without the state's name, brackets and notes on the version; a law's short name in full."""
    name = _SPACE.sub("", name).translate(_OLD_FORM).replace("中华人民共和国", "")
    name = _VERSION.sub("", name)
    name = re.sub("^最高(?:法院?|院)(?=关于)", "最高人民法院", re.sub("^最高检(?=关于)", "最高人民检察院", name))
    name = re.sub(rf"[（(]({ORDINAL})[）)]", r"（\1）", name)
    name = re.sub(rf"(?<=解释)({ORDINAL})$", r"（\1）", name)
    name = _NEW.sub("", _YEAR.sub("", name)) or name
    return "民法典" if CODE_PART.match(name) else table()[0].get(name, name)


@lru_cache(maxsize=20000)
def core(name: str) -> str:
    """What tells an interpretation from others: 最高人民法院关于适用民法典婚姻家庭编的解释（一） -> 民法典婚姻家庭编解释（一）.

    The words that every title holds go; 解释 and 规定 are one, as people call both 司法解释.
    """
    name = re.sub(rf"^(?:{ISSUERS})?(?:的)?(?:关于)?(?:适用|审理|执行|办理|贯彻执行|贯彻|确定)?", "", short_name(name))
    for short, title in table()[0].items():
        if name.startswith(short) and not name.startswith(title):
            name = title + name.removeprefix(short)
            break
    name = re.sub("纠纷案件|案件|纠纷|(?:具体)?(?:适用|应用)法律|若干|问题|有关|(?<!公)司法(?=解释)|的", "", name)
    return re.sub(rf"(?:解释|规定)(（{ORDINAL}）)?$", r"解释\1", name)


class Names:
    """Names of laws that may stand without brackets before an article. `pattern` tells two lists of names apart.

    `held`: the names of a statute store, to which the short names of interpretations are led back.
    """

    def __init__(self, names: Iterable[str], held: Iterable[str] = ()) -> None:
        words = sorted({name for name in names if 2 <= len(name) <= 30}, key=lambda name: (-len(name), name))
        self.held = frozenset(held)
        # By first characters: one comparison instead of a thousand where no name begins.
        first: dict[str, list[str]] = defaultdict(list)
        for word in words:
            first[word[0]].append(re.escape(word[1:]))
        branches = [f"{re.escape(letter)}(?:{'|'.join(rest)})" for letter, rest in sorted(first.items())]
        self.pattern = f"(?:{'|'.join(branches)})" if branches else "(?!)"

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(rf"(?<!劳动)({self.pattern})")

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        return self.compiled.finditer(text)

    @cached_property
    def _cores(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for name in self.held:
            if re.match(rf"(?:{ISSUERS})?关于", name):
                found[core(name)].add(name)
        return found

    def resolve(self, name: str) -> str:
        """The held name that this one stands for; the name itself where none or several do."""
        if name in self.held:
            return name
        title = table()[1].get(name)
        if title:
            return title if title in self.held else self._alike(title) or title
        if not re.search(rf"(?:{DOCUMENT})(?:（{ORDINAL}）)?$", name):
            return name
        return self._alike(name) or name

    def _alike(self, name: str) -> str:
        wanted = core(name)
        found = self._cores.get(wanted, set())
        if not found and len(wanted) >= 6:
            found = {one for key, names in self._cores.items() if key.endswith(wanted) for one in names}
        if len(found) > 1:  # the kind of document decides
            kind = re.search(DOCUMENT, name[-12:])
            found = {one for one in found if kind and kind[0] in one[-8:]}
        return next(iter(found)) if len(found) == 1 else ""
