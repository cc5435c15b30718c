"""JSON Lines that are too large for memory, read line by line; the items are those of `readers.pieces` on the whole text."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from legal_tasks.data.readers import LINE_END, LONGEST, Piece, binary_form, line_piece, sniff, too_long

STREAMED = 32 << 20  # bytes; a smaller file is read as a whole
CHUNK = 1 << 20  # bytes
HEAD = 4 * LONGEST + CHUNK  # bytes; they hold as many characters as `sniff` looks at


def line_pieces(file: Path, form: str | None) -> Iterator[Piece] | None:
    """The items of a large file of JSON Lines in UTF-8; None for any other, which is to be read as a whole.

    `form`: the format that the sources name, which wins over what the content shows.
    """
    if form not in (None, "jsonl") or file.stat().st_size < STREAMED:
        return None
    with open(file, "rb") as opened:
        head = opened.read(HEAD)
        if binary_form(head) or b"\0" in head[:4000] or head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return None
        text = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
        # With one line alone the end of the file would decide what it is.
        if form is None and (not LINE_END.search(text[:LONGEST].rstrip()) or sniff(text) != "jsonl"):
            return None
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(head)
            while chunk := opened.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return None
    return _lines(file)


def _lines(file: Path) -> Iterator[Piece]:
    number = 0
    try:
        with open(file, encoding="utf-8-sig") as opened:
            while line := opened.readline(2 * LONGEST + 1):
                number += 1
                line = line.lstrip("\ufeff") if number == 1 else line
                size = len(line)
                if size > 2 * LONGEST and not line.endswith("\n"):
                    while part := opened.readline(CHUNK):
                        size += len(part.removesuffix("\n"))
                        if part.endswith("\n"):
                            break
                    yield too_long(number, size)
                elif line.strip():
                    yield line_piece(number, line.removesuffix("\n"))
    except (OSError, UnicodeDecodeError) as error:  # it was changed or lost after the first look
        yield Piece(f"line {number + 1}", broken=f"cannot be read on: {error}", reason="unreadable")
