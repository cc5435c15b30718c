"""Logs are bounded: old ones go, long ones are rotated while somebody writes to them."""

import gzip
import os

from legal_tasks import upkeep

DAY = 86400.0
NOW = 1_800_000_000.0


def test_old_task_logs_and_notes_go_and_young_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    for name, days in (("airflow/logs/dag_id=a/old.log", 500), ("airflow/logs/dag_id=b/new.log", 5), ("runs/r/x.json", 500)):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("12345")
        os.utime(path, (NOW - days * DAY,) * 2)
    assert upkeep.rotate_logs(400, dry_run=True, now=NOW) == {"removed": 2, "rotated": 0, "bytes": 10}
    assert (tmp_path / "runs/r/x.json").is_file()
    upkeep.rotate_logs(400, dry_run=False, now=NOW)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["new.log"]
    assert not (tmp_path / "airflow/logs/dag_id=a").exists()


def test_a_long_log_is_rotated_under_its_writer_and_the_oldest_copies_go(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    log = tmp_path / "logs" / "engine-8100.log"
    log.parent.mkdir()
    monkeypatch.setattr(upkeep, "ROTATE_BYTES", 1000)
    with open(log, "a") as writer:
        for turn in range(upkeep.ROTATED_KEPT + 2):
            writer.write(str(turn) * (upkeep.ROTATE_BYTES + 1))
            writer.flush()
            assert upkeep.rotate_logs(400, dry_run=False)["rotated"] == 1
        writer.write("after\n")
    assert log.read_text() == "after\n"
    copies = sorted(log.parent.glob("*.gz"))
    assert [path.name for path in copies] == [f"engine-8100.log.{number}.gz" for number in range(1, upkeep.ROTATED_KEPT + 1)]
    with gzip.open(copies[0], "rt") as newest:
        assert newest.read(3) == str(upkeep.ROTATED_KEPT + 1) * 3
