"""Sources in an S3 bucket: copied to a folder of this machine first, so that they are digested and read like any others.

Keys and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION); in Airflow
from the Connection lexloop_s3, see docs/airflow.md.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from legal_tasks.step import StepError, var_folder

SCHEME = "s3://"


def is_remote(text: str) -> bool:
    return text.startswith(SCHEME)


def fetch(text: str, where: str) -> Path:
    """The local copy of an object or of all objects below a prefix, brought up to date; StepError if there is none.

    Objects that are gone from the bucket are gone from the copy too. Two objects of one size and time are the same.
    """
    from pyarrow import fs

    place = text.removeprefix(SCHEME).strip("/")
    target = var_folder() / "sources" / place
    try:
        files = _filesystem()
        info = files.get_file_info(place)
        if info.type == fs.FileType.File:
            _copy(files, info, target)
            return target
        found = [one for one in files.get_file_info(fs.FileSelector(place, recursive=True)) if one.type == fs.FileType.File]
    except OSError as error:
        raise StepError(f"{where}: {text} cannot be read ({error}); check the AWS_* variables, the bucket and the key") from error
    if not found:
        raise StepError(f"{where}: {text} holds no object; correct `path`")
    names = {one.path[len(place) + 1 :] for one in found}
    for path in list(target.rglob("*")) if target.is_dir() else []:
        if path.is_file() and path.relative_to(target).as_posix() not in names:
            path.unlink()
    for one in found:
        _copy(files, one, _inside(target, one.path[len(place) + 1 :], where))
    return target


def _inside(target: Path, name: str, where: str) -> Path:
    path = target / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise StepError(f"{where}: the object {name!r} would be written outside its folder; rename it")
    return path


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
    part = path.with_name(path.name + ".part")
    with files.open_input_stream(info.path) as source, open(part, "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
    os.utime(part, (time_s, time_s))
    os.replace(part, path)
