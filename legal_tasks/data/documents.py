"""The text of DOCX and PDF, the rows of Parquet.

Their formats let a small file cost minutes and gigabytes: READERS work in a process of their own (apart.py).
Each takes an open file and its size in bytes, and gives values: one text, or a mapping per row.
"""

from __future__ import annotations

import datetime
import logging
import math
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from legal_tasks.data import costs

LONGEST = 5_000_000  # characters of one item; a longer one is no document
PARQUET_ROWS = 1_000  # rows that are in memory at once


class Unreadable(Exception):
    """The bytes are no text, or no whole file of their format; the message says why."""


class Joined:
    """Lines that become one text; TooCostly (too_long) as soon as they are more than LONGEST characters."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.size = 0

    def add(self, text: str) -> None:
        self.size += len(text) + 1
        if self.size > LONGEST:
            raise costs.TooCostly(f"{self.size:,} characters or more, bound {LONGEST:,}", "too_long")
        self.parts.append(text)


def docx(file: BinaryIO, size: int) -> Iterator[str]:
    """Paragraphs and table rows in their order (word.py); headings keep a # before them."""
    from legal_tasks.data import word

    with zipfile.ZipFile(file) as archive:
        # A directory that lies is met by the bound of memory.
        costs.check_expansion(sum(entry.file_size for entry in archive.infolist()), size, "the parts of the DOCX")
    yield from word.read(file)


def pdf(file: BinaryIO, size: int) -> Iterator[str]:
    import pypdf

    reader = pypdf.PdfReader(file)
    if reader.is_encrypted:
        raise Unreadable("is an encrypted PDF: remove its password")
    pages = Joined()
    for page in reader.pages:
        pages.add(page.extract_text())
    yield re.sub("[\ud800-\udfff]", "\ufffd", "\n".join(pages.parts))  # half a character cannot be written


def parquet(file: BinaryIO, size: int) -> Iterator[dict[str, Any]]:
    """Either all rows can be read, or an error comes before the first; TooCostly also where they are too much for the file."""
    from pyarrow import parquet

    source = parquet.ParquetFile(file)
    rows, row = source.metadata.num_rows, costs.ROW + sum(map(len, source.schema_arrow.names))  # each item holds the names
    total = rows * row
    costs.check_expansion(total, size, f"{rows:,} rows of {row:,} bytes or more")
    kept: list[Any] | None = []
    for batch in source.iter_batches(PARQUET_ROWS, use_threads=False):
        batch = _sound(batch)
        total += sum(_plain_bytes(column) for column in batch.columns)
        costs.check_expansion(total, size, "the rows")
        kept = [*kept, batch] if kept is not None and total < costs.FREE else None  # a small table is not read twice
    for batch in source.iter_batches(PARQUET_ROWS, use_threads=False) if kept is None else kept:
        yield from _dicts(batch if kept is not None else _sound(batch))


def _sound(batch: Any) -> Any:
    """The batch, if it is sound; texts that are no UTF-8 as bytes, so that they cost their own row only."""
    import pyarrow

    try:
        batch.validate(full=True)
    except pyarrow.ArrowInvalid:
        texts = {pyarrow.string(): pyarrow.binary(), pyarrow.large_string(): pyarrow.large_binary()}
        columns = [column.cast(texts[column.type]) if column.type in texts else column for column in batch.columns]
        batch = pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)
        batch.validate(full=True)
    return batch


def _dicts(batch: Any) -> Iterator[dict[str, Any]]:
    """The rows of a batch. A value that Python has no form for (a day in the year 20000) is told as Arrow writes it."""
    columns = []
    for column in batch.columns:
        try:
            columns.append(column.to_pylist())
        except (ValueError, OverflowError, ArithmeticError):
            columns.append([_told(one) for one in column])
    names = batch.schema.names
    for row in zip(*columns, strict=True):
        yield {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in zip(names, row, strict=True)
        }


def _told(value: Any) -> Any:
    import pyarrow

    try:
        return value.as_py()
    except (ValueError, OverflowError, ArithmeticError):
        try:
            return value.cast(pyarrow.string()).as_py()
        except pyarrow.ArrowException:
            return f"a {value.type}"


def _plain_bytes(column: Any) -> int:
    """Bytes of a column's values, each counted where it stands."""
    return (column.dictionary_decode() if hasattr(column, "dictionary_decode") else column).nbytes


READERS: dict[str, Callable[[BinaryIO, int], Iterator[Any]]] = {"docx": docx, "pdf": pdf, "parquet": parquet}
LIBRARIES = {"docx": "docx", "pdf": "pypdf", "parquet": "pyarrow.parquet"}


def prepare(form: str) -> None:
    """Import the format's library, so that its memory and time are not the file's."""
    import importlib

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # a hostile file warns a million times
    importlib.import_module(LIBRARIES[form])


# xmlerror.h of libxml2: XML_ERR_ENTITY_LOOP, XML_ERR_NAME_TOO_LONG, XML_ERR_RESOURCE_LIMIT
XML_NO_MEMORY, XML_BOUNDS = 2, {89, 110, 114}


def is_memory(error: Exception) -> bool:
    """Whether an error says that there was no memory left."""
    return isinstance(error, MemoryError) or (type(error).__name__ == "XMLSyntaxError" and error.code == XML_NO_MEMORY)  # type: ignore[attr-defined]


def explained(error: Exception, form: str) -> Exception:
    """What to say of an error that a library raised on a file: TooCostly where it is one of the library's own bounds."""
    kind = type(error).__name__
    if isinstance(error, Unreadable | costs.TooCostly):
        return error
    if isinstance(error, RecursionError):
        return costs.TooCostly("nested too deeply for its reader (RecursionError)", "too_deep")
    if kind == "LimitReachedError":
        return costs.TooCostly(f"its reader's own bound: {error}")
    if kind == "XMLSyntaxError" and getattr(error, "code", 0) in XML_BOUNDS:
        return costs.TooCostly(f"its reader's own bound: {error}", "too_deep" if "depth" in str(error) else "too_costly")
    return Unreadable(f"is no whole {form.upper()} file ({kind}: {error})")


def plain(value: Any) -> Any:
    """A value of a table that JSON has no form for, as a text."""
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, bytes):
        text = value.decode("utf-8", "replace")
        return text if text.count("\ufffd") <= len(text) // 4 and "\0" not in text else f"{len(value)} bytes"
    return str(value)
