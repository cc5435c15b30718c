"""Read the chosen letters out of an answer in words: strictly, and flexibly; no letter is an abstention.

`strict` takes an answer that is the letters and nothing else ("B", "答案：ACD。"). `flexible` also takes what a longer
answer commits to: "故本题答案为B", what it says of each option, a letter at its head, or the text of exactly one option. A
conclusion beats what is said on the way; what is denied, asked or left open is no answer; A公司 and B股 are no letters.
Options that are articles are compared by law and number, not by their letters. Strict and flexible are both reported,
because the same answers have scored 0.20 by one and 0.78 by the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from legal_tasks.evaluation import wording
from legal_tasks.evaluation.articles import articles, without

VERSION = 3  # raised when the same answer should give other letters

_LETTERS = r"[A-H](?:[\s、,，和及与]*[A-H])*"
_STRICT = re.compile(
    rf"(?:(?:正确)?(?:答案|选项)(?:是|为|应为|选)?|应?选择?)?[\s:：]*[(（【\[]?\s*({_LETTERS})\s*[)）】\]]?[\s.。]*"
)
# A group of letters as answers write it: ACD, A、C, A项和C项, A|C. A comma joins letters only where nothing else is said of
# the last one: 选B，A错误. Everything that repeats is bounded, so that no answer takes long.
_COMMA = r"[,，;；](?=\s*[A-H](?:\s*[,，;；]\s*[A-H]){0,7}\s*(?:[。.\n]|选?项?[均都]?正确|$))"
_BETWEEN = rf"(?:\s|[、+＋|｜·•.．/／&]|{_COMMA}|和|及|与|以及|and|选项|项|第){{0,6}}"
_GROUP = rf"(?<![A-Za-z0-9])(?>[A-H](?:{_BETWEEN}[A-H](?![a-z])){{0,12}})(?![A-Za-z0-9])"
# What may follow a letter that answers; 公司, 股, 方案 make it a name.
_STOP = (
    r"(?=\s*(?:$|[。．.,，、;；:：!！?？)\]”\"'\n|]|[两三四二]项|选?项|因为?|由于|而非|而不是|理由|解析|是因|是正|是对|均|都|正确|(?i:because|since)|"
    r"对[的。，]|当选))"
)
# What leads to it: 答案是, 选, 综上.
_SAY = r"(?:是|[改修更]?正?为|改|应该?|应当|该|当|选择?|就|只能|只|显然|无疑|必然|即|有|包括|在|[:：=＝\s]|—+|-+>?|→|定)"
_ANSWER = (
    r"(?:答案|正解|正确(?:的?(?:选项|说法|表述|观点|答案|做法)|的)?(?=[是为有:：])|正确的?(?:选项|答案)(?=\s*[A-H])|符合题意的|"
    rf"(?<![a-z])(?i:answers?|options?|choices?)|(?:答|答复|回复|结果)(?=\s*[:：]))"
    rf"(?:\s*(?:is|are|should be|must be)|{_SAY}){{0,8}}"
)
_CHOOSE = r"(?:选择?了?|choose|select|pick)(?:的?[是为]|答案)?[:：\s]{0,4}"
_SO = (
    r"(?:综上(?:所述)?|因此|所以|故(?:而|此)?|总之|由此可见|可见|而是|应(?:该|当)?[是为]|(?:认为|觉得)(?:应该)?是|[只仅]剩下?|剩下|"
    r"(?<=[，,])(?:而|就|乃)?是|(?:更|较为?)?倾向于?(?:选择?)?|(?i:it'?s)|最终|结论是?|只有|仅有?)[，,:：\s]{0,4}"
)
_COMMITS = re.compile(
    rf"(?m)(?:(?P<how>{_ANSWER}|{_CHOOSE})(?:选项|第)?\s*(?P<letters>{_GROUP})(?:[两三四二]?(?:选?项))?{_STOP}|"
    rf"(?P<so>{_SO})(?:选项|第)?\s*(?P<left>{_GROUP})(?:选?项)?(?=\s*(?:$|[。．.,，;；!！]|而非|而不是)))"
)
# What stands before or after and makes it no answer.
_DENIED_BEFORE = re.compile(
    r"(?:[不未没勿莫误错]|并非|而非|避免|排除|拒绝)(?:应该?|应当|该|能|可以?|会|宜|要|再|去|用|是|选择?|为|正确的?|答案|[:：\s]){0,6}$"
)
_OPEN_BEFORE = re.compile(
    r"(?:不知道|不确定|不清楚|不好说|无法|难以|不能确定|说不准|可能|也许|或许|大概|似乎|是否|要不要)[^，,。；\n]{0,14}$"
)
_SUPPOSED = re.compile(
    r"(?:如果|假如|假设|若|倘若|有人|有的|有些|有(?:观点|意见|学者)|[一种]种?观点|考生|学生|同学|容易)[^，,。；\n]{0,14}$"
)
_ON_CONDITION = re.compile(r"(?:如果|假如|假设|若|倘若)[^，,。；\nA-H]{2,40}[，,]\s*(?:则|就|那么)?(?:本题)?(?:应该?|应当)?$")
_SOMEBODY = re.compile(
    r"(?:[甲乙丙丁某方员]|(?<![本个])人|原告|被告|公司|股东|法院)(?:说|称|认为|主张)?(?:应该?|应当|可以?|能|会|均|都)?$"
)
_OPEN_AFTER = re.compile(
    r"\s*(?:选?项)?\s*(?:(?:或者?|还是|抑或|要么)\s*(?:是|选|选项)?\s*[A-H]|[吗么]|[?？]|呢|(?:中|之间)(?:的?(?:一个|之一)|犹豫|选择)|"
    r"之一)"
)
_DENIED_AFTER = re.compile(
    r"[ \t　]*(?:选?项)?(?:的(?:说法|做法|理由|答案|观点))?(?:，?这?是|显然|明显|其实|并|都|均|也){0,4}"
    r"(?:错误?|不正?确|不对|不妥|不成立|有误|不符|不当选|不选(?!\s*[A-H]))"
)
_UNSURE = re.compile(
    r"(?:无法|难以|不能|没法|不好|不敢|不便)(?:[作做给]出)?(?:准确|明确|最终)?(?:确定|判断|回答|选择|作答|得出|肯定)|"
    r"不(?:太|是很|很|十分|能)?(?:确定|清楚|知道)|说不准|没有把握|我不会|猜[的测]?|信息不足|缺少信息|缺乏信息|没有正确(?:答案|选项)|"
    r"[均都]不(?:对|正确|选|符合)|(?:以上|上述|四个?)(?:选?项|说法)?(?:均|都|全部?)是?错误?|(?:拒绝|不予)回答|"
    r"(?i:i don'?t know|not sure|cannot determine)"
)
_ALL = re.compile(
    r"全选|(?:以上|上述|所有|四个?|全部)(?:的?(?:选项|说法|表述|项|观点))?(?:全部?|均|都)?(?:是|为)?(?:正确|对的?(?=[。，！,.\s]|$)|"
    r"当选|符合题意|应选)|都选|全部正确|全对"
)
_EXCEPT = re.compile(
    rf"(?:除了?|除去)\s*(?:选项)?({_GROUP})(?:选?项)?(?:以外|之外|外)?，?(?:其余|其他|剩下|剩余)?(?:的?[各选三两几]?个?(?:选项|项|说法)?)?"
    r"(?:均|都|全部?)?(?:是|为)?(正确|对|当选|应选|错误?|不正确|不对)"
)
_OTHERS = re.compile(
    rf"(?:选项)?({_GROUP})(?:选?项)?(?:均|都)?(?:是|为)?(?:错误?|不正确|不对)(?:的)?[，,；;]\s*(?:其余|其他|剩下|剩余)"
    r"(?:的?[各选三两几]?个?(?:选项|项|说法)?)?(?:均|都|全部?)?(?:是|为)?(正确|对)"
)
# What is said of an option by its letter.
_GOOD = (
    r"(?:正确|当选|应选|应当选|入选|可选|符合(?:题意|(?:法律|法条|相关|有关)?的?规定)|(?<![不针面])对(?![于方其应价抗此象待立外照比])|无误|没错|没有错误|不错|无不当|"
    r"并无不当|成立|[更最]为?(?:准确|恰当|合适|合理|妥当|贴切)|√|✓|✔|☑|✅|(?i:correct|right)|"
    r"正解|(?:本题|唯一)?的?(?:正确|标准|最佳)?答案(?![A-H\s是为:：]))"
)
_BAD = (
    r"(?:错误?(?!的?[是为有][:：]?[A-H])|不正?确|不对|不妥|有误|不当选|不应选|不应当选|不能选|不可选|不选|不入选|"
    r"不符合(?:题意|题干|要求|(?:法律|法条|相关|有关)?的?规定)?|不成立|不准确|排除|误|×|✗|✘|❌|(?i:incorrect|wrong|false))"
)
_SAYS = (
    r"(?:的?(?:说法|表述|观点|选项|内容|陈述|结论|项))?(?:本身)?(?:[ \t　:：,，.．、)）]|(?<=[:：])\n){0,4}"
    r"(?:这?是|为|都|均|也|则|全部?|显然|明显|完全|才|"
    r"一定|肯定|属于|为本题|是本题|并|应该?|应当|最|的|确实|就|(?i:is|are)|[ \t　]){0,6}"
)
_VERDICT = re.compile(
    rf"(?:选项|第)?(?P<letters>{_GROUP})(?:[两三四二2-4]个?)?(?:选?项|者)?{_SAYS}(?P<says>{_BAD}|{_GOOD})"
    rf"(?:[，,、]?(?:因此|故|所以|但是?|应当?|则)?(?P<pick>不?当选|不?应选|不选|入选|排除))?"
)
_EXCLUDE = re.compile(
    rf"(?:排除|剔除|不应?当?选择?|不能选|而非|而不是|答案不是|并非|不是)[:：\s]{{0,4}}(?:选项)?(?P<letters>{_GROUP})"
)
_ITEM = re.compile(r"(?m)(?:^|[；;])\s*(?:\d[.、]\s*)?[(（]?(?:选项)?([A-H])(?:选?项)?[)）]?[ \t]*[.．、:：,，]?[ \t]*(?=\S|$)")
_SUBJECT = re.compile(
    r"(?m)(?:^|[。；;\n]|分析|来看|再看|看)\s*(?:关于|对于|就)?(?:选项|第)?([A-H])(?:选项|项|[.．:：、，“])(?![目])"
)
_JUDGED = re.compile(
    r"(?:故|因此|所以|因而|该|此|本|这[一种]?|，|。|：|:|—)(?:选?项|说法|表述|观点|种说法|是)?(?:的?描述|的?说法|的?表述)?"
    rf"(?:同样|也|是|为|均){{0,3}}({_BAD}|{_GOOD})"
)
_HEAD = re.compile(
    rf"\s*(?:选项|第)?({_GROUP})\s*(?:[.。、:：;；\n]|[,，](?!系|男|女|身份|住|生于)|选?项(?=\s|[。．.,，、;；:：]|$|[均都]?(?:是|为)?(?:正确|对|当选|符合题意)|因为?|由于)|$|\s(?=因为?|由于|理由))"
)
_LIST = re.compile(rf"\s*(?:选项|第)?({_GROUP})(?:选?项)?(?:正确|对|均正确|都正确|当选)?[\s.．。,，;；!！]*")
# A question for what is wrong, and an answer to it.
_ASKS_WRONG = re.compile(
    r"(?:错误|不正确|不符合|不属于|不包括|不能|不应|不会|不得|不当|有误|不对|不成立|不构成|不适用|不是)[^，。？?]{0,16}?"
    r"(?:是|有|为|包括|[?？:：]|$)[^。]{0,8}$"
)
_WRONG_ONES = re.compile(
    r"(?:错误|不正确|不符合(?:题意|规定)?|不属于|不当|有误|不成立|不对)[^，。；\n]{0,12}?(?:选项|说法|表述|项)?(?:是|为|有|包括|[:：])(?:选项)?"
    rf"\s*(?P<letters>{_GROUP}){_STOP}"
)
_THESE = re.compile(
    rf"(?:综上|因此|所以|总之)[^。\n]{{0,20}}?(?P<letters>{_GROUP})[^。\n]{{0,80}}?这(?:[两三四几些]个?|一)(?:选?项|说法|选择)(?:均|都|是|为)*正确"
)
_ENDING = re.compile(
    r"综上(?:所述)?|总之|总的来说|综合(?:以上|上述)|总结|由此(?:可见|得出)|(?:可以)?得出结论|结论[是为:：]|(?m:^因此)"
)
_NO = (
    r"(?:不(?:是|属于|构成|会|能|应当?|应该|可|一定|得|必然|符合)?|并非|并不|非|未|没有?|无法|难以|而非|而不是|是否|能否|可否|不属于|"
    r"不构成|有人(?:认为|主张)|误以?为|否认|排除|可能|也许|或许)"
)
_NO_BEFORE = re.compile(rf"(?:{_NO}[^，。；,;\n]{{0,8}}|还是|或者?)$")
_NO_AFTER = re.compile(
    r"^[^，。；,;\n]{0,8}(?:吗|[?？]|错误|不正?确|不成立|不对|的?(?:观点|说法|主张|看法)(?:是|均|都|显然|也)*(?:错误|不)|还是|或者?|与否)"
)


def strict(answer: str, options: Mapping[str, str]) -> list[str]:
    """The letters of an answer that is nothing but letters; [] for any other."""
    found = _STRICT.fullmatch(wording.upright(answer).strip())
    return _known(found[1], options) if found else []


def flexible(answer: str, options: Mapping[str, str], question: str = "") -> list[str]:
    """The letters that an answer commits to, the last conclusion counting; [] if it commits to none.

    `question`: where it asks for what is wrong (下列说法错误的是), the options that the answer calls wrong are its answer.
    """
    text = wording.plain(answer)
    if not text:
        return []
    whole = _LIST.fullmatch(text)
    if whole:
        return _known(whole[1], options)
    in_words = _in_words(text, options)
    if in_words:
        return in_words
    committed = _concluded(text, options, bool(_ASKS_WRONG.search(question[-60:])))
    if committed is not None:
        return committed
    cited = {letter: set(articles(option)) for letter, option in options.items()}
    if all(cited.values()) and not any(re.search(r"\w", without(option)) for option in options.values()):
        return _by_article(text, cited)
    return [] if _unsure(text, options) and not wording.judgement(options) else _by_text(text, options)


def _in_words(text: str, options: Mapping[str, str]) -> list[str]:
    """The options whose words are all that the answer says: 合同无效，且应当返还定金。"""
    rest, found = text.removeprefix("答案").lstrip("是为:： "), []
    for letter, option in sorted(options.items(), key=lambda pair: -len(pair[1])):
        words = option.strip().rstrip("。；;.")
        if len(words) > 1 and words in rest:
            found.append(letter)
            rest = re.sub(rf"(?:{letter}(?:选?项)?[\s.．、:：]*)?{re.escape(words)}[)）]?", "\n", rest)
    return sorted(found) if len(found) < len(options) and not re.sub("并且|而且|以及|[且和及与、，,；;。.\\s]", "", rest) else []


def _unsure(text: str, options: Mapping[str, str]) -> list[int]:
    """Where the answer says that it does not know: in its first or last sentence, about the answer, not about the case."""
    found = []
    for one in _UNSURE.finditer(text):
        start = max(text.rfind(mark, 0, one.start()) for mark in "。！？\n；") + 1
        clause = re.split("[，,]", text[start : one.start()])[-1]
        if one[0][0] in "均都" and set(re.findall("[A-H]", clause)) not in (set(), set(options)):  # A和D都不对，B正确
            continue
        end = min([place for mark in "。！？\n；" if (place := text.find(mark, one.end())) >= 0], default=len(text))
        outer = start == 0 or not text[end:].strip(" 。！？\n；")
        if len(text) < 60 or (outer and re.search("答案|选项|选|本题|题目|我|作答", text[start:end])):
            found.append(one.start())
    return found


def _concluded(text: str, options: Mapping[str, str], asks_wrong: bool) -> list[str] | None:
    """What the answer's letters say; None where it says nothing by letters."""
    good, bad = _verdicts(text, options)
    said = sorted(_events(text, options, asks_wrong), key=lambda one: one[0])
    if asks_wrong:
        good, bad = bad, good
    ends = [one.start() for one in _ENDING.finditer(text)]
    final = [letter for letter in options if ends and good.get(letter, -1) > max(ends[-1], bad.get(letter, -1))]
    if said and not (final and said[-1][0] < ends[-1]):
        place, letters = _last(text, said, options)
        return [one for one in letters if asks_wrong or bad.get(one, -1) <= max(place, good.get(one, -1))]
    head = _HEAD.match(text)
    if head and wording.judgement(options) and head[1] in options:  # B. 错误
        return [head[1]] if wording.judged(text[head.end() :], options) in ([], [head[1]]) else []
    chosen = final or [letter for letter in options if letter in good and good[letter] > bad.get(letter, -1)]
    listed = [one for one in _ITEM.finditer(text) if one[1] in options]
    if head and not final and not (_OPEN_AFTER.match(text, head.end(1)) or _unsure(text, options)):
        letters = _known(head[1], options)
        if letters and not set(letters) & bad.keys() and (len({one[1] for one in listed}) < 2 or len(letters) > 1):
            return chosen if set(letters) <= set(chosen) else letters
    if chosen:
        return chosen
    if bad:
        return []
    return _mentioned(text, ends, options) or _listed(text, listed, options)


def _last(text: str, said: list[tuple[int, list[str]]], options: Mapping[str, str]) -> tuple[int, list[str]]:
    """(place, letters) of the last conclusion, with what its own sentence adds."""
    place, letters = said[-1]
    for other, more in reversed(said[:-1]):  # 选A，也选C
        if letters and more and re.fullmatch(r"[^。；\n]*?[，、,]?\s*(?:也|还|并|以及|同时|又)[^。；\n]*", text[other:place]):
            letters = sorted({*letters, *more})
    return place, _with_texts(text, place, letters, options)


def _mentioned(text: str, ends: list[int], options: Mapping[str, str]) -> list[str]:
    """The options of a closing sentence that names no others and denies none: 综上，该规定适用于选项B和D。"""
    sentence = re.split(r"[。；\n]", text[ends[-1] :])[0] if ends else ""
    groups = list(re.finditer(rf"(?:选项\s*({_GROUP})|({_GROUP})\s*选?项)", sentence))
    if len(groups) != 1 or re.search(f"{_NO}|错误|[?？]", sentence):
        return []
    return _known(groups[0][1] or groups[0][2], options)


def _with_texts(text: str, place: int, letters: list[str], options: Mapping[str, str]) -> list[str]:
    """答案：B、租约终止；D、租客赔偿 are two: the options that follow the conclusion at once with their own words."""
    found = set(letters)
    while len(letters) == 1:
        one = re.compile(r"\s*(?:选项)?([A-H])(?:选?项)?[\s.．、:：]*").match(text, place)
        option = options.get(one[1], "").strip().rstrip("。；;") if one else ""
        if not one or not option or not text.startswith(option, one.end()):
            break
        found.add(one[1])
        place = one.end() + len(option)
        place += len(text[place:]) - len(text[place:].lstrip("。；;，,、 \n"))
    return sorted(found) if len(found) < len(options) else letters


def _listed(text: str, listed: list[re.Match[str]], options: Mapping[str, str]) -> list[str] | None:
    """Lines that repeat some of the options are the answer; all of them repeat the question."""
    letters = [one[1] for one in listed if _same(text[one.end() :].split("\n")[0], options[one[1]])]
    if not letters:
        return None
    return sorted(set(letters)) if len(set(letters)) < len(options) and len(set(letters)) == len(letters) else []


def _same(line: str, option: str) -> bool:
    bare = re.compile(r"[\s。.,，;；]")
    return not bare.sub("", line) or bare.sub("", line).startswith(bare.sub("", option))


def _events(text: str, options: Mapping[str, str], asks_wrong: bool) -> list[tuple[int, list[str]]]:
    """(place, letters) of each conclusion in the text; [] letters where one is left open, asked or denied."""
    found: list[tuple[int, list[str]]] = []
    for one in _COMMITS.finditer(text):
        clause = re.split(r"[。；;\n！!？?]", text[: one.start()])[-1]
        how, group = one["how"] or one["so"], "letters" if one["letters"] else "left"
        start = one.start(group)
        denied = _DENIED_BEFORE.search(re.split("[，,。\n]", clause + how)[-1])
        after = text[one.end(group) :]
        if _OPEN_AFTER.match(after) or _OPEN_BEFORE.search(clause) or re.search("可能|也许|或许|大概|是否|似乎", how):
            found.append((start, []))
        elif denied or any(one.search(clause) for one in (_SOMEBODY, _SUPPOSED, _ON_CONDITION)):
            continue
        elif asks_wrong and re.match("正确的?(?:说法|表述|观点|做法)?[是为有:：]", how):
            continue
        elif (
            asks_wrong
            or _own_words(after, one[group], options)
            or not (_DENIED_AFTER.match(after) or re.search(r"错误的(?:选项|说法|表述)?$", clause))
        ):
            found.append((start, _known(one[group], options)))
    if asks_wrong:
        found += [(one.start(), _known(one["letters"], options)) for one in _WRONG_ONES.finditer(text)]
    found += [(one.start("letters"), _known(one["letters"], options)) for one in _THESE.finditer(text)]
    found += [(one.start(), _rest(one, options)) for way in (_EXCEPT, _OTHERS) for one in way.finditer(text)]
    for one in _ALL.finditer(text):
        if not re.search(r"(?:不|并非|没有|除)[^，。；\n]{0,6}$", text[: one.start()]) and not _OPEN_AFTER.match(text, one.end()):
            found.append((one.start(), list(options)))
    found += [(place, []) for place in _unsure(text, options)]
    return found


def _own_words(after: str, letters: str, options: Mapping[str, str]) -> bool:
    """Whether an option's own words follow its letter: B（错误）, where B is 错误."""
    words = options.get(letters.strip(), "").strip().rstrip("。")
    return bool(words) and after.lstrip(" .．、:：").startswith(words)


def _rest(found: re.Match[str], options: Mapping[str, str]) -> list[str]:
    """除A外均正确 is all but A; 除A外均错误 is A."""
    letters = _known(found[1], options)
    good = found[2] in ("正确", "对", "当选", "应选")
    return [letter for letter in options if letter not in letters] if good and letters else letters


def _verdicts(text: str, options: Mapping[str, str]) -> tuple[dict[str, int], dict[str, int]]:
    """({letter: place where it is last called right}, {letter: … wrong})."""
    good: dict[str, int] = {}
    bad: dict[str, int] = {}
    marks = list(_SUBJECT.finditer(text))
    ends = [one.start() for one in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=False):  # one end more where there is no mark
        judged = list(_JUDGED.finditer(text, mark.end(), end))
        if judged and mark[1] in options:
            (bad if re.fullmatch(_BAD, judged[-1][1]) else good)[mark[1]] = mark.start()
    for one in _VERDICT.finditer(text):
        before = re.split(r"[。；;\n，,]", text[: one.start()])[-1]
        if _own_words(text[one.end("letters") :], one["letters"], options):
            continue
        if re.search(
            r"(?:如果|假如|若|(?<!我)认为|是否|不能说|并非|除了?|难说|难以认为|不好说|未必|不见得|不一定)$", before
        ) or re.match(r"[吗?？]|的?(?:观点|说法)", text[one.end() :]):
            continue
        target = bad if re.fullmatch(_BAD, one["pick"] or one["says"]) else good  # 错误，当选: the question asks for it
        target.update((letter, one.start()) for letter in _known(one["letters"], options))
    for one in _EXCLUDE.finditer(text):
        sentence = re.split(r"[。；;\n]", text[: one.start()])[-1]
        before = set("".join(re.findall(_GROUP, sentence)[-1:]))
        if before & set(one["letters"]) and before - set(one["letters"]):  # 是A、C，而不是A、B
            continue
        bad.update((letter, one.start()) for letter in _known(one["letters"], options))
    return good, bad


def _by_text(text: str, options: Mapping[str, str]) -> list[str]:
    """The one option whose words the answer affirms, in its conclusion if it has one."""
    judged = wording.judged(text, options)
    if judged is not None:
        return judged
    parts = re.split(r"综上(?:所述)?|因此|所以|总之|最终|答案[是为:：]?|结论[是为:：]?", text)
    for part in (parts[-1], text) if len(parts) > 1 else (text,):
        named = _affirmed(part, options)
        if len(named) == 1:
            return named
        if named:
            return []
    return []


def _affirmed(text: str, options: Mapping[str, str]) -> list[str]:
    """The options that stand in the text and are not denied, asked or left open there; not within a longer option's words."""
    words = {letter: option.strip().rstrip("。；;.") for letter, option in options.items() if option.strip().rstrip("。；;.")}
    taken: list[tuple[int, int]] = []
    named = []
    for letter, option in sorted(words.items(), key=lambda pair: -len(pair[1])):
        places = [one.span() for one in re.finditer(re.escape(option), text)]
        places = [(start, end) for start, end in places if not any(a <= start and end <= b for a, b in taken)]
        taken += places
        if any(
            not _NO_BEFORE.search(text[max(0, start - 16) : start]) and not _NO_AFTER.match(text[end : end + 14])
            for start, end in places
        ):
            named.append(letter)
    return sorted(named)


def _by_article(text: str, options: Mapping[str, set[tuple[str, str]]]) -> list[str]:
    """The option whose articles are those that the answer names; [] if none or several are. Without a law any law will do."""
    laws = {law for cited in options.values() for law, _ in cited if law}
    about = next(iter(laws)) if len(laws) == 1 else ""
    said = set(articles(text, laws, about))
    numbers = {number for _, number in said}
    fits = [
        letter
        for letter, cited in options.items()
        if said and (cited == said or (not laws and {number for _, number in cited} == numbers))
    ]
    return fits if len(fits) == 1 else []


def _known(letters: str, options: Mapping[str, str]) -> list[str]:
    """The letters in order; [] where one of them is no option, or stands twice (ABB is a name)."""
    every = re.findall("[A-H]", letters)
    found = sorted(set(every))
    return found if found and set(found) <= set(options) else []
