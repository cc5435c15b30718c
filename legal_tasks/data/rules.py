"""The rules that set an item aside, or only flag it: each has a name, a bound where it needs one, and looks at one record."""

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
    "消费者|伤残|事故|鉴定|辞职|工资|选举|注册|泄露|轻伤|重伤|轻微伤|伤情|受伤|签证|护照|居留|身份证|身分证|低保|补贴|津贴|贫困户|五保|残疾|"
    "贷款|网贷|信用卡|征信|黑户|逾期|冻结|驾驶证|驾照|牌照|报废|交警|违章|扣分|酒驾|物业|业主|护理费|营养费|误工|经营范围|营业执照|"
    "授权|版权|抄袭|退费|收据|发票|骚扰|押金|订金|定金|社保|医保|养老|退休|退伍|军人|独生子女|危房|宅基地|村委|注销|票数|投票|离职|辞退|加班|"
    "合伙|遗弃|失踪|监护|收养|学籍|档案|落户|迁移|承包|彩礼|嫖|赌|传销|高利|催收|转账|加盟"
)
EVASIVE = re.compile(
    "(?:不太?|没有?|无法)(?:能)?(?:清楚|完整|明白|理解)|提供更多|更多的?(?:信息|细节|背景|上下文|情况)|(?:什么|哪些)(?:具体|法律)?(?:的?问题|方面)?需要(?:咨询|帮助)"
    "|具体的?问题需要|有什么(?:需要|可以)(?:咨询|帮)|什么(?:样的)?法律(?:帮助|建议|服务)|问什么问题"
)
# Sentences that say nothing of the matter: greetings, regrets, questions back, offers of help, where else to ask.
NOTHING = re.compile(
    "(?:不太?|没有?|无法)(?:能)?(?:清楚|完整|明白|理解|回答|确定|提供)|提供更多|[请我](?:再|能否|可以|需要|想)?(?:提供|告诉|说明|补充|了解)|更多的?(?:信息|细节|背景|上下文|情况)"
    "|需要(?:咨询|帮助)|尽力|乐意|为您解答|更好地|(?:很|非常)?抱歉|^(?:您好|你好|好的|谢谢|作为律师)|[？?吗呢]$|祝您|这些信息|不能根据这么少"
    "|(?:建议|可以).{0,4}(?:咨询|联系|向您推荐).*(?:律师|专业|部门|机构)"
)
SHORT_ANSWER = 120  # characters; a longer answer that also asks for details says something
SUBSTANCE = 20  # characters of an answer, without the sentences that say nothing, from which it answers
LONG_ANSWER = 300  # characters; where a generator's bound cuts an answer, it has been going on for as long
END = '。！？；…）)】」』”’"》.!?:：`>|】~～*'
# Words after which a sentence goes on.
DANGLING = re.compile(r"(?:[，、,（(“《与及或]|并且|而且|但是|因为|所以|如果|以及|或者|例如|比如|其中|对于|关于|根据|依照|按照)$")
ACCUSED = {"repealed": "repealed_law", "no such article": "unknown_article", "misquoted": "misquoted"}
ACCUSED |= {"amended": "amended_law", "not yet in force": "future_law"}
# (hits read, of them right) of each rule on real public consultations and instructions of 2023, each read with its question by
# one reader who asked: would anybody want this taught? All hits were read, of placeholder 40 of 1,087 drawn by lot. The bounds of
# evasive and truncated and the words of off_domain were set with these hits in view; before, 34 of 42, 72 of 73 and 25 of 53
# were right. Only these counts are kept. Rules that no hit of these texts broke are not measured.
READ = {"placeholder": (40, 40), "self_mention": (23, 23), "truncated": (70, 70), "evasive": (33, 32), "off_domain": (23, 20)}
LEAST = 0.9  # share of right hits below which a rule only flags a record, and sets none aside
FLAGS = frozenset(name for name, (hits, right) in READ.items() if right < LEAST * hits)
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
    # A goodbye ends a dialog in which something was said.
    if len(record.output.strip()) < shortest and not any(len(turn[1]) >= SUBSTANCE for turn in record.history):
        found.append("too_short")
    if len(text) > longest:
        found.append("too_long")
    if evaded(record):
        found.append("evasive")
    if record.category not in ("instruction", "general") and not DOMAIN.search(text):
        found.append("off_domain")
    return found


USUAL = re.compile(r"[\x00-\x7f\u2000-\u30ff\u4e00-\u9fff\uff00-\uffef]+")


def _foreign(text: str) -> bool:
    """Whether a longer text is neither Chinese nor ASCII for the most part."""
    plain = "".join(text.split())
    return len(plain) >= 20 and len(USUAL.sub("", plain)) > 0.2 * len(plain)


def evaded(record: Record) -> str:
    """The phrase by which a consultation's answer asks back instead of answering; "" where something is said in the dialog."""
    found = EVASIVE.search(record.output)
    if record.category != "consultation" or len(record.output) >= SHORT_ANSWER or found is None:
        return ""
    if any(len(turn[1]) >= SHORT_ANSWER for turn in record.history) or re.search(r"[如若][果]?[您你]是", record.output):
        return ""
    said = [part.strip() for part in re.findall(r"[^。！!；\n？?]+[？?]?", record.output)]
    said = [part for part in said if not NOTHING.search(part)]
    return found[0] if sum(map(len, said)) < SUBSTANCE else ""


def truncated(output: str, category: str) -> bool:
    """Whether an answer breaks off: after a word or mark with which no sentence ends, or, where it is as long as a generator's
    bound, on a long line of prose without a closing mark.

    An answer of which several lines end without a mark, and a shorter one, only lacks its full stop.
    """
    text = output.rstrip()
    if not text or text[-1] in "，、,（(“《":
        return bool(text)
    if category in ("document", "contract", "statute") or len(text) < 80 or text[-1] in END:
        return False
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if DANGLING.search(text):
        return True
    unmarked = sum(len(line) >= 20 and line[-1] not in END for line in lines)
    last = lines[-1]
    if len(text) < LONG_ANSWER or unmarked > 1:
        return False
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
