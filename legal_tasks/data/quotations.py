"""Are these the words of the article? Omissions are allowed; other words, numbers, negations and decisive words are not.

Both texts are read as tokens: a number with its unit is one (三十日, 30日), so is a word that decides (应当, 以下, 买受人), all
else is a character. So 三十日 is never nearly 三日, and 以上 never nearly 以下.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from difflib import Match, SequenceMatcher
from functools import lru_cache

from legal_tasks.data.dedupe import grams
from legal_tasks.data.numerals import to_number

COVERED = 0.9  # share of a quotation's characters that must stand in the article in runs of two and more
NEGATION = re.compile("[不未无非没勿]|禁止")
SHORT_GAP = 2  # tokens; a longer omission may hold a negation or a bound of its own clause
NUMERAL = r"[零〇一二两三四五六七八九十百千万亿0-9０-９]+"
UNIT = (
    "个?工作日|个?小时|个?季度|个?星期|周岁|周年|平方米|平方公里|公里|千克|公斤|毫克|万元|亿元|日元|美元|个月|"
    "[年月日天周岁倍元人次名户件套吨克米成条款项目编章节审级%％‰]"
)
QUANTITY = re.compile(
    rf"(?P<part>[百千万]分之)?第?(?P<number>{NUMERAL}(?:[.．点][零〇一二三四五六七八九0-9０-９]+)?)(?:分之(?P<over>{NUMERAL}))?"
    rf"(?P<unit>{UNIT})?(?P<bound>[以之]?[内外上下前后](?![列述款项级院]))?"
)
REFERS = ("条", "款", "项", "目", "编", "章", "节")  # units of a place in the law, which a quotation may add or leave out
BOUNDS = (
    "以上 以下 以内 以外 以前 以后 之前 之后 超过 不超过 不足 不满 未满 少于 多于 高于 低于 至少 至多 "
    "最高 最低 不少于 不低于 不高于 不多于"
).split()
WORDS = (
    "应当 可以 必须 不得 禁止 允许 有权 无权 故意 重大过失 过失 过错 无过错 书面 口头 明示 默示 善意 恶意 "
    "有偿 无偿 有效 无效 撤销 解除 终止 中止 中断 变更 动产 不动产 全部 部分 连带责任 按份责任 从重 从轻 "
    "减轻 免除 加重 并处 单处 或者 并且 公开 不公开 出卖人 买受人 出租人 承租人 出借人 借款人 贷款人 债权人 "
    "债务人 保证人 抵押人 抵押权人 质权人 出质人 承揽人 定作人 承运人 托运人 收货人 寄存人 保管人 委托人 "
    "受托人 受让人 转让人 让与人 原告 被告 申请人 被申请人 用人单位 劳动者 经营者 消费者 生产者 销售者 监护人 "
    "被监护人 继承人 被继承人 赠与人 受赠人 侵权人 被侵权人 被害人 受害人 加害人 代理人 被代理人 投保人 保险人 "
    "被保险人 受益人 发包人 承包人 成年人 未成年人 有期徒刑 无期徒刑 拘役 管制 死刑 罚金 罚款 没收财产 "
    "人民法院 人民检察院 公安机关 基层 中级 高级 上级 下级 县级 市级 省级 国务院 配偶 父母 子女 公民 法人 "
    "甲方 乙方 定金 订金 既遂 未遂 主犯 从犯 较大 巨大 特别巨大 较重 特别严重 违约责任 侵权责任 补充责任"
).split()
DECISIVE = frozenset([*BOUNDS, *WORDS])
TOKEN = re.compile(
    rf"(?P<quantity>{QUANTITY.pattern})|(?P<word>{'|'.join(sorted(DECISIVE, key=len, reverse=True))})|(?P<character>\w)"
)
Tokens = tuple[str, ...]


def share(quote: str, article: str) -> float:
    """Share of the quotation's 5-grams that the article holds, 0..1; 1 for a quotation without words."""
    wanted = grams(quote)
    return len(wanted & grams(article)) / len(wanted) if wanted else 1.0


def fits(quote: str, article: str, bound: float = 0.6) -> bool:
    """Whether the quotation gives the article's words: `bound` of its 5-grams, nearly all characters, no altered sense."""
    said, law = tokens(quote), tokens(article)
    if share("".join(said), "".join(law)) < bound:
        return False
    matcher = SequenceMatcher(None, law, said, autojunk=False)
    blocks = matcher.get_matching_blocks()
    sizes = [_size(said[block.b : block.b + block.size]) for block in blocks]
    if sum(size for size in sizes if size >= 2) < COVERED * _size(said):
        return False
    blocks = [block for block in blocks if block.size >= 2]  # a word alone may have met its like far away
    return not any(_altered(*pair) for pair in _differences(law, said, blocks))


@lru_cache(maxsize=2000)
def tokens(text: str) -> Tokens:
    """A text's tokens without blanks and punctuation, numbers in one form: 百分之五 and 5% are one, 二十万元 and 200000元."""
    return tuple(_quantity(found) if found["quantity"] else found[0].lower() for found in TOKEN.finditer(text) if found[0] != "_")


def _quantity(found: re.Match[str]) -> str:
    """`数5日`, `数5/100`; `#5` without a unit."""
    number, unit = found["number"], found["unit"] or ""
    whole, _, rest = re.sub("[.．]", "点", number).partition("点")
    value: float = to_number(whole)
    if not value and whole not in ("零", "〇", "0", "０"):
        return found[0]
    if rest:
        digits = "".join(str(to_number(digit)) for digit in rest)
        value = float(f"{int(value)}.{digits}")
    for many, times in (("万元", 10**4), ("亿元", 10**8)):
        if unit == many:
            value, unit = value * times, "元"
    unit = unit if unit == "个月" else unit.removeprefix("个")
    unit = {"天": "日", "%": "/100", "％": "/100", "‰": "/1000"}.get(unit, unit)
    if found["part"]:
        unit = {"百": "/100", "千": "/1000", "万": "/10000"}[found["part"][0]] + unit
    if found["over"]:
        unit = f"分之{to_number(found['over'])}{unit}"
    bound = (found["bound"] or "").lstrip("以之")  # 三十日内 and 三十日以内 are one
    return f"数{value:g}{unit}{bound}" if unit else f"#{value:g}{found['bound'] or ''}"


def _size(part: Tokens) -> int:
    return sum(map(len, part))


def _differences(law: Tokens, said: Tokens, blocks: list[Match]) -> Iterator[tuple[Tokens, Tokens, bool]]:
    """(lost, added, whether nothing more was left out there) between the blocks in which the two agree.

    What stands before the first and after the last in the article was not quoted. Where much is left out, only what stands
    beside the blocks can be what the added words replace.
    """
    ends = [(0, 0), *((block.a + block.size, block.b + block.size) for block in blocks)]
    starts = [*((block.a, block.b) for block in blocks), (len(law), len(said))]
    for place, ((a, b), (until_a, until_b)) in enumerate(zip(ends, starts, strict=True)):
        lost, added = law[a:until_a], said[b:until_b]
        near, outside = len(added) + SHORT_GAP, place in (0, len(blocks))
        if not added and (outside or not lost):
            continue
        short = len(lost) <= near and not (outside and len(lost) > len(added))
        if place == 0:
            lost = lost[-near:]
        elif place == len(blocks):
            lost = lost[:near]
        elif len(lost) > 2 * near:
            lost = lost[:near] + lost[-near:]
        yield lost, added, short


def _altered(lost: Tokens, added: Tokens, short: bool) -> bool:
    """Whether a difference changes the sense: a negation, a number, or a word that decides."""
    gone, new = len(NEGATION.findall("".join(lost))), len(NEGATION.findall("".join(added)))
    if new > gone or (short and gone > new):
        return True
    if lost == ("可以",) and not added:  # 可以吊销 binds less than 吊销
        return True
    had, has = _weighty(lost), _weighty(added)
    for one in (has - had).elements():
        if one[0] in "数#" or not one.startswith(tuple(token for token in lost if len(token) == 1) or ("\0",)):
            return True  # 应 for 应当 and 可 for 可以 say the same
    missing = had - has
    if short and added and any(one[0] == "数" for one in missing):
        return True
    return short and any(one in BOUNDS for one in missing)


def _weighty(part: Tokens) -> Counter[str]:
    """Quantities and decisive words. A number without a unit weighs only where both sides have one (see `_altered`)."""
    return Counter(one for one in part if (one[0] == "数" and not one.endswith(REFERS)) or one in DECISIVE)
