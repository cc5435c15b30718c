"""The files in a ZIP archive, each by itself; what is unsafe or too large is not unpacked."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MOST_BYTES = 1 << 30  # of all files in an archive, unpacked
MOST_RATIO, FROM_BYTES = 200, 1 << 24  # a file of more than FROM_BYTES that packs better than MOST_RATIO is a bomb
MOST_FILES = 100_000
CHUNK = 1 << 20


class Refused(Exception):
    """A file of an archive, or the archive, that is not unpacked; `reason` is the word for the accounts."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason


def members(path: Path) -> Iterator[tuple[str, bytes | Refused]]:
    """(name, content or why it was refused) of every file in the archive, by name; Refused where it is no whole archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MOST_FILES:
                raise Refused("archive_bomb", f"{len(entries)} files in one archive")
            left = MOST_BYTES
            for entry in sorted(entries, key=_name):
                try:
                    data = _read(archive, entry, left)
                    left -= len(data)
                    yield _name(entry), data
                except Refused as refused:
                    yield _name(entry), refused
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise Refused("unreadable", f"is no whole ZIP archive ({error})") from error


def _name(entry: zipfile.ZipInfo) -> str:
    """The file's name; archives made by Chinese systems write it in GB18030 without saying so."""
    if not entry.flag_bits & 0x800:
        try:
            return entry.filename.encode("cp437").decode("gb18030")
        except (UnicodeEncodeError, UnicodeDecodeError):
            pass
    return entry.filename


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int) -> bytes:
    name = PurePosixPath(_name(entry).replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or (name.parts and name.parts[0].endswith(":")):
        raise Refused("unsafe_path", "its name leads out of the archive")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise Refused("link", "is a link")
    if entry.flag_bits & 1:
        raise Refused("unreadable", "is encrypted: remove the password")
    if entry.file_size > FROM_BYTES and entry.file_size > MOST_RATIO * max(1, entry.compress_size):
        raise Refused("archive_bomb", f"{entry.compress_size:,} bytes would become {entry.file_size:,}")
    data = bytearray()
    try:
        with archive.open(entry) as file:
            # The size in the directory may lie: count what comes out.
            while chunk := file.read(CHUNK):
                data += chunk
                if len(data) > min(left, max(FROM_BYTES, MOST_RATIO * max(1, entry.compress_size))):
                    raise Refused("archive_bomb", f"more than {len(data):,} bytes came out of {entry.compress_size:,}")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise Refused("unreadable", f"cannot be unpacked ({error})") from error
    return bytes(data)
