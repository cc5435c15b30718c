"""A DOCX says what Word shows with all changes accepted, each text once, with Word's own numbers."""

import io
import zipfile

import pytest

from legal_tasks.data import documents, numbering

docx = pytest.importorskip("docx")

NAMES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
)
BY = 'w:id="1" w:author="a" w:date="2026-01-01T00:00:00Z"'


def run(text: str) -> str:
    return f"<w:r><w:t>{text}</w:t></w:r>"


def par(*parts: str, num: str = "", level: int = 0, style: str = "", mark: str = "") -> str:
    """A paragraph; parts without mark-up are runs."""
    properties = f'<w:pStyle w:val="{style}"/>' if style else ""
    properties += f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{num}"/></w:numPr>' if num else ""
    properties += f"<w:rPr><w:{mark} {BY}/></w:rPr>" if mark else ""
    body = "".join(part if part.startswith("<") else run(part) for part in parts)
    return f"<w:p><w:pPr>{properties}</w:pPr>{body}</w:p>"


def lvl(number: int, form: str, text: str, more: str = "") -> str:
    fixed = f'<w:numFmt w:val="{form}"/><w:lvlText w:val="{text}"/>'
    start = "" if "<w:start " in more else '<w:start w:val="1"/>'
    return f'<w:lvl w:ilvl="{number}">{start}{fixed}{more}</w:lvl>'


def file_of(body: str, numbers: str = "", styles: str = "", **parts: str) -> bytes:
    """A DOCX; `numbers` is put into its numbering, `styles` beside the styles of python-docx."""
    plain, result = io.BytesIO(), io.BytesIO()
    docx.Document().save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            text: bytes | str = source.read(name)
            if name == "word/document.xml":
                text = f"<w:document {NAMES}><w:body>{body}</w:body></w:document>"
            elif name == "word/numbering.xml":
                text = f"<w:numbering {NAMES}>{numbers}</w:numbering>"
            elif name == "word/styles.xml" and styles:
                text = source.read(name).decode().replace("</w:styles>", f"{styles}</w:styles>")
            elif name == "word/_rels/document.xml.rels":
                kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
                more = "".join(f'<Relationship Id="x{one}" Type="{kind}/{one}" Target="{one}.xml"/>' for one in parts)
                text = source.read(name).decode().replace("</Relationships>", f"{more}</Relationships>")
            elif name == "[Content_Types].xml":
                kind = "application/vnd.openxmlformats-officedocument.wordprocessingml"
                more = "".join(f'<Override PartName="/word/{one}.xml" ContentType="{kind}.{one}+xml"/>' for one in parts)
                text = source.read(name).decode().replace("</Types>", f"{more}</Types>")
            target.writestr(name, text)
        for name, text in parts.items():
            target.writestr(f"word/{name}.xml", text)
    return result.getvalue()


def read(body: str, numbers: str = "", styles: str = "", **parts: str) -> list[str]:
    data = file_of(body, numbers, styles, **parts)
    [text] = documents.docx(io.BytesIO(data), len(data))
    return text.split("\n")


def style(name: str, shown: str, based: str = "", num: str = "", kind: str = "paragraph") -> str:
    inner = f'<w:basedOn w:val="{based}"/>' if based else ""
    inner += f'<w:pPr><w:numPr><w:numId w:val="{num}"/></w:numPr></w:pPr>' if num else ""
    return f'<w:style w:type="{kind}" w:styleId="{name}"><w:name w:val="{shown}"/>{inner}</w:style>'


def num(name: int, abstract: int, more: str = "") -> str:
    return f'<w:num w:numId="{name}"><w:abstractNumId w:val="{abstract}"/>{more}</w:num>'


def numbered(levels: str, *nums: str, name: int = 1, more: str = "") -> str:
    return f'<w:abstractNum w:abstractNumId="{name}">{more}{levels}</w:abstractNum>' + "".join(nums or [num(7, name)])


# Changes


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (
            par(
                "租金为",
                f"<w:del {BY}><w:r><w:delText>一千元</w:delText></w:r></w:del>",
                f"<w:ins {BY}>{run('二千元')}</w:ins>",
                "。",
            ),
            ["租金为二千元。"],
        ),
        (par("甲方", f"<w:ins {BY}>{run('不')}</w:ins>", "承担运费。"), ["甲方不承担运费。"]),
        (
            par(f"<w:moveTo {BY}>{run('先付款，')}</w:moveTo>", "后交货", f"<w:moveFrom {BY}>{run('，先付款')}</w:moveFrom>"),
            ["先付款，后交货"],
        ),
        (par(f"<w:ins {BY}>{run('新增')}<w:del {BY}><w:r><w:delText>又删</w:delText></w:r></w:del></w:ins>"), ["新增"]),
        (par("前半，", mark="del") + par("后半。"), ["前半，后半。"]),
        (par(f"<w:del {BY}><w:r><w:delText>整段</w:delText></w:r></w:del>", mark="del") + par("留下。"), ["留下。"]),
        (par("甲") + par("末", mark="moveFrom"), ["甲", "末"]),
        (par("价格", "<w:r><w:rPr><w:vanish/></w:rPr><w:t>内部备注</w:t></w:r>", "如下"), ["价格如下"]),
        (par("价格", '<w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t>含税</w:t></w:r>'), ["价格含税"]),
    ],
)
def test_changes_are_accepted(body, lines):
    assert read(body) == lines


def test_a_deleted_paragraph_is_not_counted():
    gone = par(f"<w:del {BY}><w:r><w:delText>旧条</w:delText></w:r></w:del>", num="7", mark="del")
    numbers = numbered(lvl(0, "chineseCountingThousand", "第%1条"))
    assert read(par("甲", num="7") + gone + par("乙", num="7"), numbers) == ["第一条　甲", "第二条　乙"]


# What stands around the text


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (f"<w:sdt><w:sdtPr/><w:sdtContent>{par('控件里的段落')}</w:sdtContent></w:sdt>", ["控件里的段落"]),
        (par("利率", f"<w:sdt><w:sdtPr/><w:sdtContent>{run('百分之四')}</w:sdtContent></w:sdt>", "。"), ["利率百分之四。"]),
        (
            par(
                "乙方：",
                f"<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent>{run('单击此处输入文字')}</w:sdtContent></w:sdt>",
            ),
            ["乙方：____"],
        ),
        (par("见", f"<w:hyperlink>{run('附件一')}</w:hyperlink>", "。"), ["见附件一。"]),
        (par(f'<w:fldSimple w:instr="DATE">{run("2026年1月")}</w:fldSimple>'), ["2026年1月"]),
        (par(f"<w:smartTag>{run('青山市')}</w:smartTag>", f"<w:customXml>{run('法院')}</w:customXml>"), ["青山市法院"]),
        (par("甲", "<w:r><w:tab/><w:t>乙</w:t><w:br/><w:t>丙</w:t><w:noBreakHyphen/><w:t>1</w:t></w:r>"), ["甲\t乙", "丙-1"]),
        (par('<w:r><w:sym w:font="Wingdings" w:char="F0FE"/></w:r>', "同意"), ["☑同意"]),
        (par('<w:r><w:sym w:font="Wingdings" w:char="F0D8"/></w:r>', "其一"), ["其一"]),
        (
            par(
                "<w:r><w:ruby><w:rt><w:r><w:t>jiǎ</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>甲</w:t></w:r></w:rubyBase></w:ruby></w:r>",
                "方",
            ),
            ["甲方"],
        ),
        (par("<m:oMath><m:r><m:t>a+b</m:t></m:r></m:oMath>"), ["a+b"]),
        (
            par(
                '<w:r><w:fldChar w:fldCharType="begin"/></w:r>',
                "<w:r><w:instrText>PAGE</w:instrText></w:r>",
                "代码",
                '<w:r><w:fldChar w:fldCharType="separate"/></w:r>',
                "3",
                '<w:r><w:fldChar w:fldCharType="end"/></w:r>',
                "页",
            ),
            ["3页"],
        ),
    ],
)
def test_controls_links_fields_and_breaks(body, lines):
    assert read(body) == lines


def test_a_text_box_stands_once_although_it_is_written_twice():
    box = f"<w:txbxContent>{par('担保人声明')}{par('自愿担保')}</w:txbxContent>"
    twice = (
        f"<w:r><mc:AlternateContent><mc:Choice Requires='wps'><w:drawing><wps:txbx>{box}</wps:txbx></w:drawing></mc:Choice>"
        f"<mc:Fallback><w:pict><v:textbox>{box}</v:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    )
    assert read(par("正文", twice, "。") + par("下一段")) == ["正文。", "担保人声明", "自愿担保", "下一段"]
    old = f"<w:r><w:pict><v:textbox>{box}</v:textbox></w:pict></w:r>"
    assert read(par(old)) == ["", "担保人声明", "自愿担保"]
    fallback = f"<mc:Fallback><w:pict><v:textbox>{box}</v:textbox></w:pict></mc:Fallback>"
    only = f"<w:r><mc:AlternateContent><mc:Choice Requires='wps'/>{fallback}</mc:AlternateContent></w:r>"
    assert read(par("甲", only)) == ["甲", "担保人声明", "自愿担保"]


def test_notes_stand_once_at_the_end_and_a_table_of_contents_nowhere():
    each = "".join(f'<w:footnote w:id="{n}">{par(text)}</w:footnote>' for n, text in ((0, "分隔"), (2, "指定金本身。")))
    notes = f"<w:footnotes {NAMES}>{each}</w:footnotes>"
    body = par("定金", '<w:r><w:footnoteReference w:id="2"/></w:r>', "不退。") + par("完。")
    assert read(body, footnotes=notes) == ["定金不退。", "完。", "注：指定金本身。"]
    styles = '<w:style w:type="paragraph" w:styleId="11"><w:name w:val="toc 1"/></w:style>'
    assert read(par("第一章 总则\t1", style="11") + par("第一章 总则"), styles=styles) == ["第一章 总则"]


def test_headings_keep_their_level_and_a_sentence_is_none():
    styles = '<w:style w:type="paragraph" w:styleId="2"><w:name w:val="heading 2"/></w:style>'
    long = "本合同自双方签字之日起生效。"
    assert read(par("房屋", style="2") + par(long, style="2"), styles=styles) == ["## 房屋", long]


# Tables


def cell(*content: str, more: str = "") -> str:
    return f"<w:tc><w:tcPr>{more}</w:tcPr>{''.join(part if part.startswith('<') else par(part) for part in content)}</w:tc>"


def table(*rows: str) -> str:
    return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in rows) + "</w:tbl>"


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (
            table(cell("项目") + cell("金额"), cell("小计：叁佰元", more='<w:gridSpan w:val="2"/>')),
            ["项目 | 金额", "小计：叁佰元"],
        ),
        (
            table(cell("甲", more='<w:vMerge w:val="restart"/>') + cell("1"), cell("藏", more="<w:vMerge/>") + cell("2")),
            ["甲 | 1", " | 2"],
        ),
        (table(cell("外", table(cell("内") + cell("里")), "<w:p/>") + cell("右")), ["外", "内 | 里 | 右"]),
        (table(cell("第一段", "第二段")), ["第一段", "第二段"]),
        (table(cell("留") + cell("删", more=f"<w:cellDel {BY}/>")), ["留"]),
        (table(cell("留"), f"<w:trPr><w:del {BY}/></w:trPr>" + cell("删")), ["留"]),
        (table(cell("留"), f"<w:trPr><w:ins {BY}/></w:trPr>" + cell("增")), ["留", "增"]),
        (f"<w:tbl><w:sdt><w:sdtContent><w:tr>{cell('行控件')}</w:tr></w:sdtContent></w:sdt></w:tbl>", ["行控件"]),
        (table(f"<w:sdt><w:sdtContent>{cell('格控件')}</w:sdtContent></w:sdt>" + cell("右")), ["格控件 | 右"]),
        (table(cell("横", more='<w:hMerge w:val="restart"/>') + cell("", more="<w:hMerge/>") + cell("末")), ["横 | 末"]),
        (table(cell("") + cell("")) + par("完"), ["完"]),
    ],
)
def test_cells_stand_once_and_nested_tables_are_read(body, lines):
    assert read(body) == lines


# Numbers


def items(*levels: int, num: str = "7") -> str:
    return "".join(par("文", num=num, level=level) for level in levels)


@pytest.mark.parametrize(
    ("levels", "numbers", "labels"),
    [
        ((0, 0, 0), lvl(0, "chineseCounting", "第%1章"), ["第一章　", "第二章　", "第三章　"]),
        ((0, 0), lvl(0, "decimal", "%1.", '<w:suff w:val="nothing"/>'), ["1.", "2."]),
        (
            (0, 1, 1, 0, 1),
            lvl(0, "chineseCountingThousand", "第%1条") + lvl(1, "chineseCounting", "（%2）"),
            ["第一条　", "（一）", "（二）", "第二条　", "（一）"],
        ),
        (
            (0, 1, 2, 1, 2),
            lvl(0, "decimal", "%1") + lvl(1, "decimal", "%1.%2") + lvl(2, "decimal", "%1.%2.%3"),
            ["1 ", "1.1 ", "1.1.1 ", "1.2 ", "1.2.1 "],
        ),
        (
            (0, 1, 0, 1),
            lvl(0, "chineseCounting", "第%1章") + lvl(1, "chineseCountingThousand", "第%2条", '<w:lvlRestart w:val="0"/>'),
            ["第一章　", "第一条　", "第二章　", "第二条　"],
        ),
        (
            (0, 1, 2, 1, 2),
            lvl(0, "decimal", "%1.") + lvl(1, "decimal", "%2)") + lvl(2, "decimal", "(%3)", '<w:lvlRestart w:val="1"/>'),
            ["1. ", "1) ", "(1) ", "2) ", "(2) "],
        ),
        ((0, 1), lvl(0, "chineseCounting", "第%1章") + lvl(1, "decimal", "%1.%2", "<w:isLgl/>"), ["第一章　", "1.1 "]),
        ((0, 0), lvl(0, "decimal", "%1、", '<w:start w:val="5"/>'), ["5、", "6、"]),
        ((0,), lvl(0, "bullet", "\uf0b7"), [""]),
        ((0,), lvl(0, "none", ""), [""]),
        ((1,), lvl(0, "decimal", "%1.") + lvl(1, "decimal", "%1.%2"), ["1.1 "]),
        ((0, 0), lvl(0, "ideographTraditional", "%1、"), ["甲、", "乙、"]),
        (
            (0, 0),
            lvl(
                0,
                "custom",
                "%1",
                '<mc:AlternateContent><mc:Choice Requires="w14">'
                '<w:numFmt w:val="custom" w:format="001, 002, 003, ..."/></mc:Choice></mc:AlternateContent>',
            ).replace('<w:numFmt w:val="custom"/>', ""),
            ["001 ", "002 "],
        ),
    ],
)
def test_numbers_follow_levels_formats_and_restarts(levels, numbers, labels):
    assert read(items(*levels), numbered(numbers)) == [f"{label}文" for label in labels]


def test_two_lists_of_one_kind_go_on_and_an_override_begins_anew():
    override = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="1"/></w:lvlOverride>'
    numbers = numbered(lvl(0, "decimal", "%1."), num(7, 1), num(8, 1), num(9, 1, override))
    body = items(0, 0) + items(0, num="8") + items(0, 0, num="9")
    assert read(body, numbers) == ["1. 文", "2. 文", "3. 文", "1. 文", "2. 文"]
    level = f'<w:lvlOverride w:ilvl="0">{lvl(0, "chineseCounting", "%1、")}</w:lvlOverride>'
    assert read(items(0), numbered(lvl(0, "decimal", "%1."), num(7, 1, level))) == ["一、文"]


def test_numbers_come_from_styles_and_what_they_are_based_on():
    styles = style("art", "条", num="7") + style("art2", "条二", based="art") + style("item", "项", num="7")
    numbers = numbered(lvl(0, "chineseCounting", "第%1条") + lvl(1, "chineseCounting", "（%2）", '<w:pStyle w:val="item"/>'))
    body = par("甲", style="art") + par("乙", style="item") + par("丙", style="art2") + par("丁", num="0", style="art")
    assert read(body, numbers, styles) == ["第一条　甲", "（一）乙", "第二条　丙", "丁"]


def test_a_numbering_may_be_that_of_a_style():
    styles = style("list", "条款", num="8", kind="numbering")
    linked = '<w:abstractNum w:abstractNumId="1"><w:numStyleLink w:val="list"/></w:abstractNum>' + num(7, 1)
    numbers = linked + numbered(lvl(0, "chineseCounting", "第%1条"), num(8, 2), name=2, more='<w:styleLink w:val="list"/>')
    assert read(items(0, 0), numbers, styles) == ["第一条　文", "第二条　文"]


@pytest.mark.parametrize(
    ("number", "form", "text"),
    [
        (10, "chineseCountingThousand", "十"),
        (21, "chineseCounting", "二十一"),
        (105, "chineseCountingThousand", "一百零五"),
        (1260, "chineseCountingThousand", "一千二百六十"),
        (12, "ideographDigital", "一二"),
        (10, "chineseLegalSimplified", "壹拾"),
        (3, "chineseLegalSimplified", "叁"),
        (4, "upperRoman", "IV"),
        (28, "lowerLetter", "bb"),
        (7, "decimalZero", "07"),
        (3, "decimalEnclosedCircleChinese", "③"),
        (21, "decimalEnclosedCircle", "21"),
        (2, "decimalEnclosedParen", "⑵"),
        (12, "decimalFullWidth", "１２"),
        (3, "ideographZodiac", "寅"),
        (0, "chineseCounting", "零"),
        (5, "unheardOf", "5"),
    ],
)
def test_formats_of_numbers(number, form, text):
    assert numbering.formatted(number, form) == text


def test_an_embedded_document_is_refused_and_a_loop_of_styles_ends():
    with pytest.raises(documents.Unreadable, match="another document"):
        read("<w:altChunk/>")
    styles = style("a", "a", based="b") + style("b", "b", based="a")
    assert read(par("文", style="a"), styles=styles) == ["文"]
