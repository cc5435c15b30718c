"""Small files that cost much to read, made by code."""

from __future__ import annotations

import io
import zipfile
import zlib

NAMES = b'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
PARAGRAPH = b"<w:p><w:r><w:t>x</w:t></w:r></w:p>"
FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def docx(body: bytes, head: bytes = b"", parts: dict[str, bytes] | None = None) -> bytes:
    """A DOCX with this body; `head`: before the root of the document; `parts`: more files in it."""
    import docx as library

    plain, result = io.BytesIO(), io.BytesIO()
    library.Document().save(plain)
    document = b'<?xml version="1.0"?>' + head + b"<w:document " + NAMES + b"><w:body>" + body + b"</w:body></w:document>"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for name in source.namelist():
            target.writestr(name, document if name == "word/document.xml" else source.read(name))
        for name, data in (parts or {}).items():
            target.writestr(name, data)
    return result.getvalue()


def paragraphs(count: int) -> bytes:
    return docx(b"<w:p/>" * count)


def wide_table(columns: int) -> bytes:
    span = b'<w:tc><w:tcPr><w:gridSpan w:val="%d"/></w:tcPr>' % columns
    return docx(b"<w:tbl><w:tr>" + span + PARAGRAPH + b"</w:tc></w:tr></w:tbl>")


def nested_tables(depth: int) -> bytes:
    return docx(b"<w:tbl><w:tr><w:tc>" * depth + PARAGRAPH + b"</w:tc></w:tr></w:tbl>" * depth)


def entities() -> bytes:
    """Ten entities, each ten times the one before."""
    names = b"abcdefghij"
    first = b'<!ENTITY a "' + b"x" * 1000 + b'">'
    more = b"".join(b'<!ENTITY %c "%s">' % (names[n], b"&%c;" % names[n - 1] * 10) for n in range(1, 10))
    return docx(b"<w:p><w:r><w:t>&j;</w:t></w:r></w:p>", b"<!DOCTYPE d [" + first + more + b"]>")


def packed_part(size: int) -> bytes:
    return docx(PARAGRAPH, parts={"word/media/image1.bin": b"\0" * size})


def pdf(objects: list[bytes]) -> bytes:
    """A PDF of these objects; the first is its catalogue."""
    out, places = b"%PDF-1.7\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    end = b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + end


def stream(data: bytes, more: bytes = b"", times: int = 1) -> bytes:
    """A stream that is packed, several times over."""
    for _ in range(times):
        data = zlib.compress(data, 9)
    return b"<<%s/Filter[%s]/Length %d>>\nstream\n%s\nendstream" % (more, b"/FlateDecode" * times, len(data), data)


def page(content: bytes, font: bytes = FONT, kids: int = 1, more: tuple[bytes, ...] = ()) -> bytes:
    """A PDF whose one page, with this content, comes `kids` times; object 6 on are `more`."""
    pages = b"<</Type/Pages/Kids[" + b"3 0 R " * kids + b"]/Count %d>>" % kids
    used = b"<</Font<</F 5 0 R>>/XObject<</X 6 0 R>>>>"
    one = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Resources" + used + b"/Contents 4 0 R>>"
    return pdf([b"<</Type/Catalog/Pages 2 0 R>>", pages, one, content, font, *more])


def repeated_page(kids: int = 2000) -> bytes:
    """A few kilobytes; thousands of pages with thousands of operators each."""
    return page(stream(b"BT /F 1 Tf (x) Tj ET\n" * 3000), kids=kids)


def page_loop() -> bytes:
    return pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>"])


def deep_pages(depth: int = 5000) -> bytes:
    tree = [b"<</Type/Pages/Kids[%d 0 R]/Count 1>>" % (n + 3) for n in range(depth)]
    return pdf([b"<</Type/Catalog/Pages 2 0 R>>", *tree, b"<</Type/Page/MediaBox[0 0 9 9]>>"])


def page_tree(levels: int = 12) -> bytes:
    """Each node ten times under the one above: 10 to the power of `levels` pages."""
    tree = [b"<</Type/Pages/Kids[%s]/Count 1>>" % (b"%d 0 R " % (n + 3) * 10) for n in range(levels)]
    return pdf([b"<</Type/Catalog/Pages 2 0 R>>", *tree, b"<</Type/Page/MediaBox[0 0 9 9]>>"])


def packed_twice() -> bytes:
    return page(stream(b"\0" * (1 << 28), times=2))


def character_map() -> bytes:
    """A font whose table claims four thousand million characters."""
    text = b"begincmap\n1 beginbfrange\n<0000> <FFFFFFFF> <0000>\nendbfrange\nendcmap"
    font = b"<</Type/Font/Subtype/Type0/BaseFont/A/Encoding/Identity-H/ToUnicode 6 0 R>>"
    return page(stream(b"BT /F 1 Tf (x) Tj ET"), font, more=(stream(text),))


def forms(levels: int = 7) -> bytes:
    """Drawings that draw one another, twenty times each."""
    head = b"/Type/XObject/Subtype/Form/Resources<</Font<</F 5 0 R>>/XObject<</X %d 0 R>>>>"
    drawn = [stream(b"/X Do " * 20 if n < levels else b"BT (x) Tj ET", head % (7 + n)) for n in range(levels + 1)]
    return page(stream(b"/X Do " * 20), more=tuple(drawn))


def own_object_stream() -> bytes:
    """An object stream that extends itself and holds itself."""
    held = stream(b"3 0 " + b"3 0 R", b"/Type/ObjStm/N 1/First 4/Extends 3 0 R")
    return pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>", held])


def big_table() -> bytes:
    """A cross-reference stream that claims a thousand million objects."""
    table = stream(b"\1\0\0\0" * 10, b"/Type/XRef/W[1 2 1]/Index[0 1000000000]/Size 1000000000/Root 1 0 R")
    head = b"%PDF-1.7\n"
    return head + b"1 0 obj\n" + table + b"\nendobj\nstartxref\n%d\n%%%%EOF\n" % len(head)


def parquet_rows(count: int = 5_000_000) -> bytes:
    """One long text, in every row."""
    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), pyarrow.array(["x" * 1000]))
    parquet.write_table(pyarrow.table({"q": texts}), out, compression="zstd", row_group_size=count)
    return out.getvalue()
