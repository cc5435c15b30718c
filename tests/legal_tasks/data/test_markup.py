"""HTML as text: nothing runs together, nothing of the mark-up is left, and text that only looks like it stays."""

import pytest

from legal_tasks.data import formats, markup, readers


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<h1>通告</h1><script>x()</script><p>请备案。</p>", "# 通告\n\n请备案。"),
        (
            "<table><tr><td>3</td><td>40</td><td>500</td></tr><tr><td>4</td><td></td><td>7</td></tr></table>",
            "3 | 40 | 500\n4 |  | 7",
        ),
        ("<table><tr><td></td><td>甲</td></tr><tr><td></td><td>乙</td></tr></table>", "| 甲\n | 乙"),
        (
            "<table>\n<tr>\n<th>项目</th>\n<th>金额</th>\n</tr>\n<tr>\n<td>车费</td>\n<td>12</td>\n</tr>\n</table>",
            "项目 | 金额\n车费 | 12",
        ),
        ("<table><tr><td>1<td>2<tr><td>3<td>4</table>", "1 | 2\n3 | 4"),
        ("<table><tr><td><p>一</p><p>二</p></td><td><p>三</p></td></tr></table>", "一\n\n二 | 三"),
        ("<table><tr><td>外<table><tr><td>内</td><td>里</td></tr></table></td><td>右</td></tr></table>", "外\n\n内 | 里 | 右"),
        ("<div>第一段</div><div>第二段</div>", "第一段\n\n第二段"),
        ("<ul><li>借条</li><li>转账记录</li></ul>", "借条\n\n转账记录"),
        ("<dl><dt>原告</dt><dd>甲公司</dd></dl>", "原告\n\n甲公司"),
        ("甲方<br>乙方<br/>丙方", "甲方\n乙方\n丙方"),
        ("<p>承租人应当\n    按期支付租金。</p>", "承租人应当按期支付租金。"),
        ("<p>Party A\n and Party B</p>", "Party A and Party B"),
        ("<div>第一条　为了管理。\n第二条　本办法施行。</div>", "第一条　为了管理。\n第二条　本办法施行。"),
        ("<pre>第一行\n第二行</pre>", "第一行\n第二行"),
        ("<p>&ldquo;过错&rdquo;&nbsp;责任 &lt;甲&gt;</p>", "“过错”\xa0责任 <甲>"),
        ("<p><ruby>甲<rt>jia</rt></ruby>方</p>", "甲方"),
        ("<p>价款<del>一万</del><ins>二万</ins>元</p>", "价款二万元"),
        ("<p>未闭合<style>p{}</style><p>下段", "未闭合\n下段"),
        ("<div><a href='1'>首页</a><a href='2'>案例</a></div><p>见<a>第三条</a>。</p>", "首页 案例\n\n见第三条。"),
        ("<!-- 注 --><p>正文<!-- 内 -->。</p>", "正文。"),
        ("<p><![CDATA[原告诉称]]></p>", "原告诉称"),
    ],
)
def test_blocks_rows_and_cells_stay_apart(page, text):
    assert markup.page_text(page) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff<!-- 保存自网页 -->\n<!DOCTYPE html><html></html>",
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html PUBLIC "x">\n<html xmlns="x"><p>文</p></html>',
        "<div class='a'><p>本院认为</p></div>",
        "<span>题</span><table><tr><td>1</td></tr></table>",
        "\n\n<!-- a --><!-- b --><p>文</p>",
        "<P ALIGN=center>民事判决书</P>",
        "<meta charset=utf-8><h2>裁定</h2>",
        "<BODY>文</BODY>",
    ],
)
def test_pages_and_pieces_of_pages_are_html(text):
    assert readers.sniff(text, "x.txt") == "html"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("<b>租赁合同</b>\n第一条 甲方出租房屋。\n", "x.txt"),
        ("<劳动合同法>第十条规定……", "x.txt"),
        ("# 民法典\n\n<!-- INFO END -->\n第一条 文", "x.md"),
        ("<div align=center>公园条例</div>\n\n## 第一章\n", "x.md"),
        ("血液酒精含量<80mg的，不属于醉酒。", "x.html"),
        ("第一条 文", "x.html"),
    ],
)
def test_text_with_a_few_tags_is_no_page(text, name):
    assert readers.sniff(text, name) != "html"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("书面通知&nbsp;，&ldquo;证据&rdquo;", "书面通知 ，“证据”"),
        ("可以起诉&nbsp&nbsp也可以仲裁", "可以起诉 也可以仲裁".replace(" ", "  ")),
        ("<p>第一点</p><p>第二点</p>", "第一点\n\n第二点"),
        ("<table><tr><td>1</td><td>300</td></tr><tr><td>2</td><td>40</td></tr></table>", "1 | 300\n\n2 | 40"),
        ("一、保存证据<br/>二、申请仲裁", "一、保存证据\n二、申请仲裁"),
        ("见<a href='http://x.example'>此处</a>&lt;劳动合同法&gt;", "见此处<劳动合同法>"),
        ("&lt;p&gt;应当赔偿&lt;/p&gt;", "应当赔偿"),
        ("&amp;ldquo;过错&amp;rdquo;", "“过错”"),
        ("&#12298;民法典&#x300B;", "《民法典》"),
        ("甲<o:p></o:p>乙<w:x a='1'/>", "甲乙"),
        ("<style>p{color:red}</style>答<script>alert(1)</script>", "答"),
        ("A&B公司，R&D中心，&copyright", "A&B公司，R&D中心，&copyright"),
        ("若x<p且y>q，利率<5%", "若x<p且y>q，利率<5%"),
        ("房\u200b东\ufeff在\u202e租赁\u00ad期内", "房东在租赁期内"),
        ("第一行\u2028第二行\x85第三行\x0b第四行\r第五行", "第一行\n第二行\n第三行\n第四行\n第五行"),
        ("甲\x00方", "甲方"),
        ("<think>不是标签</think>", "<think>不是标签</think>"),
        ("行内<b>重点</b>与<font color='red'>红字</font>", "行内重点与红字"),
    ],
)
def test_answers_lose_tags_and_entities_and_nothing_else(text, plain):
    assert formats.clean_text(text) == plain


@pytest.mark.parametrize("piece", ["<td>", "\n", " ", "<p>甲\n", "<!--", "--><!--", "<script>", "<a", "&", "</td>  ", "\t\n "])
def test_what_is_done_to_a_text_takes_time_by_its_length(piece):
    from legal_tasks.data import costs

    with costs.alarm(10, "the text"):  # the square of the length would take hours
        markup.is_page("<p>" + piece * 200_000)
        formats.clean_text("甲" + piece * 200_000 + "<")
        if "<!" not in piece and piece not in ("<a", "<script>"):  # there the library's own parser takes its time
            markup.page_text("<p>甲" + piece * 100_000 + "乙")
