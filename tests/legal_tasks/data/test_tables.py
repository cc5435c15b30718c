"""Tables in text: whatever separates their cells, and whatever stands above the heading."""

import pytest

from legal_tasks.data import collect, readers, sources, tables

Q, A = "租期未满能否退租？", "可以协商解除；协商不成的，按约定承担违约责任。"


def table(delimiter: str = ",", head: str = "问题,回答", rows: int = 2) -> str:
    cells = [head.split(","), *([f"{Q}{number}", A] for number in range(rows))]
    return "".join(delimiter.join(row) + "\n" for row in cells)


def read(text: str, name: str = "x"):
    return list(readers.pieces(text, readers.sniff(text, name), name))


@pytest.mark.parametrize(
    "text",
    [
        table(),
        table("\t"),
        table(";"),
        table("|"),
        table("\t", rows=1),
        "2026年三月咨询登记,\n" + table(),
        "2026年三月咨询登记\n" + table(),
        "登记表,\n填表人：甲,\n\n" + table(),
        "登记表\t\n" + table("\t"),
        "sep=;\n" + table(";"),
        "\ufeff" + table("\t"),
        table(head="Question,Answer"),
        table(head="标题,律师回复"),
        table(head="咨询内容,最佳答案"),
        table(head="问题（必填）,答复"),
        table(head="咨询详情,专家意见"),
        table(head="网友留言,官方答复"),
        table().replace("\n", "\r\n"),
        table().replace("\n", "\r"),
    ],
)
def test_the_cells_stand_under_their_names(text):
    found = read(text)
    assert found and all(piece.fields and list(piece.fields.values())[1] == A for piece in found)
    assert found[0].fields and list(found[0].fields.values())[0] == Q + "0"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le"])
def test_excel_writes_tables_in_any_of_these(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes(table("\t", rows=3).encode(encoding))
    source = sources.Source("s", "consultation", "MIT", None, ((tmp_path / "t.csv", "t.csv"),), True)
    assert [item["fields"]["回答"] for item, _ in collect.items_of(source, collect.Counter())] == [A] * 3


def test_columns_of_one_name_and_empty_cells_at_the_end_lose_nothing():
    text = "问题,备注,备注,\n甲,一,二,\n乙,三,四,,,\n"
    assert [list(piece.fields.values())[:3] for piece in read(text, "x.csv")] == [["甲", "一", "二"], ["乙", "三", "四"]]


def test_a_table_whose_columns_nobody_knows_is_believed_by_its_name():
    text = "提要;结果\n甲;乙\n丙;丁\n"
    assert readers.sniff(text, "x.txt") == "txt" and readers.sniff(text, "x.csv") == "csv"
    assert read(text, "x.csv")[1].fields == {"提要": "丙", "结果": "丁"}


@pytest.mark.parametrize(
    "text",
    [
        "第一条　为了管理，制定本办法。\n第二条　本办法自公布之日起施行。\n",
        "原告\t张甲\n被告\t李乙\n案由\t借款\n",
        "甲方：出租人；乙方：承租人;\n租金：每月二千元;\n",
        "| 问题 | 回答 |\n|---|---|\n| 甲 | 乙 |\n",
        "回答;可以\n",
        "# 甲乙打球\n## 案情\n甲,乙二人打球。\n甲起诉,请求赔偿。\n法院认为,甲自甘风险。\n",
    ],
)
def test_a_text_is_no_table(text):
    assert tables.layout(text) is None


def test_a_known_heading_wins_over_a_row_that_looks_like_one():
    text = "编制单位,法务部,,\n序号,问题,答复,日期\n1,甲,乙,2026\n2,丙,丁,2026\n"
    assert tables.layout(text) == tables.Layout(",", 1)
    assert read(text)[0].fields == {"序号": "1", "问题": "甲", "答复": "乙", "日期": "2026"}
