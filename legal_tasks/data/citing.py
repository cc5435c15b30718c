"""Which laws and articles does a text cite, and with which words? Whether they are in force is `statutes`' to say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from legal_tasks.data.dedupe import normal
from legal_tasks.data.numerals import NUMBER, to_number

TO = "至到—～~-"
ONE = rf"(?:第{NUMBER}|[0-9]{{1,4}})(?:条?[{TO}]第?{NUMBER})?条(?:之{NUMBER}(?!款))?"
ARTICLES = rf"(?:[、和及与，{TO}]?{ONE}(?:第{NUMBER}款)?(?:第?[（(]?{NUMBER}[）)]?项)?)+"
CODE_PARTS = "总则|物权|合同|人格权|婚姻家庭|继承|侵权责任"
CITATION = re.compile(rf"《([^《》]{{2,60}})》(?:（[^（）]{{0,20}}）)?(?:(?:(?:{CODE_PARTS})编)?的?({ARTICLES}))?")
PART = re.compile(rf"([{TO}])?第?({NUMBER})(?:条?[{TO}]第?({NUMBER}))?条(?:之({NUMBER})(?!款))?")
LONGEST_RANGE = 200  # articles; a longer one is a slip of the pen
CODE_PART = re.compile(rf"^民法典[·:：\-—]?(?:第[一二三四五六七]编)?(?:{CODE_PARTS})编?$")
SHORT = {"民诉法": "民事诉讼法", "刑诉法": "刑事诉讼法", "行诉法": "行政诉讼法", "消法": "消费者权益保护法"}
SHORT |= {"治安处罚法": "治安管理处罚法", "道交法": "道路交通安全法", "未保法": "未成年人保护法"}
SHORTEST_QUOTE = 10  # characters; shorter words in quotation marks are a term


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


def short_name(name: str) -> str:
    """The name as it is cited: without the state's name, brackets and notes on the version."""
    name = re.sub(r"[\s　*#《》〈〉]", "", name).replace("中华人民共和国", "")
    name = re.sub(r"[（(][^（）()]*(?:修[正订]|试行|\d{4}|编)[^（）()]*[）)]$", "", name)
    return "民法典" if CODE_PART.match(name) else SHORT.get(name, name)


def bare_names(names: Iterable[str]) -> re.Pattern[str]:
    """Laws named without brackets right before an article number: 刑法第二百六十四条."""
    words = sorted({name for name in names if 2 <= len(name) <= 20}, key=lambda name: (-len(name), name))
    return re.compile(rf"(?<!《)(?<!劳动)({'|'.join(map(re.escape, words))})的?({ARTICLES})" if words else r"(?!)")


Citation = tuple[str, str, str, bool]


def citations(text: str, bare: re.Pattern[str] | None = None) -> Iterator[Citation]:
    """(law, article or "", quotation or "", cited as former law) of every citation in order; `bare`: names without brackets."""
    # The patterns are slow where there is nothing to find: no citation without 《, none of an article without 条.
    found = list(CITATION.finditer(text)) if "《" in text else []
    taken = [(one.start(), one.end()) for one in found]
    for one in (bare or bare_names(repeals()[0])).finditer(text) if "条" in text else ():
        if not any(start <= one.start() < end for start, end in taken):
            found.append(one)
    for one in sorted(found, key=lambda one: one.start()):
        before, after = text[max(0, one.start() - 6) : one.start()], text[one.end() :]
        formerly = bool(re.search("[原旧]", before) or re.search("废止|失效", after[:30]))
        parts = list(PART.finditer(one[2] or ""))
        if not parts:
            yield short_name(one[1]), "", "", formerly
        for article in _numbers(parts):
            yield short_name(one[1]), article, _quotation(after) if len(parts) == 1 else "", formerly


def _numbers(parts: list[re.Match[str]]) -> Iterator[str]:
    """The articles in order; 第三条至第五条 and 第三至五条 are three. A 之一 ends a range at its article."""
    last = 0
    for part in parts:
        first, end = to_number(part[2]), to_number(part[3]) if part[3] else 0
        if part[1] and last < first <= last + LONGEST_RANGE:
            yield from map(str, range(last + 1, first))
        last = end if first < end <= first + LONGEST_RANGE else first
        names = [str(number) for number in range(first, last + 1)]
        yield from names[:-1]
        yield names[-1] + (f"-{to_number(part[4])}" if part[4] else "")


def _quotation(after: str) -> str:
    """The words in quotation marks that follow a citation directly; fewer than SHORTEST_QUOTE characters are a term."""
    found = re.match(r'(?:[^“”"。；\n《》]{0,16}[：:，,]?|[^“”"。；\n《》]{0,40}[：:])\s*[“"]([^”"]+)[”"]', after)
    if not found or len(normal(found[1])) < SHORTEST_QUOTE:
        return ""
    return re.sub(r"…+|\.{3,}", "", found[1])
