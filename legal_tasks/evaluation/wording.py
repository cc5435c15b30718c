"""An answer in words without what only dresses it up: thinking, end tokens, mark-up, quotes, other forms of letters."""

from __future__ import annotations

import re
from collections.abc import Mapping

_THOUGHT = re.compile(r"(?s)\A.*</think(?:ing)?>")
_THINKING = re.compile(r"(?i)<think(?:ing)?>")
_END = re.compile(r"(?i)<eo[a-z]>|<\|[a-z_]+\|>|</s>|<s>|\[/?INST\]|<end_of_turn>|\[(?:EOS|END|SEP|PAD)\]")
_KEY = re.compile(r"[\"'](?i:(answer|答案|正确答案|选项|choice|option))[\"']\s*[:：]")
_NUMBERING = re.compile(r"(?m)^([ \t]*[A-Ha-h])[)）](?=[ \t]*[^\sA-Ha-h])")
_BOX = re.compile(r"\\(?:boxed|text|mathbf|mathrm|textbf)\s*\{([^{}]*)\}")
_TAG = re.compile(r"</?(?:b|strong|em|i|u|p|br|span|div|font|answer|mark|code|li|ul|ol|h[1-6])(?:\s[^<>]*)?/?>|</(?:答案|解析)>")
_MARKS = re.compile(r"\*+|`+|__|~~|[#$]+|\u200b|\ufeff|\\[()\[\]]")
_BRACKETS = r"[“”\"'‘’「」『』〈〉《》<>【】〖〗〔〕\[\]{}()（）]+"
_WRAPPED = re.compile(rf"{_BRACKETS}\s*(?=(?:[A-H]{{1,8}}|[a-h])(?![A-Za-z]))|(?<=[A-Ha-h])\s*{_BRACKETS}")
_SIGNS = re.compile(
    r"[【〖〔\[「『《<]\s*((?:正确|参考|标准|最终|本题)?(?:答案|选项)|答|解析|分析|详解|点评|考点|知识点|难度|出处|理由|依据|法律依据|解题思路|思路)\s*[】〗〕\]」』》>]\s*[:：]?"
)
_BULLET = re.compile(r"(?m)(?:^[ \t]*[-•·●▪]|[①-⑩])[ \t]*(?=[A-Ha-h](?![A-Za-z]))")
_SPAN = re.compile(r"(?<![A-Za-z])([A-H])\s*(?:[-—–~～至到]+)\s*([A-H])(?=(?:[两三四五六]|各|所有)?个?(?:选?项)?(?:均|都|全))")
_OLD = str.maketrans(
    "選應為確項錯誤該說無與對當認擇據綜題則們並個兩雖還審債權違約責協議訂",
    "选应为确项错误该说无与对当认择据综题则们并个两虽还审债权违约责协议订",
)
_LOWER = re.compile(r"(?<![A-Za-z0-9'])([a-h](?:[、,，和及与 ]*[a-h])*)(?![A-Za-z0-9]| [A-Za-z])")
_RIGHT, _WRONG = {"正确", "对", "是", "正確", "√"}, {"错误", "错", "否", "錯誤", "×", "不正确"}
_ONE_WORD = re.compile(
    r"[（(【\[]?(?:答案?|判断|结论)?[是为:：\s]*(?:(?P<yes>[是对]的?|[√✓✔☑✅]|T|True)|(?P<no>否|不是|错的?|[×✗✘❌]|F|False))(?:[。，,.!！\s）)】\]]|$)"
)
_DEPENDS = re.compile(
    r"既[不非][^。，,\n]{0,20}[，,]也[不非][^。，,\n]{0,20}|(?:如果|假如|若|倘若)[^。！？\n]{0,80}[；;，,]\s*(?:否则|反之)[^。！？\n]{0,80}"
)
_OF_SOMETHING = re.compile(
    r"的(?:答案)?(?![。，！？,.!?\s]|$|呢|吧|啊)|说法|做法|观点|表述|答案(?![是为:：]*[正错])"
)  # 错误的观点认为
_SAID = re.compile(
    r"(?P<no>(?:不|并非|并不|不是|没有?|未必|无|并无|不存在|谈不上)(?:是|太|完全|能说|能认为)?)?(?P<word>正确|错误|(?<![针面绝相核应反])对(?=[的。，！,.!\s]|$)|错(?=[的。，！,.!了\s]|$)|成立|有误|准确|妥当)"
)


def upright(text: str) -> str:
    """Full-width letters as plain ones."""
    return text.translate({ord("Ａ") + number: ord("A") + number for number in range(26)})


def plain(answer: str) -> str:
    """What is said, in plain letters; "" where the answer ends while it still thinks."""
    text = _THOUGHT.sub("", answer)
    if _THINKING.search(text):
        return ""
    text = upright(text).translate({ord("ａ") + number: ord("a") + number for number in range(26)}).translate(_OLD)
    text = _BOX.sub(r"\1", _BOX.sub(r"\1", _END.sub(" ", text)))
    text = _SIGNS.sub(r"\n\1：", _MARKS.sub("", _TAG.sub(" ", text)))
    text = _NUMBERING.sub(r"\1.", _KEY.sub(r"\1：", text))
    text = _BULLET.sub(" ", _WRAPPED.sub(" ", text))
    text = _SPAN.sub(lambda found: "".join(chr(one) for one in range(ord(found[1]), ord(found[2]) + 1)), text)
    return _LOWER.sub(lambda found: found[1].upper(), text).strip()


def judgement(options: Mapping[str, str]) -> tuple[str, str] | None:
    """(letter of 正确, letter of 错误) where the options are these two; None for others."""
    if len(options) != 2:
        return None
    right = next((letter for letter, text in options.items() if text.strip("。. ") in _RIGHT), None)
    wrong = next((letter for letter, text in options.items() if text.strip("。. ") in _WRONG), None)
    return (right, wrong) if right and wrong else None


def judged(text: str, options: Mapping[str, str]) -> list[str] | None:
    """Which of 正确 and 错误 the answer says, 不正确 being 错误; the last word counts. None for other options."""
    pair = judgement(options)
    if pair is None:
        return None
    sides = []
    text = _DEPENDS.sub("", text)
    for one in _SAID.finditer(text):
        clause = re.split(r"[。；;\n，,]", text[: one.start()])[-1]
        if re.search(
            r"是否|部分|不知道|不确定|不清楚|无法|难以|可能|也许|还是", clause + text[one.start() - 4 : one.start()]
        ) or re.match(r"与否|还是|或者?|[吗?？]|(?:地|处理|认定|引用|履行|行使|适用|理解|认识)", text[one.end() :]):
            continue
        if _OF_SOMETHING.match(text, one.end()) and not re.search("[是为属于]$", text[: one.start()]):
            continue
        side = one["word"] in ("错误", "错", "有误")
        turned = bool(one["no"]) != bool(re.search("不能说|不能认为|谈不上|不可谓|不能算|并不是说", clause))
        sides.append(pair[side != turned])
    alone = _ONE_WORD.match(text)
    return sides[-1:] or ([pair[0 if alone["yes"] else 1]] if alone else [])
