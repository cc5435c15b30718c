"""Sources in an S3 bucket: copied to a folder of this machine first, so that they are digested and read like any others.

Keys and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION); in Airflow
from the Connection lexloop_s3, see docs/airflow.md.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legal_tasks.step import StepError, var_folder

SCHEME = "s3://"
LONGEST_NAME = 255  # bytes that a file system takes between two slashes


@dataclass(frozen=True)
class Copy:
    """`path`: where the objects lie now. `refused`: (name below the prefix, why) of those that no file can be made of."""

    path: Path
    refused: tuple[tuple[str, str], ...] = ()


def is_remote(text: str) -> bool:
    return text.startswith(SCHEME)


def fetch(text: str, where: str) -> Copy:
    """The local copy of an object or of all objects below a prefix, brought up to date; StepError if there is none.

    Objects that are gone from the bucket are gone from the copy too. Two objects of one size and time are the same. A name is
    taken as it stands, `%2e` too: one that would lead out of the copy, or that no file can have, is refused.
    """
    from pyarrow import fs

    place = text.removeprefix(SCHEME).rstrip("/")
    if why := fault_of(place):
        raise StepError(f"{where}: {text!r} {why}; write s3://bucket/prefix as it is in the bucket")
    target = var_folder() / "sources" / place
    try:
        files = _filesystem()
        info = files.get_file_info(place)
        if info.type == fs.FileType.File:
            _make_way(target, folder=False)
            _copy(files, info, target)
            return Copy(target)
        found = [one for one in files.get_file_info(fs.FileSelector(place, recursive=True)) if one.type == fs.FileType.File]
    except OSError as error:
        raise StepError(f"{where}: {text} cannot be read ({error}); check the AWS_* variables, the bucket and the key") from error
    if not found:
        raise StepError(f"{where}: {text} holds no object; correct `path`")
    return _copy_all(files, {one.path[len(place) + 1 :]: one for one in found}, target)


def fault_of(name: str) -> str:
    """Why no file below a folder can be called so, "" where one can; `name` as it is in the bucket, parts between slashes."""
    parts = name.split("/")
    if ".." in parts or "." in parts:
        return "would lead out of its folder (a part is `..` or `.`)"
    if "" in parts:
        return "has an empty part (a slash at its beginning, or two together)"
    if "\\" in name:
        return "holds a backslash, which some systems take for a slash"
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        return "holds a character that cannot be printed"
    if any(len(part.encode("utf-8", "surrogatepass")) > LONGEST_NAME for part in parts):
        return f"has a part of more than {LONGEST_NAME} bytes, which no file can be called"
    return ""


def _copy_all(files: Any, found: dict[str, Any], target: Path) -> Copy:
    """Copy the objects {name: info} into `target`, and remove from it what is none of them."""
    folders = {name[:end] for name in found for end in range(len(name)) if name[end] == "/"}
    refused = {name: fault_of(name) for name in found}
    refused |= {name: "is the folder of other objects too" for name in folders & found.keys() if not refused[name]}
    refused = {name: why for name, why in refused.items() if why}
    taken = found.keys() - refused.keys()
    _make_way(target, folder=True)
    for path in sorted(target.rglob("*"), reverse=True):  # what lies in a folder comes before it
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(target).as_posix() not in taken:
            path.unlink()
    for name in sorted(taken):
        try:
            _copy(files, found[name], target / name)
        except FileNotFoundError:  # also an object whose name ends in a slash: the client cannot ask for it
            refused[name] = "was gone, or ends in a slash, when it was to be copied"
    return Copy(target, tuple(sorted(refused.items())))


def _make_way(target: Path, folder: bool) -> None:
    """Remove what was copied there when it was a file and is a folder now, or the other way round."""
    if folder and target.is_file():
        target.unlink()
    elif not folder and target.is_dir():
        shutil.rmtree(target)


def _filesystem():  # type: ignore[no-untyped-def]
    from pyarrow import fs

    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    scheme, _, host = endpoint.rpartition("://")
    options = {"endpoint_override": host, "scheme": scheme or "https"} if endpoint else {}
    return fs.S3FileSystem(region=os.environ.get("AWS_REGION", "us-east-1"), **options)


def _copy(files, info, path: Path) -> None:  # type: ignore[no-untyped-def]
    time_s = info.mtime.timestamp()
    if path.is_file() and (path.stat().st_size, round(path.stat().st_mtime)) == (info.size, round(time_s)):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = var_folder() / "sources" / ".parts"  # not beside it: an object may be called like any neighbour
    parts.mkdir(exist_ok=True)
    part = parts / f"{hashlib.sha256(str(path).encode('utf-8', 'surrogatepass')).hexdigest()[:32]}.{os.getpid()}"
    try:
        with files.open_input_stream(info.path) as source, open(part, "wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        os.utime(part, (time_s, time_s))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
