"""How statutes are written, and what must be read: each case is one spelling of the same invented law."""

import re

import pytest

from legal_tasks.data import lawdates, lawlines, lawtext, lawtitle
from legal_tasks.data.numerals import numeral

TITLE = "云州市灯会管理办法"
TEXTS = [
    "为了加强灯会的管理，维护灯会秩序，保护游人和举办者的合法权益，根据有关法律，结合本市实际，制定本办法。",
    "本办法所称灯会，是指在公园、广场等公共场所举办的，供公众观赏花灯的活动。",
    "举办者违反收费规定的，依照本办法第十一条的规定处理；情节严重的，依照本办法第十条、第十二条第二款的规定处理。",
    "灯会应当设置明显的标志、标线，并在入口处公示开放时间、收费标准和投诉电话。",
    "举办者应当履行下列义务：\n（一）按照许可的时间、地点举办灯会；\n（二）配备必要的照明和消防设施。\n举办者应当在灯会开始十日以前报告。",
    "游人应当遵守秩序，不得攀爬花灯。",
    "灯会内禁止存放易燃易爆物品。",
    "灯会应当配备照明和消防设施，符合第五条第一款第二项的要求。",
    "新建公园应当按照规定配建灯位。",
    "擅自停止灯会的，应当提前公告，并退还游人已经支付的票款。",
    "违反收费规定的，由价格主管部门责令退还多收价款，并处一千元以上五千元以下罚款。",
    "本办法自2024年5月1日起施行。",
]
HEADS = "目的 定义 违规处理 标志 义务 游人 禁止 设施 配建 停止 罚则 施行".split()
OTHER, OTHER_TITLE = (
    ["为了规范公园的管理，制定本条例。", "公园应当公示开放时间。", "本条例自2025年3月1日起施行。"],
    "青山市公园管理条例",
)
FULL = str.maketrans("0123456789", "０１２３４５６７８９")
BARE_HEADS = re.compile(r"^[\[【（(〔［〈{“]?(?:" + "|".join(HEADS) + r")[\]】）)〕］〉}”]?")


def written(form="第{c}条　{t}\n", texts=TEXTS):
    values = [
        {"c": numeral(n), "n": n, "f": str(n).translate(FULL), "t": t, "h": HEADS[n - 1], "s": " ".join(numeral(n))}
        for n, t in enumerate(texts, 1)
    ]
    return "".join(form.format(**value) for value in values)


def flat(text):
    return re.sub(r"\s", "", text)


def check(text, bare=False, texts=TEXTS, title=TITLE):
    [part] = lawtext.read(text)
    assert part.title == title
    assert list(part.articles) == [str(n) for n in range(1, len(texts) + 1)]
    said = [flat(one) for one in part.articles.values()]
    assert [BARE_HEADS.sub("", one) if bare else one for one in said] == [flat(one) for one in texts]
    return part


BETWEEN = ["", "　", " ", "\t", "：", ":", ".", "．", "。", "、", "，", ",", "\n", "\n\n", " ： ", "\u3000\u3000"]


@pytest.mark.parametrize("number", ["第{c}条", "第{n}条", "第{f}条", "第 {s} 条", "第 {n} 条"])
@pytest.mark.parametrize("between", BETWEEN)
def test_a_number_and_what_stands_behind_it(number, between):
    check(f"{TITLE}\n\n" + written(number + between + "{t}\n"))
    check(f"{TITLE}\n" + written(number + between + "{t}\n\n"))


@pytest.mark.parametrize(
    "form",
    [
        "【第{c}条】",
        "[第{c}条]",
        "（第{c}条）",
        "〔第{c}条〕",
        "「第{c}条」",
        "［第{c}条］ ",
        "《第{c}条》",
        "**第{c}条**　",
        "### 第{c}条\n",
    ]
    + [
        "- 第{c}条 ",
        "> 第{c}条 ",
        "第{c}条【{h}】",
        "第{c}条（{h}）",
        "第{c}条 [{h}] ",
        "第{c}条〔{h}〕",
        "第{c}条［{h}］",
        "[第{c}条 {h}]",
    ]
    + ["【第{c}条　{h}】", "第{c}条　({h})　", "第{c}条 〈{h}〉", "第{c}条“{h}”", "第{c}条　{h}\n"],
)
def test_brackets_marks_and_headings_of_articles(form):
    check(f"{TITLE}\n\n" + written(form + "{t}\n"), bare="{h}" in form)


ENTRIES = [
    "第{c}条　{h}\n",
    "第{c}条{h}\n",
    "第{c}条　{h}………………{n}\n",
    "第{n}条 {h} {n}\n",
    "第{c}条　{h}\n\n",
    "　　第{c}条 {h}的规定\n",
]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("above", ["目录\n", "目　录\n", "目 次\n", "", "## 目录\n\n"])
@pytest.mark.parametrize("below", ["正文\n", "", "\n第一章　总则\n", f"{TITLE}\n", "（2024年4月2日通过）\n\n"])
def test_a_table_of_contents_is_no_law(entry, above, below):
    check(f"{TITLE}\n\n{above}{written(entry)}{below}{written()}")


def test_contents_alone_are_no_law():
    text = f"{TITLE}\n目录\n" + written("第{c}条　{h}\n")
    assert lawtext.read(text) == [] and "table of contents" in lawtext.why_none(text)


def wrapped(text, width, indent=""):
    rows = [indent + row for row in text.split("\n")]
    return "\n".join(row[place : place + width] for row in rows for place in range(0, len(row), width))


@pytest.mark.parametrize("width", range(10, 41))
def test_hard_line_ends_and_pages_are_no_text(width):
    for form in ("第{c}条　{t}\n", "第{c}条{t}\n"):
        check(f"{TITLE}\n\n" + wrapped(written(form), width))
    part = check(f"{TITLE}\n\n" + wrapped(written(), width, "　　"))
    assert part.articles["3"] == TEXTS[2] and part.articles["5"] == TEXTS[4]


FEET = [
    "— {p} —",
    "第{p}页",
    "第 {p} 页 共 9 页",
    "[第 {p} 页]",
    "{p}",
    f"- {{p}} -\n{TITLE}",
    f"{TITLE}\n{{p}}/9",
    f"{TITLE} {{p}}",
    f"{TITLE}\n\x0c",
]
FEET += [f"·{{p}}·\n{TITLE}", f"\n{{p}}\n\n{TITLE}\n", "Page {p} of 9", "－{p}－\n云州市法规汇编"]


@pytest.mark.parametrize("foot", FEET)
@pytest.mark.parametrize("height", [5, 8])
def test_page_numbers_and_running_headers_go(foot, height):
    for width in (17, 24, 31):
        rows = wrapped(written(), width).split("\n")
        pages = [
            "\n".join([*rows[place : place + height], foot.format(p=place // height + 1)])
            for place in range(0, len(rows), height)
        ]
        check(f"{TITLE}\n\n" + "\n".join(pages))


@pytest.mark.parametrize(
    "reference",
    [
        "第十一条\n的规定处理。",
        "第十一条的规定处理。",
        "第十一条\n第一款的规定处理。",
        "第四条、第十一条处理。",
        "第四条和\n第十一条处理。",
    ]
    + ["第四条第一款处理。", "第十一条规定处理。", "第四条\n的规定处理。", "第九十九条处理。", "第一条的规定处理。"],
)
def test_a_reference_at_the_beginning_of_a_line_is_no_article(reference):
    texts = [*TEXTS[:2], "举办者违反收费规定的，依照本办法\n" + reference, *TEXTS[3:]]
    check(f"{TITLE}\n\n" + written(texts=texts), texts=texts)
    check(f"{TITLE}\n\n" + written("第{c}条{t}\n\n", texts=texts), texts=texts)


def test_numbers_as_they_are_written():
    text = "市场条例\n第一条　一。\n第一条之一　二。\n第一条 之二　三。\n第二条之 一 四。\n第３条　五。\n"
    text += "第一〇条　六。\n第一百〇一条　七。\n第102之1条 八。\n"
    [part] = lawtext.read(text)
    assert list(part.articles) == ["1", "1-1", "1-2", "2-1", "3", "10", "101", "102-1"]


SEPARATORS = ["\n", "\n\n\n", "", "\n---\n", "\n\x0c", "\n中华人民共和国国务院令\n第712号\n", "\n附件2：\n", "\n二、", "\n# "]


@pytest.mark.parametrize("between", SEPARATORS)
@pytest.mark.parametrize("form", ["第{c}条　{t}\n", "第{c}条{t}\n", "第{n}条 {t}\n"])
@pytest.mark.parametrize("above", ["", "（2024年4月2日通过）\n第一章　总则\n", "目录\n" + written("第{c}条 {h}\n")])
def test_a_restart_begins_another_law(between, form, above):
    text = f"{OTHER_TITLE}\n\n{written(form, OTHER)}{between}{TITLE}\n{above}{written(form)}"
    first, second = lawtext.read(text)
    assert (first.title, second.title) == (OTHER_TITLE, TITLE)
    assert [flat(one) for one in first.articles.values()] == OTHER
    assert list(second.articles) == [str(n) for n in range(1, 13)] and flat(second.articles["12"]) == TEXTS[-1]


@pytest.mark.parametrize("form", ["第{c}条 {t} ", "第{c}条{t}", "第{c}条　{t}　"])
def test_a_law_in_one_line(form):
    check(flat_lines(f"{TITLE}\n" + written(form)))


def flat_lines(text):
    return text.replace("\n", " ")


ABOVE = [
    "青山市人民政府令\n第8号\n",
    "中华人民共和国主席令\n第五十号\n",
    "第一章 总则\n",
    "目录\n第一章 总则\n第二章 罚则\n",
    "附件\n",
]
ABOVE += [
    "法释〔2025〕3号\n",
    "（2025年1月1日通过）\n",
    "索引号：0001\n发布机构：某局\n",
    "首页 > 政策法规 > 规章\n",
    "司法解释\n",
    f"{TITLE}\n",
]
ABOVE += ["青山市人民政府公报\n", f"《{TITLE}》已经2024年4月1日市政府常务会议通过，现予公布。\n", "【法规名称】"]


@pytest.mark.parametrize("above", ABOVE)
def test_what_stands_above_a_law_is_not_its_title(above):
    check(f"{above}{TITLE}\n" + written())
    if above.endswith("\n"):
        check(f"{TITLE}\n{above}" + written())


COURT = "最高人民法院关于审理灯会纠纷案件适用法律若干问题的解释"
BOTH = "最高人民法院、最高人民检察院关于办理灯会刑事案件适用法律若干问题的解释"
TITLES = [
    (COURT, "最高人民法院\n关于审理灯会纠纷案件适用法律若干问题的解释"),
    (COURT, "最高人民法院关于审理灯会纠纷案件\n适用法律若干问题的解释"),
    (COURT, "最高人民法院\n\n关于审理灯会纠纷案件\n\n适用法律若干问题的解释"),
    (COURT, "最高人民法院\n关于审理灯会纠纷案件适用法律若干问题的解\n释"),
    (COURT, "　　　最高人民法院\n　关于审理灯会纠纷案件适用法律\n　　　若干问题的解释"),
    (BOTH, "最高人民法院 最高人民检察院\n关于办理灯会刑事案件适用法律若干问题的解释"),
    (BOTH, "最高人民法院\n最高人民检察院\n关于办理灯会刑事案件\n适用法律若干问题的解释"),
    ("中华人民共和国灯会法", "中华人民共和国\n灯会法"),
    ("中华人民共和国灯会法", "中 华 人 民 共 和 国 灯 会 法"),
    ("中华人民共和国灯会法", "《中华人民共和国灯会法》"),
    ("中华人民共和国灯会法", "《中华人民共和国灯会法》全文"),
    ("中华人民共和国灯会法实施细则", "中华人民共和国灯会法\n实施细则"),
    ("云州市灯会管理办法（试行）", "云州市灯会管理办法\n（试行）"),
    (
        "最高人民法院关于适用《中华人民共和国灯典》灯会编的解释（一）",
        "最高人民法院\n关于适用《中华人民共和国灯典》\n灯会编的解释\n（一）",
    ),
    ("云州市实施《中华人民共和国灯会法》办法", "云州市实施\n《中华人民共和国灯会法》办法"),
    ("云州市人民代表大会常务委员会关于加强灯会管理的规定", "云州市人民代表大会常务委员会\n关于加强灯会管理的规定"),
]
DATES = [
    "\n",
    "\n\n",
    "\n（2024年4月1日通过）\n",
    "\n（2024年4月1日最高人民法院审判委员会第1900次会议通过，\n自2024年5月1日起施行）\n\n",
]
DATES += ["\n法释〔2024〕3号\n", "\n目  录\n第一章  总  则\n第二章  罚  则\n\n第一章  总  则\n"]


@pytest.mark.parametrize("below", DATES)
@pytest.mark.parametrize(("title", "lines"), TITLES)
def test_a_title_over_several_lines(title, lines, below):
    check(lines + below + written(), title=title)


def test_a_text_without_a_title_is_named_after_its_file():
    text = "第一章 总则\n" + written()
    assert lawtext.title_of(text, "灯会法(2024-05-01).txt") == "灯会法(2024-05-01)"
    assert (
        lawtext.title_of(f"# 第一章 总则\n{written()}", "灯会法.md") == "第一章总则"
    )  # a part of a code: its folder has the name
    assert lawtext.title_of(f"灯典\n{written()}", "a1.txt") == "灯典"
    assert lawtext.title_of(f"灯典\n{written()}", "灯会法.txt") == "灯会法"


@pytest.mark.parametrize(
    "behind",
    [
        "附件：灯位目录\n一、甲\n二、乙\n",
        "附：\n灯位目录\n",
        "附表\n\n类别\n",
        "云州市人民政府\n2024年4月2日\n",
        "附件1\n灯位图\n",
        "（此件公开发布）\n",
    ]
    + ["责任编辑：某某\n", "灯位目录\n\n甲\n"],
)
def test_what_is_annexed_is_no_article_and_is_kept_apart(behind):
    [part] = lawtext.read(f"{TITLE}\n\n{written('第{c}条　{t}' + chr(10) + chr(10))}{behind}")
    assert part.articles["12"] == TEXTS[-1]
    assert behind.startswith("责任编辑") or flat(behind) in flat(part.annex)


@pytest.mark.parametrize(
    "behind", ["《灯具管理办法》同时废止。\n", "下列文件同时废止：\n（一）《灯具管理办法》；\n（二）《灯芯规定》。\n"]
)
def test_a_further_paragraph_of_the_last_article_stays(behind):
    [part] = lawtext.read(f"{TITLE}\n\n{written()}\n{behind}")
    assert flat(part.articles["12"]) == flat(TEXTS[-1] + behind)


@pytest.mark.parametrize(
    "heading", ["第二章　罚则", "第二章罚则", "对违规举办的处理", "（二）罚则", "二、罚则", "## 罚则", "第 二 章 罚 则"]
)
def test_a_chapters_heading_is_not_the_end_of_the_article_before_it(heading):
    rows = written("第{c}条　{t}\n\n").split("\n\n")
    text = f"{TITLE}\n\n" + "\n\n".join([*rows[:9], heading, *rows[9:]])
    check(text)


def test_a_formula_and_a_last_item_are_no_heading():
    texts = [
        "税额按下列公式计算：\n应纳税额＝销售额×税率",
        "有下列情形的，予以处罚：\n（一）甲的；\n（二）乙的。\n（三）丙的",
        "本办法自2024年5月1日起施行。",
    ]
    check(f"{TITLE}\n\n" + written("第{c}条　{t}\n\n".replace("\n", "\n"), texts=texts), texts=texts)


def test_a_text_without_articles_says_why():
    assert lawtext.read("灯会通知\n\n依照《灯会法》第三条的规定，现通知如下。\n") == []
    assert "1 times inside sentences" in lawtext.why_none("灯会通知\n\n依照《灯会法》第三条的规定，现通知如下。\n")
    assert lawtext.read("") == [] and "0 lines" in lawtext.why_none("")


def test_an_amendments_quoted_articles_are_not_its_own():
    text = "关于修改灯会条例的决定\n\n一、将第三条修改为：“第三条　甲。\n第四条　乙。”\n二、删去第九条。\n"
    assert lawtext.read(text) == []


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x0b", "\r\n", "\r"])
def test_every_end_of_line_is_one(end):
    check((f"{TITLE}\n\n" + written()).replace("\n", end))


def test_many_numbers_cost_little_and_are_no_law():
    text = "第一条\n" * 60_000
    assert lawtext.read(text) == []


@pytest.mark.parametrize(
    ("sentence", "day"),
    [
        ("本法自2021年3月1日起施行。", "2021-03-01"),
        ("本法自 2021 年 3 月 1 日 起施行。", "2021-03-01"),
        ("本法自二〇二一年三月十二日起施行。", "2021-03-12"),
    ]
    + [
        ("本法自２０２１年３月１日起生效。", "2021-03-01"),
        ("本法于2021年3月1日起正式施行。", "2021-03-01"),
        ("本法自二○二一年十二月三十日起实施。", "2021-12-30"),
    ]
    + [
        ("本法自公布之日起施行。", ""),
        ("《灯会法》自1997年10月1日起施行，以前的行为适用旧法。", ""),
        ("本法自2021年13月1日起施行。", ""),
    ],
)
def test_the_first_day_in_force(sentence, day):
    assert lawdates.first_day("灯会法\n2020年5月1日通过", ["甲。", sentence]) == day


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("本解释施行后，《甲解释》（法释〔2001〕33号）、《乙规定》（法释〔2003〕5号）同时废止。", ["甲解释", "乙规定"]),
        ("自本解释施行之日起，《甲解释》（法释〔2015〕18号）废止。", ["甲解释"]),
        ("同时废止《甲办法》和《乙办法》。", ["甲办法", "乙办法"]),
        ("下列文件同时废止：\n（一）《甲办法》（1990年5月7日国务院发布）；\n（二）《乙办法》。", ["甲办法", "乙办法"]),
        (
            "决定废止下列司法解释：\n1.《关于适用《丙法》的解释》（法释〔1998〕12号）\n2.《丁批复》（法复〔1996〕1号）\n",
            ["关于适用《丙法》的解释", "丁批复"],
        ),
        ("《甲办法》废止前已经办理的，继续有效。", []),
        ("根据《甲法》被废止的规定。", []),
        ("许可证失效。", []),
    ],
)
def test_the_laws_that_a_text_ends(text, names):
    assert sorted(set(lawdates.repealed(text))) == sorted(names)


def test_lines_and_titles_one_by_one():
    assert [lawlines.is_page_number(text) for text in ("— 3 —", "第三页", "３", "第三条", "2024年")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert not any(
        map(lawtitle.is_title, ["第一章 总则", "目录", "附则", "中华人民共和国主席令", "第8号", "司法解释", "2024年4月1日通过"])
    )
    assert all(map(lawtitle.is_title, ["民法总则", "刑法", "灯会条例（2024年修订）", "关于灯会的解答", "灯会标准"]))


@pytest.mark.parametrize("form", ["（{h}）\n第{c}条　{t}\n", "【{h}】\n第{c}条　{t}\n\n"])
def test_a_heading_above_its_article_is_not_the_end_of_the_one_before(form):
    check(f"{TITLE}\n\n" + written(form))


def test_what_an_annex_quotes_is_no_article():
    text = f"{TITLE}\n{written()}\n附件：相关条文\n《灯典》\n第二百六十四条　甲。\n第二百六十六条　乙。\n"
    assert "第二百六十四条" in check(text).annex


def test_other_digits_and_characters():
    assert list(lawtext.read("灯会条例\n第壹条　甲。\n第贰条 乙。\n第叁条 丙。\n")[0].articles) == ["1", "2", "3"]
    [part] = lawtext.read("雲州市燈會條例\n第一條　甲。\n第二條　乙。\n")
    assert part.title == "雲州市燈會條例" and list(part.articles) == ["1", "2"]
