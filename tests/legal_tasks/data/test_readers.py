"""Files are read by their content, whatever their name says."""

import io
import json

import pytest

from legal_tasks.data import documents, encodings, readers

TEXT = "第一条 为了保护民事主体的合法权益，制定本法。\n第二条 本法自公布之日起施行。\n" * 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_give_the_same_text(encoding):
    assert encodings.decode(TEXT.encode(encoding))[0] == TEXT


def test_broken_bytes_stay_visible():
    text, _ = encodings.decode("合同应当书面".encode() * 5 + b"\xff\xfe\xfd" + "订立。".encode())
    assert "\ufffd" in text and "订立" in text


def test_binary_is_refused():
    with pytest.raises(documents.Unreadable):
        encodings.decode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('[{"a": 1}]', "json"),
        ('{"a": 1}\n{"a": 2}\n', "jsonl"),
        ('{"a": \ufffd1}\n{"a": 2}\n', "jsonl"),
        ('{\n "a": 1\n}', "json"),
        (",Question,A,B\n0,问题,甲,乙\n", "csv"),
        ("<!DOCTYPE html><html><body>法</body></html>", "html"),
        ("# 契税法\n\n第一条 文\n", "md"),
        ("原告：张三，男。\n被告：李四，女。\n", "txt"),
    ],
)
def test_content_tells_the_format(text, form):
    assert readers.sniff(text, "misleading.json") == form


def test_one_element_lists_are_unwrapped_and_counted_as_one():
    found = list(readers.pieces(json.dumps([[{"q": 1}], [[{"q": 2}]], {"q": 3}]), "json"))
    assert [piece.fields for piece in found] == [{"q": 1}, {"q": 2}, {"q": 3}]


def test_a_truncated_list_keeps_its_whole_elements_and_tells_of_the_rest():
    text = json.dumps([{"q": "甲"}, {"q": "乙"}, {"q": "丙"}], ensure_ascii=False, indent=1)[:-12]
    found = list(readers.pieces(text, "json"))
    assert [piece.fields for piece in found if piece.fields] == [{"q": "甲"}, {"q": "乙"}]
    assert [piece.broken is not None for piece in found] == [False, False, True]


def test_a_broken_line_does_not_cost_its_neighbours():
    found = list(readers.pieces('{"q": 1}\n{"q": \n{"q": 3}\n', "jsonl"))
    assert [piece.broken is None for piece in found] == [True, False, True]


def test_csv_with_mark_multi_line_cell_and_unnamed_column():
    found = list(readers.pieces('\ufeff,question,A\n1,"第一行\n第二行",甲\n2,短\n', "csv"))
    assert found[0].fields == {"column0": "1", "question": "第一行\n第二行", "A": "甲"}
    assert found[1].broken


def test_a_docx_gives_headings_paragraphs_and_tables_in_order():
    docx = pytest.importorskip("docx")
    file = docx.Document()
    file.add_heading("保管合同", 1)
    file.add_paragraph("第一条 甲方交付保管物。")
    cells = file.add_table(1, 2).rows[0].cells
    cells[0].text, cells[1].text = "名称", "数量"
    file.add_paragraph("第二条 乙方妥善保管。")
    out = io.BytesIO()
    file.save(out)
    assert readers.binary_form(out.getvalue()) == "docx"
    [piece] = readers.binary_pieces(out.getvalue(), "docx")
    assert piece.text == "# 保管合同\n第一条 甲方交付保管物。\n名称 | 数量\n第二条 乙方妥善保管。"


def test_a_docx_and_a_pdf_without_text_are_told_apart_from_broken_ones():
    docx, pypdf = pytest.importorskip("docx"), pytest.importorskip("pypdf")
    empty, scan = io.BytesIO(), io.BytesIO()
    docx.Document().save(empty)
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(scan)
    assert "no text" in readers.binary_pieces(empty.getvalue(), "docx")[0].broken
    assert "no text" in readers.binary_pieces(scan.getvalue(), "pdf")[0].broken
    with pytest.raises(documents.Unreadable, match="no whole PDF"):
        readers.binary_pieces(b"%PDF-1.4 cut off", "pdf")
    assert readers.binary_form(b"PK\x03\x04 some.txt") == "zip"


def test_parquet_rows_are_items():
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    parquet.write_table(
        pyarrow.Table.from_pylist([{"question": "问", "answer": "答"}, {"question": "再问", "answer": "再答"}]), out
    )
    data = out.getvalue()
    assert readers.binary_form(data) == "parquet"
    assert [piece.fields["answer"] for piece in readers.binary_pieces(data, "parquet")] == ["答", "再答"]


def test_a_name_said_twice_and_nan_cost_their_element_only():
    text = '[{"q": "甲"}, {"q": 1, "q": 2}, {"q": NaN}, {"q": "丁"}]'
    found = list(readers.pieces(text, "json"))
    assert [piece.fields and piece.fields["q"] for piece in found] == ["甲", None, None, "丁"]
    assert [piece.reason for piece in found if piece.broken] == ["ambiguous", "ambiguous"]
    assert next(iter(readers.pieces('{"q": 1, "q": 2}\n{"q": 3}\n', "jsonl"))).reason == "ambiguous"


def test_a_stray_quote_costs_its_row_only():
    found = list(readers.pieces('q,a\n甲,"乙\n丙,丁\n"戊\n己",庚\n', "csv"))
    assert [piece.fields for piece in found if piece.fields] == [{"q": "丙", "a": "丁"}, {"q": "戊\n己", "a": "庚"}]
    assert [piece.broken is not None for piece in found] == [True, False, False]


def test_what_holds_nothing_is_empty_and_what_is_endless_is_too_long():
    [empty, long] = readers.pieces('{"a": "", "b": [null]}\n{"a": "' + "字" * (readers.LONGEST + 1) + '"}\n', "jsonl")
    assert (empty.reason, long.reason) == ("empty", "too_long")


DEEP, DEEP_OBJECT = "[" * 200_000 + "]" * 200_000, '{"a": ' * 100_000 + "1" + "}" * 100_000
ONE, TWO = '{"q": "甲", "a": "答"}', '{"q": "乙", "a": "答"}'


@pytest.mark.parametrize(
    ("text", "good", "place"),
    [
        (DEEP, 0, "[0]"),
        (DEEP_OBJECT, 0, "[0]"),
        ("[" * 200_000, 0, "[0]"),
        ("[\n" * 100_000, 0, "[0]"),
        (f"[{ONE}, {DEEP}, {TWO}]", 2, "[1]"),
        (f"[{ONE}, {DEEP_OBJECT}, {TWO}]", 2, "[1]"),
        (f'{{"data": [{ONE}, {DEEP}, {TWO}]}}', 2, "[1]"),
        (f"{ONE}\n{DEEP}\n{TWO}\n", 2, "line 2"),
        (f"{ONE}\n{DEEP_OBJECT}\n{TWO}\n", 2, "line 2"),
        (f"{DEEP_OBJECT}\n{ONE}\n{TWO}\n", 2, "line 1"),
        (f'{ONE}\n{{"q": "x", "a": {"[" * 101 + "]" * 101}}}\n{TWO}\n', 2, "line 2"),
    ],
)
def test_brackets_without_end_cost_their_own_item_only(text, good, place):
    found = list(readers.pieces(text, readers.sniff(text)))
    assert [piece.fields["q"] for piece in found if piece.fields] == ["甲", "乙"][:good]
    [bad] = [piece for piece in found if piece.broken]
    assert (bad.place, bad.reason) == (place, "too_deep") and "bound 100" in bad.broken


@pytest.mark.parametrize("value", ["1" * 5000, '"\\ud800"', '["\\udfff\\ud83d\\ude00"]'])
def test_what_json_allows_and_nobody_can_keep_costs_its_own_item_only(value):
    odd = f'{{"q": {value}, "a": "答"}}'
    for text in (f"[{ONE}, {odd}, {TWO}]", f"{ONE}\n{odd}\n{TWO}\n"):
        found = list(readers.pieces(text, readers.sniff(text)))
        assert [piece.broken is None for piece in found] == [True, False, True]
    whole = '{"q": "\\ud83d\\ude00", "a": "答"}'  # both halves of one character
    assert next(iter(readers.pieces(f"{whole}\n{ONE}\n", "jsonl"))).fields["q"] == "\U0001f600"


@pytest.mark.parametrize(
    "text",
    [
        "[{" + ",".join(f'"k{n}": 1' for n in range(60_000)) + ', "k59999": 2}]',
        f"[{ONE}, x" + "\n" * 400_000 + "y",
        "[" + '{"a": x},\n' * 60_000 + "]",
    ],
    ids=["names", "line feeds", "faults"],
)
def test_faults_in_great_number_take_time_by_their_number(text):
    from legal_tasks.data import costs

    with costs.alarm(6, "reading"):  # each took minutes, or will again if it grows with the square
        assert list(readers.pieces(text, "json"))


def test_what_follows_a_list_is_told():
    found = list(readers.pieces(f"[{ONE}]\n[{TWO}]", "json"))
    assert [piece.broken is None for piece in found] == [True, False] and "more after the end" in found[1].broken


def test_dates_and_bytes_of_a_table_become_texts():
    import datetime
    import decimal

    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    row = {"q": "问", "day": datetime.date(2026, 1, 2), "at": datetime.datetime(2026, 1, 2, 3), "d": decimal.Decimal("1.5")}
    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([row | {"b": b"\xff\0", "t": "文".encode()}]), out)
    [piece] = readers.binary_pieces(out.getvalue(), "parquet")
    expected = {"q": "问", "day": "2026-01-02", "at": "2026-01-02T03:00:00", "d": "1.5", "b": "2 bytes", "t": "文"}
    assert piece.fields == expected


def test_a_costly_document_is_one_item_with_its_evidence():
    pytest.importorskip("docx")
    from tests.faults import _bombs

    [piece] = readers.binary_pieces(_bombs.wide_table(10**8), "docx")
    assert (piece.reason, piece.place) == ("too_costly", "") and "bound 10,000" in piece.broken
