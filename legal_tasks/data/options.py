"""The options and the key of an exam question, however they are written: on lines, within one, as a mapping, in brackets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LETTERS = "ABCDEFGH"
_UPRIGHT = str.maketrans("ＡＢＣＤＥＦＧＨａｂｃｄｅｆｇｈ", "ABCDEFGHabcdefgh")
_LINE = re.compile(r"(?m)^\s*[(（\[【]?([A-Ha-h])(?:[)）\]】]\s*[:：.．、,，]?|\s*[:：.．、])[ \t\u3000]*")
_INLINE = re.compile(r"(?<![A-Za-z])(?:[(（\[【]([A-H])[)）\]】]\s*[:：.．、]?|([A-H])\s*[:：.．、])\s*")
_BEFORE = " \t\n\u3000;；。.，,?？:：)）]】、"  # what ends the option before; an A may follow any word: 错误的是A:甲
_KEY = re.compile(r"[A-H](?:[\s、,，;；/|+和及与]*[A-H])*")
_NAME = re.compile(r"^(?:option|opt|choice|选项|答案)?[\s_\-]*([A-Ha-h])(?:选项|项)?[.．、:：]?$", re.I)


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """(stem, {letter: text}) of a question whose options stand at line starts or, from A on in order, within a line."""
    plain = text.translate(_UPRIGHT)  # of the same length, so that places hold for the text itself
    marks = [(one.start(), one.end(), one[1].upper()) for one in _LINE.finditer(plain)]
    marks = _chain(marks) if len(marks) > 1 else []
    inline = _inline(plain)
    if len(inline) > len(marks):
        marks = inline
    if not marks:
        return text.strip(), {}
    ends = [start for start, _, _ in marks[1:]] + [len(text)]
    options = {letter: text[end:until].strip(" \n\t\u3000,，;；") for (_, end, letter), until in zip(marks, ends, strict=True)}
    return text[: marks[0][0]].strip(), options


def _chain(marks: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """The letters as they stand at line starts, each once, from the last A on; all of them where no A begins."""
    first = max((place for place, mark in enumerate(marks) if mark[2] == "A"), default=0)
    kept: dict[str, tuple[int, int, str]] = {}
    for mark in marks[first:]:
        kept.setdefault(mark[2], mark)
    return list(kept.values())


def _inline(plain: str) -> list[tuple[int, int, str]]:
    """The longest row A, B, C … within the text, the last of equals; a letter after A ends the option before it."""
    found = [(one.start(), one.end(), one[1] or one[2]) for one in _INLINE.finditer(plain)]
    best: list[tuple[int, int, str]] = []
    for place, mark in enumerate(found):
        if mark[2] != "A":
            continue
        row = [mark]
        for other in found[place + 1 :]:
            bracket = plain[other[0]] in "(（[【"
            said = plain[row[-1][1] : other[0]].strip(_BEFORE)  # nothing in 甲、A、B、C约定: names, no options
            if said and other[2] == LETTERS[len(row) % 8] and (bracket or plain[other[0] - 1] in _BEFORE):
                row.append(other)
        if len(row) >= max(2, len(best)):
            best = row
    return best if best else found[:1] if found and found[0][2] == "A" and len(found) == 1 else []


def options_of(value: Any) -> dict[str, str]:
    """{letter: text} of options as a list, a mapping, a list of mappings, or one text; {} where they are none."""
    if isinstance(value, str):
        return split_options(value)[1]
    if isinstance(value, Mapping):
        pairs = [(_NAME.match(str(key).translate(_UPRIGHT).strip()), text) for key, text in value.items()]
        return {name[1].upper(): str(text).strip() for name, text in pairs if name and text is not None}
    if not isinstance(value, list):
        return {}
    if value and all(isinstance(one, Mapping) for one in value):
        named = [
            next((one[key] for key in ("text", "value", "content", "option") if isinstance(one.get(key), str)), "")
            for one in value
        ]
        return dict(zip(LETTERS, (text.strip() for text in named), strict=False))
    texts = [str(one) for one in value]
    found = [_LINE.match(text.translate(_UPRIGHT)) for text in texts]
    return {letter: text[mark.end() if mark else 0 :].strip() for letter, text, mark in zip(LETTERS, texts, found, strict=False)}


def letters_of(answer: Any, options: Mapping[str, str]) -> list[str]:
    """The letters that a key names: Ｂ, b, A、C, [正确答案]BD<eoa>, "B。因为A错误", ["A", "c"], 2 (from 0); [] for none."""
    from legal_tasks.evaluation.extract import flexible

    if isinstance(answer, bool) or answer is None:
        return []
    if isinstance(answer, int):
        return [LETTERS[answer]] if 0 <= answer < len(options) else []
    if isinstance(answer, Mapping):
        return sorted(letter for letter in options_of(answer) if letter in options)
    if isinstance(answer, (list, tuple)):
        parts = [letters_of(part, options) for part in answer]
        return sorted({letter for part in parts for letter in part}) if all(parts) else []
    text = str(answer).translate(_UPRIGHT).strip()
    bare = _KEY.fullmatch(text.upper().rstrip("。.;；，, "))
    if bare:
        return sorted(set(re.findall("[A-H]", bare[0])))
    return flexible(str(answer), options)


def is_key(answer: str) -> bool:
    """Whether an answer is letters and nothing else, so that it needs options."""
    text = re.sub(r"[\[【]?(?:正确)?答案[\]】]?[\s:：]*|<eoa>", "", answer.translate(_UPRIGHT)).strip(" 。.[]()（）")
    return bool(_KEY.fullmatch(text))


SIMPLE = re.compile(
    "盗窃|抢劫|抢夺|诈骗|敲诈勒索|故意杀人|故意伤害|过失致人死亡|过失致人重伤|强奸|绑架|非法拘禁|非法侵入住宅|侮辱|诽谤|虐待|遗弃|重婚|寻衅滋事|"
    "聚众斗殴|聚众哄抢|交通肇事|危险驾驶|贪污|受贿|行贿|挪用公款|挪用资金|职务侵占|侵占|合同诈骗|信用卡诈骗|保险诈骗|贷款诈骗|集资诈骗|票据诈骗|"
    "妨害公务|赌博|开设赌场|放火|失火|爆炸|非法经营|故意毁坏财物|破坏生产经营|伪证|脱逃|贩卖毒品|非法持有毒品|容留他人吸毒|滥用职权|玩忽职守|洗钱|招摇撞骗|拐卖妇女|猥亵儿童|渎职"
)


def charges_of(text: str) -> list[str]:
    """The charges of `盗窃;抢劫`, each with 罪. A 、 parts charges only behind 罪 or between well-known ones.

    掩饰、隐瞒犯罪所得罪 is one charge.
    """
    charges = []
    for part in re.split(r"[;；,，\n]", text.strip(" 。.[]")):
        pieces = re.split(r"(?<=罪)[、和及与]", part)
        if len(pieces) == 1 and all(SIMPLE.fullmatch(piece.strip().removesuffix("罪")) for piece in part.split("、")):
            pieces = part.split("、")
        charges += [piece.strip(" 。.") for piece in pieces if piece.strip(" 。.")]
    return [name if name.endswith("罪") else f"{name}罪" for name in charges]
