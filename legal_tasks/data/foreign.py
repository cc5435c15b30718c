"""Kinds of files that people have and that are not read here: set aside by their kind with what to do, never taught as text."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass

LOOKED = 4096  # bytes at the beginning by which a kind without a mark of its own is told


@dataclass(frozen=True)
class Foreign:
    """`reason`: the word for the accounts; `why`: what it is, and the way out."""

    reason: str
    why: str


TEXT = "save it as DOCX, PDF with text, or plain text"
TABLE = "save the sheet as CSV (UTF-8)"
SCAN = "it holds a picture, not text: run it through text recognition first"
UNPACK = "unpack it"
KINDS = {
    "ofd": ("an OFD document", "export it as PDF with text, or as DOCX"),
    "mht": ("a saved web page (MHT)", "save it as HTML or as DOCX"),
    "eml": ("a mail (EML)", "save its text as plain text, its attachments as files"),
    "rtf": ("an RTF document", TEXT),
    "odt": ("an OpenDocument text (ODT)", TEXT),
    "ods": ("an OpenDocument sheet (ODS)", TABLE),
    "odp": ("an OpenDocument presentation (ODP)", TEXT),
    "epub": ("an EPUB book", "convert it to plain text, a file per work"),
    "xlsx": ("an Excel workbook (XLSX)", TABLE),
    "pptx": ("a presentation (PPTX)", TEXT),
    "doc": ("a document of Word before 2007 (DOC)", TEXT),
    "xls": ("a workbook of Excel before 2007 (XLS)", TABLE),
    "ppt": ("a presentation of PowerPoint before 2007 (PPT)", TEXT),
    "ole": ("an Office file of the old format, or one with a password", f"remove its password; {TEXT}"),
    "locked": ("an Office file with a password", "remove its password"),
    "xml": ("an XML file of another kind", TEXT),
    "caj": ("a CAJ document", "export it as PDF with text"),
    "rar": ("a RAR archive", UNPACK),
    "7z": ("a 7-Zip archive", UNPACK),
    "gz": ("a GZIP file", UNPACK),
    "xz": ("an XZ file", UNPACK),
    "bz2": ("a BZIP2 file", UNPACK),
    "zst": ("a Zstandard file", UNPACK),
    "tar": ("a TAR archive", UNPACK),
    "image": ("a picture", SCAN),
    "media": ("a sound or film", "write down what is said"),
    "sqlite": ("an SQLite database", "export its table as CSV (UTF-8) or JSON Lines"),
    "djvu": ("a DjVu document", SCAN),
    "program": ("a program", "take it out of the sources"),
}
MARKS = {
    b"{\\rtf": "rtf",
    b"Rar!\x1a\x07": "rar",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x1f\x8b\x08": "gz",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zst",
    b"\x89PNG\r\n": "image",
    b"\xff\xd8\xff": "image",
    b"GIF87a": "image",
    b"GIF89a": "image",
    b"II*\0": "image",
    b"MM\0*": "image",
    b"SQLite format 3\0": "sqlite",
    b"AT&TFORM": "djvu",
    b"CAJ\0": "caj",
    b"HN\0\0": "caj",
    b"KDH ": "caj",
    b"ID3": "media",
    b"OggS": "media",
    b"\x7fELF": "program",
    b"MZ\x90\0": "program",
}
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Names of streams in old Office files, as they stand in the file (UTF-16).
STREAMS = {"EncryptedPackage": "locked", "WordDocument": "doc", "Workbook": "xls", "PowerPoint Document": "ppt"}
MEMBERS = {"OFD.xml": "ofd", "xl/workbook.xml": "xlsx", "xl/workbook.bin": "xlsx", "ppt/presentation.xml": "pptx"}
MIME = {
    "application/epub+zip": "epub",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.presentation": "odp",
}
HEADER = re.compile(rb"\A(?:[A-Za-z][A-Za-z-]*:[^\n]*\n(?:[ \t][^\n]*\n)*){2,}")
XML = re.compile(rb"\A\s*<\?xml\b", re.I)
HTML = re.compile(rb"<(?:[A-Za-z]+:)?html\b|<!doctype\s+html\b", re.I)


def of(kind: str) -> Foreign:
    what, way = KINDS[kind]
    return Foreign(f"format_{kind}", f"is {what}, which is not read: {way}")


def kind_of(data: bytes) -> Foreign | None:
    """What a file is that is not read here, by its first bytes and the names in it; None for any other."""
    name = next((kind for mark, kind in MARKS.items() if data.startswith(mark)), "")
    if not name and data.startswith(OLE):
        name = next((kind for stream, kind in STREAMS.items() if stream.encode("utf-16-le") in data), "ole")
    if not name and data.startswith(b"PK"):
        name = _packed(data)
    if not name and data[257:262] == b"ustar":
        name = "tar"
    if not name and (data[4:8] == b"ftyp" or data.startswith(b"RIFF") and data[8:12] in (b"WAVE", b"AVI ")):
        name = "media"
    if not name:
        name = _text(data[:LOOKED])
    return of(name) if name else None


def names_in(data: bytes) -> list[str]:
    """The names of the files in a ZIP archive; [] where it is not whole."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return []


def _packed(data: bytes) -> str:
    """A ZIP archive that is one document of another program; "" for one of files, and for a DOCX."""
    names = names_in(data)
    if "mimetype" in names:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open("mimetype") as file:
                said = file.read(200).decode("ascii", "replace").strip()
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError, EOFError):
            said = ""
        for mime, kind in MIME.items():
            if said.startswith(mime):
                return kind
    return next((kind for member, kind in MEMBERS.items() if member in names), "")


def _text(head: bytes) -> str:
    """A format that looks like text: a mail or saved page by its header, XML that is no page."""
    head = head.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").lstrip()
    found = HEADER.match(head)
    if found and re.search(rb"(?im)^(?:MIME-Version|Content-Type|Content-Transfer-Encoding):", found[0]):
        related = re.search(rb"(?i)multipart/related|saved by|snapshot-content-location", found[0])
        return "mht" if related else "eml"
    if XML.match(head) and not HTML.search(head):
        return "xml"
    return ""
