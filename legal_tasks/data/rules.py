"""The rules that set an item aside: each has a name, a bound where it needs one, and looks at one record."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterable

from legal_tasks.data.statutes import Store, Verdict
from legal_tasks.records import Record

PLACEHOLDER = re.compile(
    r"第\s*[XxＸ×＊*_某Ⅹ]+\s*[条款项章]|《\s*[XxＸ×*_]{1,}[^《》]{0,6}》|\[(?:姓名|日期|法律名称|插入[^\]]*)\]|(?i:lorem ipsum)"
)
SELF = re.compile(
    r"作为(?:一个|一名|一款)?(?:虚拟的?)?(?:人工智能|AI|大?语言模型|智能(?:助手|助理)|虚拟助[手理])|我是(?:一个|一款)?(?:AI|人工智能|语言模型|ChatGPT|GPT)"
    r"|(?i:as an ai|openai|chatgpt|language model)|我的知识(?:截止|更新)"
)
GARBLED = re.compile(
    r"\ufffd|锟斤拷|烫烫烫|屯屯屯|[\x00-\x08\x0b\x0c\x0e-\x1f]|[\ue000-\uf8ff]|(?:[ÃÂåäæçéè][\x80-\xff€™œ¤¦§]){2,}|â€"
)
DOMAIN = re.compile(
    "法|罪|刑|诉|律师|合同|协议|条款|权利|义务|责任|赔偿|补偿|仲裁|债|婚|抚养|继承|遗产|遗嘱|抵押|违约|侵权|公安|检察|判决|裁定|证据|劳动|"
    "工伤|保险|处罚|罚款|行政|条例|规定|征收|拆迁|股权|担保|欠款|借款|租赁|公证|备案|许可|甲方|乙方|原告|被告|"
    "专利|商标|股东|股份|董事|报警|警方|警察|毒品|吸毒|戒毒|骗|房产|产权|土地|户籍|户口|开庭|纪委|虐待|暴力|退款|维权|投诉|"
    "消费者|伤残|事故|鉴定|辞职|工资|选举|注册|泄露"
)
EVASIVE = re.compile(
    "(?:不太?|没有?)(?:清楚|完整|明白|理解)|提供更多|更多的?(?:信息|细节|背景|上下文)|(?:什么|哪些)(?:具体|法律)?(?:的?问题)?需要(?:咨询|帮助)|具体的?问题需要"
)
SHORT_ANSWER = 120  # characters; a longer answer that also asks for details says something
END = '。！？；…）)】」』”’"》.!?:：`>|】'
ACCUSED = {"repealed": "repealed_law", "no such article": "unknown_article", "misquoted": "misquoted"}
ACCUSED |= {"amended": "amended_law", "not yet in force": "future_law"}
NAMES = (
    *("garbled", "placeholder", "self_mention", "truncated", "repeated", "too_short", "too_long", "evasive", "off_domain"),
    *("repealed_law", "future_law", "unknown_article", "amended_law", "misquoted"),
)


def hits(record: Record, store: Store, day: datetime.date, shortest: int, longest: int, quote_bound: float) -> list[str]:
    """Names of all rules that the record breaks, the first being the reason; [] for a good one. Bounds in characters."""
    return text_hits(record, shortest, longest) + cited(store.judge(answers_of(record), day, quote_bound))


def answers_of(record: Record) -> str:
    """All that the record teaches to say."""
    return "\n".join([*(turn[1] for turn in record.history), record.output])


def cited(verdicts: Iterable[Verdict]) -> list[str]:
    """Names of the rules that a record's citations break."""
    states = {ACCUSED[verdict.state] for verdict in verdicts if verdict.state in ACCUSED}
    return [name for name in NAMES if name in states]


def text_hits(record: Record, shortest: int, longest: int) -> list[str]:
    """The rules that look at nothing but the record."""
    found = []
    text = "\n".join([*(part for turn in record.history for part in turn), record.instruction, record.input, record.output])
    answers = answers_of(record)
    if GARBLED.search(text) or _foreign(text):
        found.append("garbled")
    if PLACEHOLDER.search(record.output) or PLACEHOLDER.search(answers):
        found.append("placeholder")
    if SELF.search(answers):
        found.append("self_mention")
    if truncated(record.output, record.category):
        found.append("truncated")
    if repeated(record.output):
        found.append("repeated")
    if len(record.output.strip()) < shortest:
        found.append("too_short")
    if len(text) > longest:
        found.append("too_long")
    if record.category == "consultation" and len(record.output) < SHORT_ANSWER and EVASIVE.search(record.output):
        found.append("evasive")
    if record.category not in ("instruction", "general") and not DOMAIN.search(text):
        found.append("off_domain")
    return found


USUAL = re.compile(r"[\x00-\x7f\u2000-\u30ff\u4e00-\u9fff\uff00-\uffef]+")


def _foreign(text: str) -> bool:
    """Whether a longer text is neither Chinese nor ASCII for the most part."""
    plain = "".join(text.split())
    return len(plain) >= 20 and len(USUAL.sub("", plain)) > 0.2 * len(plain)


def truncated(output: str, category: str) -> bool:
    """Whether an answer breaks off: it ends on a comma, or on a long line of prose without a closing mark."""
    text = output.rstrip()
    if not text or text[-1] in "，、,（(“《":
        return bool(text)
    if category in ("document", "contract", "statute") or len(text) < 80 or text[-1] in END:
        return False
    last = text.splitlines()[-1]
    return len(last) >= 20 and "\u4e00" <= text[-1] <= "\u9fff" and bool(re.search("[，。；]", last))


def repeated(output: str) -> bool:
    """Whether an answer loops: one sentence four times and half of it, or few different 6-character pieces."""
    parts = [part.strip() for part in re.split(r"[。！？\n]", output) if len(part.strip()) >= 6]
    if parts:
        part, count = Counter(parts).most_common(1)[0]
        if count >= 4 and count * len(part) > 0.5 * len(output):
            return True
    plain = re.sub(r"\s+", "", output)
    pieces = len(plain) - 5
    if pieces < 100:
        return False
    # Every third piece is enough to see that most differ, which is the usual case.
    few = (len({plain[place : place + 6] for place in range(0, pieces, step)}) < 0.3 * pieces for step in (3, 1))
    return all(few)
