"""Dialogs in all the layouts met, as turns in order and as pairs of question and answer.

Turns of one speaker in a row are joined, so nothing that the client said is lost. What has no place in a pair has a fate of its
own: a greeting before the first question and a last question without an answer are left off; of a system turn the facts stand
before the first question, not what it tells a model to be; a tool's turns end the dialog, because what is said afterwards rests
on what the tool found.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from legal_tasks.data.markup import clean_text

# Names of fields that hold turns; the earlier wins.
NAMES = tuple(
    "messages conversations conversation dialog dialogue dialogs turns chat history 对话 对话内容 对话记录 聊天记录 "
    "历史 历史对话".split()
)
WHO = ("role", "from", "speaker", "sender", "角色", "发言人", "说话人", "author", "who")
WHAT = ("content", "value", "text", "message", "utterance", "parts", "内容", "发言")
ROLES = {
    "user": "user human client customer questioner asker prompter question q query prompt instruction input 客户 用户 咨询人 "
    "咨询者 当事人 网友 提问 提问者 提问人 问 问题 咨询",
    "assistant": "assistant gpt bot chatgpt model lawyer ai answerer answer a response output completion reply 律师 助手 助理 "
    "回答 回答者 答复 回复 答 解答 专家 顾问 律师回复 客服",
    "system": "system developer 系统",
    "tool": "tool tools function function_call function_response observation tool_call tool_calls tool_response ipython 工具",
}
ROLE_OF = {name: role for role, names in ROLES.items() for name in names.split()}
SAID_BY = (
    (re.compile("律师|法官|顾问|客服|专家|助[手理]"), "assistant"),
    (re.compile("客户|用户|咨询|当事人|网友|先生|女士|提问"), "user"),
)
MARKS = "客户|用户|咨询[人者]|当事人|网友|提问[人者]?|问|律师|助手|回答者?|答复|答"
MARKS += "|[Uu]ser|[Aa]ssistant|[Hh]uman|[Cc]lient|[Ll]awyer|GPT|AI"
MARK = re.compile(
    rf"(?:^|(?<=\n))[ \t\u3000]*(?:\*\*)?(?:[\[【]\s*({MARKS})\s*[\]】]\s*[:：]?|({MARKS})(?:\*\*)?\s*[:：])(?:\*\*)?[ \t\u3000]*"
)
# Q: and A: are marks only where both are, the question first: A: alone is an option.
LETTERS = re.compile(r"(?:^|(?<=\n))[ \t\u3000]*([QqAa])\d{0,3}\s*[:：][ \t\u3000]*")
ANSWERED = re.compile(r"(?<=[\s。？！?!])(?:答|律师|助手|回答|答复)[:：]")  # within a line that begins with a mark
MOST_LITERAL = 100_000  # characters of a list as Python writes it
EMPTY = {"none", "nan", "null", "nat", "<na>", "n/a", "undefined"}
# Sentences that tell a model what to be or how to answer.
PERSONA = re.compile(
    r"\s*(?:你(?!方|们)|您(?!方)|作为|扮演|假设你|请(?![求假示])|回答|不要|禁止|务必"
    r"|(?i:you\b|please|act\b|as an?\b|answer|do not|always|never|your\b|a chat between))"
)


class Unfit(Exception):
    """An item of which no record can be made; `reason` is the word for the accounts."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


Turn = tuple[str, str]  # (user, assistant, system or tool; what is said)


def text_of(value: Any) -> str:
    """The text of a value: of a number, of the parts of a message, of several lines; "" for none and for a word for none."""
    if isinstance(value, str):
        text = clean_text(value)
        return "" if text.lower() in EMPTY else text
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int | float):
        return str(value) if math.isfinite(value) else ""
    if isinstance(value, list):
        return "\n".join(filter(None, map(text_of, value)))
    if isinstance(value, dict):
        kind = str(value.get("type") or "text")
        if not kind.endswith("text"):
            raise Unfit("not_text", f"a part of a message is {kind[:30]}, not text")
        return text_of(next((value[name] for name in ("text", *WHAT) if name in value), None))
    return ""


def is_turn(value: Any) -> bool:
    """Whether a mapping is one turn: who speaks, in a word for it that is known, and what."""
    if not isinstance(value, dict):
        return False
    lower = {str(name).strip().lower(): part for name, part in value.items()}
    who = next((lower[name] for name in WHO[:-2] if isinstance(lower.get(name), str)), "")
    return bool(_role(who)) and bool(lower.keys() & {*WHAT, "tool_calls"})


def is_dialog(value: Any) -> bool:
    """Whether a list is the turns of one dialog."""
    if not isinstance(value, list) or len(value) < 2 or not all(map(is_turn, value)):
        return False
    return any(role == "user" for turn in value for role in _speakers(turn))


def _speakers(turn: dict[Any, Any]) -> Iterator[str]:
    for name, part in turn.items():
        if str(name).strip().lower() in WHO:
            yield _role(part)


def turns_of(value: Any) -> list[Turn]:
    """The turns in a list of turns, pairs, or marked texts, or in one marked text; Unfit where it is not told who speaks."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        written = _written(value)
        return marked(value) if written is None else turns_of(written)
    if isinstance(value, dict):
        return list(_of_mapping(value))
    if not isinstance(value, list):
        raise Unfit("unknown_role", f"a dialog that is {type(value).__name__}")
    if value and all(isinstance(turn, str) for turn in value):
        return _of_texts(value)
    found: list[Turn] = []
    for turn in value:
        if isinstance(turn, dict):
            found += _of_mapping(turn)
        elif isinstance(turn, list) and len(turn) == 2:
            named = _role(turn[0]) if isinstance(turn[0], str) and len(turn[0]) < 12 else ""
            found += [(named, text_of(turn[1]))] if named else _pair(*turn)
        elif isinstance(turn, list):
            found += turns_of(turn)
        elif isinstance(turn, str):
            found += marked(turn)
    return found


def _written(text: str) -> list[Any] | None:
    """The list that a text holds as JSON, as a cell of a table may; None where it holds none."""
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = _literal(text.strip())
    return value if isinstance(value, list) else None


def _literal(text: str) -> Any:
    """What a text says as Python writes a list, in which a table was saved with such a cell; None where it says nothing."""
    if len(text) > MOST_LITERAL:
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return [list(one) if isinstance(one, tuple) else one for one in value] if isinstance(value, list) else None


def _pair(asked: Any, answered: Any) -> list[Turn]:
    return [("user", text_of(asked)), ("assistant", text_of(answered))]


def _role(name: Any) -> str:
    """user, assistant, system or tool; "" for a name that is none of them."""
    plain = str(name).strip().strip("[]【】:：").lower()
    return ROLE_OF.get(plain) or next((role for words, role in SAID_BY if words.search(plain)), "")


def _of_mapping(turn: dict[Any, Any]) -> Iterator[Turn]:
    lower = {str(name).strip().lower(): value for name, value in turn.items()}
    who = next((lower[name] for name in WHO if lower.get(name)), None)
    if who is not None:
        role = "tool" if lower.get("tool_calls") or lower.get("function_call") else _role(who)
        text = "" if role == "tool" else text_of(next((lower[name] for name in WHAT if lower.get(name)), None))
        if not role and text:
            raise Unfit("unknown_role", f"a turn of {str(who)[:30]!r}: call it user or assistant")
        if role:
            yield role, text
        return
    named = [(ROLE_OF[name], value) for name, value in lower.items() if name in ROLE_OF]
    if not named and any(isinstance(value, str) and len(value) > 10 for value in lower.values()):
        raise Unfit("unknown_role", f"a turn with the keys {', '.join(lower)[:60]}: name who speaks by `role`")
    for role in ("system", "user", "tool", "assistant"):
        for one, value in named:
            if one == role:
                yield role, "" if role == "tool" else text_of(value)


def _of_texts(texts: list[str]) -> list[Turn]:
    """Texts that are marked, or that alternate, the client first."""
    if not any(MARK.match(text) for text in texts):
        return [(("user", "assistant")[number % 2], text_of(text)) for number, text in enumerate(texts)]
    return [turn for text in texts for turn in marked(text)]


def marked(text: str) -> list[Turn]:
    """The turns of a text in which a mark at the beginning of a line says who speaks; what stands before the first is the
    client's."""
    text = clean_text(text)
    marks = list(MARK.finditer(text))
    if not marks and "".join(one[1] for one in LETTERS.finditer(text)).upper().startswith("QA"):
        text = LETTERS.sub(lambda one: "问：" if one[1] in "Qq" else "答：", text)
        marks = list(MARK.finditer(text))
    if marks and all(_role(one[1] or one[2]) == "user" for one in marks):
        text = ANSWERED.sub("\n答：", text)
        marks = list(MARK.finditer(text))
    if not marks:
        return [("user", text)] if text_of(text) else []
    found = [("user", text[: marks[0].start()].strip())]
    for mark, end in zip(marks, [*(one.start() for one in marks[1:]), len(text)], strict=True):
        found.append((_role(mark[1] or mark[2]), text_of(text[mark.end() : end])))
    return [turn for turn in found if turn[1]]


def facts_of(text: str) -> str:
    """What a system turn says of the case, without what it tells a model to be or to do."""
    sentences = re.findall(r"[^。！？\n.!?]+[。！？.!?]*", text)
    return "".join(one for one in sentences if not PERSONA.match(one)).strip()


def pairs_of(turns: list[Turn]) -> list[list[str]]:
    """[question, answer] of each exchange in order; Unfit where the first answer already rests on a tool."""
    pairs: list[list[str]] = []
    facts = ""
    used_tool = False
    for role, text in turns:
        if role == "tool":
            used_tool = True
            break
        if role == "system":
            facts = "\n".join(filter(None, (facts, facts_of(text))))
        elif not text:
            continue
        elif role == "user":
            if pairs and not pairs[-1][1]:
                pairs[-1][0] = join(pairs[-1][0], text)
            else:
                pairs.append([text, ""])
        elif pairs:
            pairs[-1][1] = join(pairs[-1][1], text)
    whole = [pair for pair in pairs if pair[1]]
    if used_tool and not whole:
        raise Unfit("tool_turns", "its answers rest on what a tool found")
    if whole and facts:
        whole[0][0] = join(facts, whole[0][0])
    return whole


def join(first: str, second: str) -> str:
    """Two texts under one another; one that the other holds is not said twice."""
    if not first or first in second:
        return second
    return first if not second or second in first else f"{first}\n{second}"
