"""A row as a record: what each field of it is, by its name. Every text in a row has a fate.

It is part of the question or of the answer, or a turn; or its name says that it is neither (LEFT); or the row is set aside,
because a text that nobody knows the place of may be half of the question, or another answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from legal_tasks.data import dialogs
from legal_tasks.data.dialogs import Unfit, join, text_of
from legal_tasks.data.options import split_options
from legal_tasks.records import Record

CATEGORY = {"statute": "statute", "case": "case", "contract": "contract", "consultation": "consultation"}
CATEGORY |= {"document": "document", "instruction": "instruction"}

# Names as `plain` gives them; in each group the earlier comes first.
INSTRUCTION = tuple("instruction instruct task 指令 任务 任务描述".split())
TITLE = tuple("title 标题 问题标题 咨询标题 主题".split())
QUESTION = tuple(
    "query question prompt q ask problem statement 问题 咨询 提问 问 咨询问题 咨询内容 用户问题 客户问题 问题内容 提问内容 题目 "
    "题干 question_content user_question user human".split()
)
CONTEXT = tuple(
    "input context background passage fact facts case description detail details content text 背景 案情 材料 问题描述 "
    "问题详情 详细描述 描述 详情 desc body 补充说明 案情描述 案情简介 基本案情 事实 内容".split()
)
ANSWER = tuple(
    "output response answer completion reply target chosen crime 回答 答复 回复 答案 解答 答 律师回复 律师回答 "
    "律师解答 律师答复 专家回复 专家回答 回答内容 回复内容 最佳答案 采纳答案 参考答案 法律意见 法律建议 法律解答 answer_content "
    "best_answer assistant answers".split()
)
REASON = tuple("analysis explanation explain rationale reason reasons 解析 答案解析 分析 理由 详解 法律依据".split())
OPTIONS = ("options", "option_list", "choices", "选项")
SYSTEM = ("system", "system_prompt", "系统")
LEFT = frozenset(
    "id ids _id uuid guid index idx no num number row column0 url link href source src from origin type kind category "
    "class domain field tag tags label labels subject topic date time datetime timestamp created created_at "
    "updated_at asked_at answered_at author lawyer law_firm region area city province name phone score scores rating "
    "votes likes views fee price language lang model difficulty level year split rejected laws law law_articles "
    "reference references articles cot think thinking reasoning reasoning_content meta metadata path ridx hash md5 "
    "sha256 license licence locator tools version template wording images 序号 编号 链接 网址 来源 出处 类型 类别 "
    "分类 领域 专长 标签 日期 时间 发布时间 提问时间 回答时间 咨询时间 回复时间 作者 律师 律师姓名 律所 律师事务所 "
    "地区 城市 省份 姓名 电话 评分 点赞 浏览量 费用 难度 年份 备注 状态 案由 罪名 法条 相关法条 引用法条".split()
)
# The whole of a document in one field.
DOCUMENT = tuple(
    "text content body html document 正文 内容 全文 原文 文本 文书内容 文书正文 文书全文 裁判文书 判决书 合同正文 合同内容 "
    "合同文本 合同全文".split()
)
# Names that are put together: who or what, and which of its texts.
ASKED_OF = re.compile("(?:咨询|提问|问题|用户|客户|网友|当事人|群众|求助|来信|留言|咨询人|提问人|咨询者){1,2}")
ANSWERED_OF = re.compile(
    "(?:律师|专家|法官|顾问|客服|官方|部门|工作人员|助手|ai|模型|标准|参考|最佳|精选|正确|采纳|处理|办理|答复|回复|回答|解答){1,2}"
)
OF_CONTEXT = re.compile("(?:详情|描述|详细描述|详述|说明|补充|补充说明|背景|案情|正文)")
OF_QUESTION = re.compile("(?:内容|问题|提问|咨询|诉求|留言|事项)")
OF_ANSWER = re.compile("(?:意见|建议|内容|正文|答复|回复|回答|解答|答案|答疑|分析)")
KNOWN = frozenset((*INSTRUCTION, *TITLE, *QUESTION, *CONTEXT, *ANSWER, *REASON, *OPTIONS, *SYSTEM, *dialogs.NAMES))
LETTERS = "ABCDEFGH"
NO_INPUT = {"无", "无。", "没有", "空", "/", "-", "--", "noinput", "<noinput>", "no input"}
SHORTEST = 20  # characters of a text under an unknown name from which it is more than a note
HAN = re.compile("[\u4e00-\u9fff]")


def _put_together(name: str) -> str:
    """The name of a group that a Chinese name of two parts stands for: 咨询详情 is 问题描述, 律师意见 is 律师回复."""
    for ends, begins, group in (
        (OF_CONTEXT, ASKED_OF, "问题描述"),
        (OF_QUESTION, ASKED_OF, "咨询内容"),
        (OF_ANSWER, ANSWERED_OF, "律师回复"),
    ):
        if any(begins.fullmatch(name[:-size]) and ends.fullmatch(name[-size:]) for size in range(2, min(5, len(name)))):
            return group
    return name


def plain(name: Any) -> str:
    """A field's name as the groups have it: 「问题（必填）」 is 问题, 「咨询详情」 is 问题描述."""
    text = re.sub(r"[（(【\[].*?[)）】\]]", "", str(name)[:200]).strip().strip("*:：").strip().lower()
    text = re.sub(r"[\s-]+", "_", re.sub(r"(?<=[\u4e00-\u9fff])\s+(?=[\u4e00-\u9fff])", "", text))
    return text if text in KNOWN | LEFT else _put_together(text)


def is_known(name: Any) -> bool:
    """Whether a field of that name belongs to a layout of questions and answers."""
    return plain(name) in KNOWN


class _Row:
    """The fields of a row by their plain names; those that were asked for are noted."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.values: dict[str, Any] = {}
        for name, value in fields.items():
            while isinstance(value, list) and len(value) == 1:
                value = value[0]
            key = plain(name)
            self.values[key if key not in self.values else str(name)] = value
        if "q" in self.values and "a" in self.values and "b" not in self.values:  # else the columns are options
            self.values["answer" if "answer" not in self.values else "a"] = self.values.pop("a")
        self.taken: set[str] = set()

    def texts(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """(name, text) of each of the names that holds something."""
        found = []
        for name in names:
            if name not in self.values:
                continue
            self.taken.add(name)
            if text := _said(self.values[name]):
                found.append((name, text))
        return found

    def joined(self, names: Iterable[str]) -> str:
        text = ""
        for _, one in self.texts(names):
            text = join(text, one)
        return text

    def turns(self) -> list[dialogs.Turn]:
        """The turns of the first field that holds any, after a system prompt."""
        system = [("system", text) for _, text in self.texts(SYSTEM)]
        for name in dialogs.NAMES:
            if self.values.get(name):
                self.taken.add(name)
                return [*system, *dialogs.turns_of(self.values[name])]
        for name, value in self.values.items():
            if name not in LEFT.union(ANSWER) and dialogs.is_dialog(value):
                self.taken.add(name)
                self.values[name] = None
                return [*system, *dialogs.turns_of(value)]
        return system

    def options(self) -> str:
        """The options as lines `A: …`, from one field or a column each."""
        for name in OPTIONS:
            value = self.values.get(name)
            if isinstance(value, list) and all(isinstance(one, str) for one in value):
                self.taken.add(name)
                return _lines(dict(zip(LETTERS, value, strict=False)))
            if isinstance(value, dict):
                self.taken.add(name)
                return _lines({str(key).strip().upper(): one for key, one in value.items()})
            if isinstance(value, str):
                return self.joined([name])
        lower = [letter.lower() for letter in LETTERS if letter.lower() in self.values]
        if {"a", "b"} <= set(lower):
            self.taken |= set(lower)
            return _lines({letter.upper(): self.values[letter] for letter in lower})
        return ""

    def unknown(self) -> list[tuple[str, int]]:
        """(name, characters) of the texts whose place nobody knows."""
        left = [(name, _words(value)) for name, value in self.values.items() if name not in self.taken | LEFT]
        return [(name, len(text)) for name, text in left if len(text) >= SHORTEST and HAN.search(text)]


def _lines(options: dict[str, Any]) -> str:
    texts = {letter: re.sub(r"^\s*[(（]?[A-H][)）.．、:：]\s*", "", text_of(text)) for letter, text in options.items()}
    return "\n".join(f"{letter}: {text}" for letter, text in texts.items() if text)


def _said(value: Any) -> str:
    """The text of a field; short texts in a list are one line, of turns the last answer counts."""
    if dialogs.is_turn(value):
        return "\n".join(text for role, text in dialogs.turns_of([value]) if role != "tool")
    if dialogs.is_dialog(value):
        return next((text for role, text in reversed(dialogs.turns_of(value)) if role == "assistant"), "")
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        texts = [text for text in map(text_of, value) if text]
        return ("、" if all(len(text) <= 20 for text in texts) else "\n").join(texts)
    return text_of(value) if not isinstance(value, dict) else ""


def _words(value: Any) -> str:
    """All texts in a value, whatever it is."""
    if isinstance(value, str):
        return "" if value.strip().lower() in dialogs.EMPTY else value.strip()
    if isinstance(value, list | dict):
        return "\n".join(map(_words, value.values() if isinstance(value, dict) else value))
    return ""


def document_of(fields: dict[str, Any]) -> str:
    """The document that a row holds, under its title, where the row holds nothing else that is known; "" for other rows."""
    row = _Row(fields)
    titles, bodies = row.texts(TITLE), row.texts(DOCUMENT)
    if len(bodies) != 1 or row.unknown() or any(_words(row.values[name]) for name in row.values.keys() & KNOWN - row.taken):
        return ""
    [(_, body)] = bodies
    title = titles[0][1] if titles else ""
    return body if title in body[:200] else f"{title}\n{body}"


def from_fields(item: dict[str, Any]) -> Record:
    """The record of a mapping; Unfit where it has no question, no answer, two answers, or a text whose place nobody knows."""
    row = _Row(item["fields"])
    turns = row.turns()
    instruction, question = row.joined(INSTRUCTION), join(row.joined(TITLE), row.joined(QUESTION))
    context = row.joined(name for name in CONTEXT)
    context = "" if context.lower() in NO_INPUT else context
    given, answer = _answer(row)
    asked, extra = _question(instruction, question, context)
    options = row.options()
    if options and options not in (asked, extra):
        asked, extra = (asked, join(extra, options)) if extra else (join(asked, options), "")
    if unknown := row.unknown():
        name, size = unknown[0]
        what = f"{name[:40]} ({size:,} characters) is no known column"
        raise Unfit("unknown_field", f"{what}: call it question, input or answer, or leave it out")
    history: list[list[str]] = []
    if turns:
        asked, extra, answer, history = _ended(turns, asked, extra, answer)
    if not asked or not answer:
        found = ", ".join(map(str, item["fields"]))[:120]
        lacks = "question" if not asked else "answer"
        raise Unfit("no_answer", f"no {lacks} in the columns {found}; known are question or 问题, answer or 回答, messages")
    if given == "crime":
        asked, extra = "请根据下列案情，指出被告人触犯的罪名。", join(asked, extra)
    asked, answer = _with_options(asked, extra, answer)
    return Record(asked, extra, answer, item["source"], CATEGORY[item["kind"]], history)


def _question(instruction: str, question: str, context: str) -> tuple[str, str]:
    """(instruction, input): what is to be done, and on what."""
    first, *rest = [text for text in (instruction, question, context) if text] or [""]
    extra = ""
    for text in rest:
        extra = join(extra, text)
    return (first, extra) if extra not in first else (first, "")


def _answer(row: _Row) -> tuple[str, str]:
    """(name, text) of the answer with its reasons; Unfit where two answers differ."""
    several = row.values.get("answers")
    if isinstance(several, list) and len({text for text in map(text_of, several) if text}) > 1:
        raise Unfit("two_answers", f"answers holds {len(several)}: keep one of them")
    found = row.texts(ANSWER)
    name, answer = found[0] if found else ("", "")
    for other, text in found[1:]:
        if text not in answer and answer not in text:
            raise Unfit("two_answers", f"{name} and {other} say different things: keep one of them")
        answer = max(answer, text, key=len)
    for _, text in row.texts(REASON):
        answer = join(answer, text)
    return name, answer


def _ended(turns: list[dialogs.Turn], asked: str, extra: str, answer: str) -> tuple[str, str, str, list[list[str]]]:
    """(instruction, input, answer, earlier turns) of a dialog whose last exchange may stand in fields of its own."""
    said = join(asked, extra)
    if answer:
        if turns[-1] == ("assistant", answer):
            turns = turns[:-1]
        last = next((text for role, text in reversed(turns) if role != "system"), "")
        if not (turns and turns[-1][0] == "user" and last == said):
            turns = [*turns, ("user", said)]
        turns = [*turns, ("assistant", answer)]
    elif said and not any(said in text for role, text in turns if role == "user"):
        turns = [*(turn for turn in turns if turn[0] == "system"), ("user", said), *(t for t in turns if t[0] != "system")]
    pairs = dialogs.pairs_of(turns)
    if not pairs:
        return "", "", "", []
    question, reply = pairs[-1]
    history = pairs[:-1]
    if answer and extra and question.endswith(said):  # instruction and input stay two
        return question[: len(question) - len(extra)].strip(), extra, reply, history
    return question, "", reply, history


def _with_options(asked: str, extra: str, answer: str) -> tuple[str, str]:
    """(question, answer): letters are answered with what they stand for."""
    letters = re.sub(r"[\s、,，]+", "", answer)
    if not re.fullmatch(r"[A-H]{1,8}", letters):
        return asked, answer
    _, options = split_options(extra or asked)
    if not options:
        return asked, answer
    words = "\n".join(f"{letter}: {options[letter]}" for letter in letters if letter in options) or answer
    return asked.replace("请只给出答案的序号", "请给出答案的序号和内容"), words
