"""What is not read here is set aside by its kind, with what to do; it is never taught as text, and ends no month."""

import base64
import io
import zipfile

import pytest

from legal_tasks.data import collect, foreign, sources


def packed(**members: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
    return out.getvalue()


def mime(text: str, **more: str) -> bytes:
    return packed(mimetype=text, **more)


PAGE = base64.b64encode("<html><p>租赁合同</p></html>".encode()).decode()
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 1000
FILES = {
    "ofd": packed(**{"OFD.xml": "<x/>", "Doc_0/Document.xml": "<x/>"}),
    "xlsx": packed(**{"[Content_Types].xml": "<x/>", "xl/workbook.xml": "<x/>"}),
    "pptx": packed(**{"ppt/presentation.xml": "<x/>"}),
    "odt": mime("application/vnd.oasis.opendocument.text", **{"content.xml": "<x/>"}),
    "ods": mime("application/vnd.oasis.opendocument.spreadsheet", **{"content.xml": "<x/>"}),
    "epub": mime("application/epub+zip", **{"OEBPS/1.xhtml": "<html/>"}),
    "doc": OLE + "WordDocument".encode("utf-16-le"),
    "xls": OLE + "Workbook".encode("utf-16-le"),
    "locked": OLE + "EncryptedPackage".encode("utf-16-le"),
    "ole": OLE,
    "rtf": b"{\\rtf1\\ansi \\'ba\\'cf\\'cd\\'ac}",
    "mht": f"From: <Saved by Blink>\r\nSubject: x\r\nContent-Type: multipart/related;\r\n boundary=x\r\n\r\n{PAGE}".encode(),
    "eml": "Received: x\nFrom: a@b.example\nSubject: x\nContent-Type: text/plain\n\n正文".encode(),
    "xml": '<?xml version="1.0"?>\n<w:wordDocument><w:t>合同</w:t></w:wordDocument>'.encode(),
    "image": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "rar": b"Rar!\x1a\x07\x01\0",
    "gz": b"\x1f\x8b\x08\0",
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("alone", [True, False])
def test_each_kind_is_told_by_its_content_and_says_what_to_do(tmp_path, kind, alone):
    (tmp_path / "合同.txt").write_bytes(FILES[kind])
    source = sources.Source("s", "contract", "MIT", None, ((tmp_path / "合同.txt", "合同.txt"),), alone)
    [(item, piece)] = collect.items_of(source, collect.Counter())
    assert "text" not in item and piece.reason == f"format_{kind}" and foreign.KINDS[kind][1] in piece.broken


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"%PDF-1.4",
        packed(**{"a.docx": "x", "b.docx": "y"}),
        packed(**{"[Content_Types].xml": "x", "word/document.xml": "y"}),
        "title: 租赁合同\ncategory: 合同\ncontent: 甲方……".encode(),
        "原告: 甲\n被告: 乙\n案由: 租赁合同纠纷\n".encode(),
        '<?xml version="1.0"?>\n<!-- 存 -->\n<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml"/>'.encode(),
        b"{'rtf': 1}",
        "BZ 保证合同".encode(),
    ],
)
def test_what_is_read_here_is_not_foreign(data):
    assert foreign.kind_of(data) is None


def test_a_stored_archive_of_documents_is_an_archive_and_a_workbook_in_it_is_set_aside(tmp_path):
    docx = pytest.importorskip("docx")
    out = io.BytesIO()
    file = docx.Document()
    file.add_paragraph("保管合同：甲方交付保管物。")
    file.save(out)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as target:
        target.writestr("保管.docx", out.getvalue())
        target.writestr("台账.xlsx", FILES["xlsx"])
    source = sources.Source("s", "contract", "MIT", None, ((tmp_path / "a.zip", "a.zip"),), True)
    found = {item["locator"]: (item.get("text"), piece.reason) for item, piece in collect.items_of(source, collect.Counter())}
    assert found["a.zip/保管.docx"][0] == "保管合同：甲方交付保管物。" and found["a.zip/台账.xlsx"] == (None, "format_xlsx")
