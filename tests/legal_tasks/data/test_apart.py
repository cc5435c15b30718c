"""What a foreign file costs is bounded in its reader's own process, and costs that file alone."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from legal_tasks.data import apart, costs, documents
from tests.faults import _bombs

pytest.importorskip("docx")
pytest.importorskip("pypdf")
pytest.importorskip("pyarrow")
MIB = 1 << 20


def read(data: bytes, form: str, cpu_s: float = 60, memory: int = 1 << 30) -> list:
    return list(apart.read(io_file(data), len(data), form, apart.Bounds(cpu_s, memory)))


def io_file(data: bytes):
    import tempfile

    file = tempfile.TemporaryFile()
    file.write(data)
    file.flush()
    return file


def is_honest_read() -> bool:
    return read(_bombs.docx(_bombs.PARAGRAPH), "docx") == ["x"]


def idle() -> apart.Child:
    """The child that waits for the next file."""
    assert is_honest_read()
    [child] = apart._idle
    return child


def test_one_child_reads_file_after_file():
    first = idle().process.pid
    assert read(_bombs.page(_bombs.stream(b"BT /F 1 Tf (law) Tj ET")), "pdf") == ["law"]
    assert idle().process.pid == first
    with pytest.raises(documents.Unreadable, match="no whole PDF"):
        read(b"%PDF-1.4 cut off", "pdf")
    assert idle().process.pid == first


@pytest.mark.parametrize(
    ("form", "data", "words"),
    [
        ("docx", _bombs.paragraphs(1_500_000), "processor time: more than .* s, bound 1.0 s"),
        ("pdf", _bombs.repeated_page(500), "processor time: more than .* s, bound 1.0 s"),
    ],
)
def test_a_file_that_takes_too_long_is_told_with_bound_and_measure_and_costs_no_other(form, data, words):
    idle()
    with pytest.raises(costs.TooCostly, match=words) as caught:
        read(data, form, cpu_s=1)
    assert caught.value.reason == "too_costly"
    assert is_honest_read()


def test_a_file_that_takes_too_much_memory_is_told_with_its_bound():
    idle()
    with pytest.raises(costs.TooCostly, match="memory: more than 48 MiB, bound 48 MiB"):
        read(_bombs.paragraphs(400_000), "docx", memory=48 * MIB)
    assert is_honest_read()


@pytest.mark.parametrize(
    ("form", "data", "reason", "words"),
    [
        ("docx", _bombs.wide_table(10**8), "too_costly", "a row of 100,000,000 columns, bound 10,000"),
        ("docx", _bombs.nested_tables(200), "too_deep", "Excessive depth"),
        ("docx", _bombs.entities(), "too_costly", "entity amplification"),
        ("docx", _bombs.packed_part(1 << 26), "too_costly", "expansion: the parts of the DOCX are 67,.* bound 19,"),
        ("pdf", _bombs.deep_pages(), "too_costly", "page tree depth"),
        ("pdf", _bombs.character_map(), "too_costly", "ToUnicode"),
        ("parquet", _bombs.parquet_rows(200_000), "too_costly", "expansion: the rows are .* bound 16,777,216"),
    ],
)
def test_a_bound_of_expansion_or_depth_is_met_before_the_time_is_up(form, data, reason, words):
    with pytest.raises(costs.TooCostly, match=words) as caught:
        read(data, form)
    assert caught.value.reason == reason


def test_a_text_is_cut_off_where_it_becomes_too_long_for_an_item():
    text = b"<w:p><w:r><w:t>" + b"x" * 1_000_000 + b"</w:t></w:r></w:p>"
    with pytest.raises(costs.TooCostly, match="bound 5,000,000") as caught:
        read(_bombs.docx(text * 6), "docx")
    assert caught.value.reason == "too_long"


def test_a_child_that_somebody_else_ended_is_no_files_fault():
    idle().process.kill()
    assert is_honest_read()


def test_a_child_that_says_nothing_is_ended_by_the_clock(monkeypatch):
    child = idle()
    monkeypatch.setattr(apart, "WAIT", 0)
    monkeypatch.setattr(apart, "WAIT_S", 0.2)
    os.kill(child.process.pid, signal.SIGSTOP)
    with pytest.raises(costs.TooCostly, match="silent for 0.2 s of the clock"):
        read(_bombs.docx(_bombs.PARAGRAPH), "docx")
    assert child.process.returncode == -signal.SIGKILL


def test_rows_that_nobody_wants_any_more_end_their_child():
    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"q": [str(n) * 100 for n in range(20_000)]}), out)
    rows = apart.read(io_file(out.getvalue()), len(out.getvalue()), "parquet")
    assert next(rows) == {"q": "0" * 100}
    rows.close()
    assert apart._idle == [] and is_honest_read()


def test_the_child_gets_no_secret_of_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("LEXLOOP_REWRITE_KEY", "hidden")
    apart.close()
    environment = Path(f"/proc/{idle().process.pid}/environ").read_bytes()
    assert b"hidden" not in environment and b"PATH=" in environment


def test_the_child_ends_with_its_parent(repository):
    code = (
        "import os, signal\nfrom tests.legal_tasks.data.test_apart import idle\n"
        "print(idle().process.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=repository)
    child, deadline = int(done.stdout), time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.05)
