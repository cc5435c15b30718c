"""A full disk is told with bytes and a way out, leaves no half artifact, and the next attempt succeeds."""

import errno
import json
import subprocess
import sys

import pytest

from legal_tasks import room

STEP = '''
"""Write a file."""
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from legal_tasks.step import Output, Runtime, main

VERSION = 1

@dataclass(frozen=True)
class Params:
    output: Annotated[Path, Output("folder")]
    size: Annotated[int, "bytes"] = 200000
    library: Annotated[bool, Runtime("fail in a library's own words")] = False

@dataclass
class Report:
    size: int

def run(params):
    (params.output / "first.bin").write_bytes(b"x" * 1000)
    try:
        (params.output / "second.bin").write_bytes(b"x" * params.size)
    except OSError:
        if params.library:
            raise RuntimeError("I/O error: No space left on device (os error 28)") from None
        raise
    return Report(params.size)

if __name__ == "__main__":
    sys.exit(main("write_a_file"))
'''


@pytest.fixture
def call(tmp_path, repository):
    (tmp_path / "write_a_file.py").write_text(STEP)

    def run(*options, limit=None):
        """Run the step in a shell whose files may hold `limit` blocks of 1024 bytes at most."""
        words = f"ulimit -f {limit}; " if limit else ""
        argv = [sys.executable, "-m", "write_a_file", "--store", str(tmp_path / "store"), *options]
        return subprocess.run(
            ["bash", "-c", words + 'exec "$@"', "bash", *argv],
            capture_output=True,
            text=True,
            env={
                "PYTHONPATH": f"{tmp_path}:{repository}",
                "PATH": "/usr/bin:/bin",
                "LEXLOOP_VAR": str(tmp_path / "var"),
                "LEXLOOP_RESULT": str(tmp_path / "note.json"),
            },
        )

    return run


@pytest.mark.parametrize("options", [(), ("--library",)])
def test_a_full_disk_is_told_with_bytes_and_leaves_nothing_half_made(call, tmp_path, options):
    done = call(*options, limit=100)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    # The first file's 1000 bytes and as much of the second as fitted into 100 blocks.
    assert "write_a_file needs about 103401 bytes" in done.stderr and "ulimit -f" in done.stderr and "make gc" in done.stderr
    assert json.loads((tmp_path / "note.json").read_text())["exit"] == 2
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    again = call(*options)
    assert again.returncode == 0 and json.loads(again.stdout.strip().split("\n")[-1])["report"] == {"size": 200000}


def test_the_need_is_that_of_the_largest_earlier_result(call):
    assert call("--size", "300000").returncode == 0
    done = call(limit=100)
    words = done.stderr.split("needs about ")[1]
    assert int(words.split()[0]) > 301000 and "largest earlier result" in words


def test_without_an_earlier_result_what_it_reads_is_the_guess(tmp_path):
    assert "clean needs about 5000 bytes (what it reads)" in room.explain("clean", tmp_path, 0, 5000)
    assert "clean needs about 6001 bytes" in room.explain("clean", tmp_path, 6000, 5000)


def test_other_errors_are_not_taken_for_a_full_disk():
    assert not room.is_full(OSError(errno.EACCES, "denied")) and not room.is_full(ValueError("28")) and not room.is_full(None)
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise KeyError("weights") from error
    except KeyError as error:
        assert room.is_full(error)
