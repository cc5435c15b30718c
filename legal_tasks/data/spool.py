"""Lists that lie on disk, so that a million texts need no memory: written once in order, read back by place."""

from __future__ import annotations

import os
import tempfile
from abc import abstractmethod
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, overload

BUFFER = 1 << 20  # bytes
Item = TypeVar("Item")


class OnDisk(Sequence[Item]):
    """A list whose items are read when they are asked for: `read_at` gives the one at a place from 0 to its length."""

    @abstractmethod
    def read_at(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> list[Item]: ...
    def __getitem__(self, place: int | slice) -> Item | list[Item]:
        if isinstance(place, slice):
            return [self.read_at(one) for one in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self.read_at(place)


class Spool(OnDisk[str]):
    """Texts in a temporary file without a name, in `folder`; it is gone with the process. 8 bytes of memory per text."""

    def __init__(self, folder: Path) -> None:
        self.file = tempfile.TemporaryFile(dir=folder, buffering=BUFFER)  # noqa: SIM115
        self.ends = array("Q", [0])
        self.written = True

    def append(self, text: str) -> int:
        """Its place."""
        data = text.encode("utf-8", "surrogatepass")
        self.file.write(data)
        self.written = False
        self.ends.append(self.ends[-1] + len(data))
        return len(self.ends) - 2

    def __len__(self) -> int:
        return len(self.ends) - 1

    def read_at(self, place: int) -> str:
        if not self.written:
            self.file.flush()
            self.written = True
        start = self.ends[place]
        return os.pread(self.file.fileno(), self.ends[place + 1] - start, start).decode("utf-8", "surrogatepass")

    def close(self) -> None:
        self.file.close()


class Lines(OnDisk[str]):
    """The lines of a UTF-8 file that are not empty, without their line feeds. 8 bytes of memory per line."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "rb", buffering=BUFFER)  # noqa: SIM115
        self.starts = array("Q")
        place = 0
        for line in self.file:
            if line != b"\n":
                self.starts.append(place)
            place += len(line)
        self.starts.append(place)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def read_at(self, place: int) -> str:
        start = self.starts[place]
        return os.pread(self.file.fileno(), self.starts[place + 1] - start, start).decode("utf-8").rstrip("\n")

    def close(self) -> None:
        self.file.close()


class View(OnDisk[str]):
    """Another list of texts: what `read` gives for each of `places`, read when it is asked for."""

    def __init__(self, read: Callable[[int], str], places: Sequence[int]) -> None:
        self.read, self.places = read, places

    def __len__(self) -> int:
        return len(self.places)

    def read_at(self, place: int) -> str:
        return self.read(self.places[place])
