"""The title of a law among the lines above its articles."""

from __future__ import annotations

import re
from collections.abc import Sequence

from legal_tasks.data.lawlines import CLOSED, Line
from legal_tasks.data.numerals import NUMBER

LONGEST = 120  # characters of a title
BRACKETS = r"(?:[（(〔\[【][^（）()〔〕【】]{1,30}[）)〕\]】])*"
KINDS = (
    "法|法典|条例|规定|办法|细则|规则|解释|决定|意见|批复|通知|规程|章程|制度|准则|标准|方案|纪要|解答|安排|答复|复函|公约|修正案|公告|公报|协定|"
    "议定书|指引|守则|纲要|要点|指南|措施|规范|命令|令|函|目录|名录|程序|通则|总则|大纲|问答|清单|條例|規定|辦法|細則|規則|解釋|決定"
)
TITLE = re.compile(rf"《?[^。；：！？，;:!?,|>=]{{0,{LONGEST}}}(?:{KINDS})(?:》(?:全文)?)?{BRACKETS}")
# 第一章 总则, 附则, 目录, 正文, an order's and a gazette's own lines: no titles, whatever they end in.
STRUCTURE = re.compile(rf"第[ \t　]*{NUMBER}[ \t　]*(?:编|分编|章|节|部分|目)(?![一二三四五六七八九十])|[总分附罚][ \t　]*则$")
CONTENTS = re.compile(r"[【\[（(]?目[ \t　]*[录次][】\]）)]?[:：]?$")
BODY = re.compile(r"[【\[（(]?(?:正[ \t　]*文|全文)[】\]）)]?[:：]?$")
ANNEX = re.compile(
    rf"附[ \t　]*(?:件|录|表|图|注)?[ \t　]*(?:{NUMBER})?[ \t　]*(?:[:：]|$)|附(?:件|录|表|图)[ \t　]*{NUMBER}(?![\d条])"
)
ISSUER = "法院|检察院|国务院|委员会|办公厅|办公室|政府|部|厅|局|总局|署|银行|会议|代表大会|主席|院"
ORDER = re.compile(
    rf".{{0,40}}(?:{ISSUER})(?:令|公告|文件|公报)(?:[（(]?第?.{{0,12}}号[）)]?)?$|第?.{{0,12}}号$|"
    r".{0,20}[〔\[［(（]\d{4}[〕\]］)）]第?.{0,8}号[）)]?$"
)
DATE_LINE = re.compile(
    r"[（(〔\[]?(?:根据|依据)?[\d０-９〇零一二三四五六七八九]{4}[年.\-/]|"
    r"[（(〔\[].{0,60}(?:通过|公布|发布|施行|修[正订]|批准)[）)〕\]]$|[^（(]{0,40}(?:通过|公布|发布|施行|批准)$"
)
NOTE_STARTS = re.compile(r"[（(〔\[]?(?:根据|依据)?[\d０-９〇零一二三四五六七八九]{4}年")
NOTE_ENDS = re.compile(r"(?:通过|公布|发布|施行|实施|修[正订]|批准|日)[）)〕\]。；]?$|[）)。]$")
CATEGORY = {"司法解释", "部门规章", "法律", "行政法规", "地方性法规", "规范性文件", "法律法规", "宪法法律", "国家法律", "法规"}
ORGANISATION = re.compile(rf"[^、，。《》\s]{{2,30}}(?:{ISSUER}|高法院|中华人民共和国)$")
ONWARD = ("关于", "适用", "若干", "的", "实施", "法律", "具体", "应用", "有关", "等", "及", "和", "与", "或")
SUFFIX = re.compile(
    r"[（(]\s*(?:试行|暂行|草案|修[订正](?:本|版|案)?|[一二三四五六七八九十]{1,3}|\d{4}年?(?:修[订正])?(?:本|版)?)\s*[）)]"
)
META = re.compile(r"title[:：]\s*(\S.*)$")


def plain(text: str) -> str:
    """The title without blanks and mark-up; two issuers one after the other are joined by 、."""
    parts = [part for part in re.split(r"[\s　]+", re.sub(r"[*#]", "", text)) if part]
    joined = ""
    for number, part in enumerate(parts):
        both = (
            number and ORGANISATION.fullmatch(parts[number - 1]) and ORGANISATION.match(part) and not _is_state(parts[number - 1])
        )
        joined += ("、" if both and not part.startswith("关于") else "") + part
    return joined


def _is_state(text: str) -> bool:
    return text.endswith("中华人民共和国")


def is_structure(text: str) -> bool:
    """Whether a line is a heading inside a law or around it (第一章 总则, 目录, 附则, 主席令), hence no title."""
    flat = re.sub(r"[\s　]", "", text)
    return bool(STRUCTURE.match(text) or CONTENTS.match(flat) or BODY.match(flat) or ORDER.match(flat)) or flat in CATEGORY


def is_title(text: str) -> bool:
    """Whether a line says the whole name of a law."""
    flat = re.sub(r"[\s　]", "", text)
    if not 2 <= len(flat) <= LONGEST or is_structure(text) or DATE_LINE.match(flat) or re.match(rf"第{NUMBER}条", flat):
        return False
    if flat.count("《") != flat.count("》") or (flat.endswith(("》", "》全文")) and not flat.startswith("《")):
        return False
    return TITLE.fullmatch(flat) is not None


def _may_be_in_a_title(line: Line) -> bool:
    flat = re.sub(r"[\s　]", "", line.text)
    return not (
        re.search(r"[。；：！？，;:!?,|>=]", flat) or is_structure(line.text) or DATE_LINE.match(flat) or ANNEX.match(flat)
    )


def _joins(first: Line, second: Line) -> bool:
    """Whether a title goes on from a line to the next."""
    before, after = re.sub(r"[\s　]", "", first.text), re.sub(r"[\s　]", "", second.text)
    if not _may_be_in_a_title(first) or not _may_be_in_a_title(second) or first.level != second.level:
        return False
    if before.count("《") > before.count("》") or before.count("〈") > before.count("〉"):
        return True
    if ORGANISATION.fullmatch(before):
        organisation = ORGANISATION.fullmatch(after) and not second.blank
        return _is_state(before) or after.startswith(("关于", "印发", "适用")) or bool(organisation)
    if is_title(first.text):
        return after.startswith(("若干问题", "的", "实施", "适用", "补充", "司法解释"))
    onward = after.startswith(ONWARD) or before.endswith(
        ("、", "的", "和", "及", "与", "等", "有关", "适用", "若干", "实施", "贯彻", "执行")
    )
    return onward or before.startswith("关于") or len(after) <= 3 or "关于" in before


def find(lines: Sequence[Line], last: bool = True) -> tuple[str, int, int] | None:
    """(title, first line, line after it) of the last title (or the first) among lines, over as many lines as it takes."""
    contents = next((place for place, line in enumerate(lines) if CONTENTS.match(re.sub(r"[\s　]", "", line.text))), len(lines))
    notes = _notes(lines)
    for region in (range(contents), range(contents, len(lines))):
        found = None
        for end in (place for place in region if place not in notes):
            block = _block(lines, end)
            if block is not None:
                found = block
                if not last:
                    break
        if found is not None:
            return found
    return None


def _notes(lines: Sequence[Line]) -> set[int]:
    """Lines that say when a law was adopted and amended, with those over which such a sentence goes on."""
    notes, within = set[int](), False
    for place, line in enumerate(lines):
        flat = re.sub(r"\s", "", line.text)
        within = (within and not line.blank) or bool(NOTE_STARTS.match(flat))
        if within:
            notes.add(place)
        within = within and not NOTE_ENDS.search(flat)
    return notes


def _block(lines: Sequence[Line], end: int) -> tuple[str, int, int] | None:
    """The title that ends on a line, if one does and the next line does not carry it on."""
    if not _may_be_in_a_title(lines[end]) and not ANNEX.match(lines[end].text):
        return None
    start = end
    while start > 0 and end - start < 6 and _joins(lines[start - 1], lines[start]):
        start -= 1
    text = " ".join(line.text for line in lines[start : end + 1])
    if start == end:
        text = re.sub(rf"^附\s*(?:件|录)\s*(?:{NUMBER})?\s*[:：]?\s*", "", text)
    if not is_title(text) or _in_prose(lines, start):
        return None
    after = end + 1
    if after < len(lines) and SUFFIX.fullmatch(lines[after].text):
        text += lines[after].text
        after += 1
    elif after < len(lines) and _joins(lines[end], lines[after]) and _block(lines, after):
        return None
    named = re.sub(r"^(?:【[^】]{2,8}】|[一二三四五六七八九十]+、|\d+[.．、])", "", plain(text))
    return re.sub(r"^《(.*)》(?:全文)?$", r"\1", named), start, after


def _in_prose(lines: Sequence[Line], start: int) -> bool:
    """Whether the lines before run into this one: a sentence that a page's width broke."""
    for place in range(start, max(0, start - 4), -1):
        before = lines[place - 1]
        if lines[place].blank or before.text[-1] in CLOSED or is_structure(before.text):
            return False
        if re.search("[，；、]", before.text):
            return True
    return False


def marked(lines: Sequence[Line]) -> str:
    """The title that mark-up names: `title:` or the first heading; "" if there is none or it is no title."""
    for line in lines:
        meta = META.match(line.text)
        if meta or line.level == 1:
            text = plain(meta[1] if meta else line.text)
            return text if 0 < len(text) <= LONGEST else ""
    return ""


def may_name(text: str) -> bool:
    """Whether a first line may stand for a title although it does not look like one: short, and no heading or sentence."""
    return 1 < len(text) <= 40 and _may_be_in_a_title(Line(text)) and not re.match(rf"[(（]|第{NUMBER}", text)


def file_name(name: str) -> str:
    """What a file is called, without its ending and a locator's place."""
    return name.split("#")[0].rsplit("/", 1)[-1].rsplit(".", 1)[0]
