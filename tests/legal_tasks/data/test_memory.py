"""What is known of a document is used again; anything that could change the result makes it new."""

import json
import sqlite3
import time

import pytest
import yaml

from legal_tasks.data.memory import Memory, prune
from legal_tasks.data.prepare import prepare

pytest.importorskip("rensa")


def test_a_result_is_computed_once_per_context_and_content(tmp_path):
    calls = []

    def ask(context, content, document="d"):
        memory = Memory(tmp_path / "m.sqlite")
        value = memory.recall(document, context, content, lambda: calls.append(1) or {"n": [context, content]})
        memory.close()
        return value, memory.new

    assert ask("v1", "文")[1] == {"d"} and ask("v1", "文") == ({"n": ["v1", "文"]}, set())
    assert ask("v2", "文")[1] == {"d"} and ask("v1", "另文")[1] == {"d"} and len(calls) == 3


def test_two_runs_share_a_memory(tmp_path):
    one, other = Memory(tmp_path / "m.sqlite"), Memory(tmp_path / "m.sqlite")
    assert one.recall("d", "c", "文", lambda: 1) == other.recall("d", "c", "文", lambda: 1) == 1
    other.close()
    one.close()
    third = Memory(tmp_path / "m.sqlite")
    assert third.recall("d", "c", "文", lambda: 2) == 1
    third.close()


DAY = 86400.0


def month(path, started, *documents):
    """A run that needs these documents; when it began is written back, so that it was so long ago."""
    memory = Memory(path)
    for name in documents:
        memory.recall(name, "c", "文" * 100, lambda: "x" * 1000)
    run = memory.run
    memory.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE run SET started = ? WHERE number = ?", (started, run))
    return memory.new


def test_what_no_run_has_used_for_long_is_forgotten_and_the_newest_keeps_all_it_used(tmp_path):
    path, now = tmp_path / "m.sqlite", 1e9
    month(path, now - 200 * DAY, "a", "b")
    month(path, now - 100 * DAY, "b", "c")
    assert month(path, now - 95 * DAY, "c", "d") == {"d"}
    dry = prune(path, 90 * DAY, None, 3 * DAY, dry_run=True, now=now)
    assert prune(path, 90 * DAY, None, 3 * DAY, dry_run=False, now=now) == dry
    assert dry.removed == 2 and 2 * 1000 < dry.freed_bytes < 2 * 1100  # a and b; the newest run is as old as 90 days too
    assert month(path, now, "a", "b", "c", "d") == {"a", "b"}


def test_above_the_size_the_longest_unused_goes_first(tmp_path):
    path, now = tmp_path / "m.sqlite", 1e9
    for age, name in ((60, "a"), (50, "b"), (40, "c")):
        month(path, now - age * DAY, name)
    assert prune(path, 90 * DAY, 2500, 3 * DAY, dry_run=False, now=now).removed == 1
    assert prune(path, 90 * DAY, 0, 3 * DAY, dry_run=False, now=now).removed == 1
    assert month(path, now, "a", "b", "c") == {"a", "b"}


def test_what_a_run_under_way_has_used_stays(tmp_path):
    path, now = tmp_path / "m.sqlite", time.time()
    month(path, now - 200 * DAY, "a", "b")
    under_way = Memory(path)
    under_way.recall("a", "c", "文" * 100, lambda: "new")
    under_way._flush()
    month(path, now - 100 * DAY, "d")
    assert prune(path, 90 * DAY, 0, 3 * DAY, dry_run=False, now=now).removed == 1
    under_way.close()
    assert month(path, now, "a", "b", "d") == {"b"}


def test_a_file_of_an_earlier_version_is_taken_over(tmp_path):
    with sqlite3.connect(tmp_path / "m.sqlite") as connection:
        connection.execute("CREATE TABLE result (key BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID")
    assert month(tmp_path / "m.sqlite", 0.0, "a") == {"a"} and month(tmp_path / "m.sqlite", 0.0, "a") == set()


def sources(folder, answers):
    folder.mkdir(exist_ok=True)
    law = "# 河灯管理法\n\n2019年5月1日通过\n\n" + "".join(f"第{n}条 放灯{n * 7}。\n\n" for n in "一二三四")
    (folder / "law.md").write_text(law, "utf-8")
    for number in range(answers):
        row = {
            "query": f"第{number}次放灯应当注意什么？",
            "response": f"应当在{number}日内依法备案，电话1380000{number:04d}。" + "依" * number,
        }
        (folder / f"q{number}.json").write_text(json.dumps([row], ensure_ascii=False), "utf-8")
    entries = [
        {"kind": "statute", "path": "law.md", "licence": "MIT", "name": "law"},
        {"kind": "consultation", "path": "q*.json", "licence": "MIT", "name": "talks"},
    ]
    (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": entries}), "utf-8")
    return str(folder / "sources.yaml")


def test_next_month_only_new_documents_are_worked_on_and_the_bytes_are_those_of_a_run_from_scratch(tmp_path, monkeypatch):
    bounds = ["data.check.least_records=1", "data.split.validation=0.3", "data.check.drift_size=10"]

    def go(store, out, answers):
        monkeypatch.setenv("LEXLOOP_STORE", str(tmp_path / store))
        prepare(sources(tmp_path / "in", answers), tmp_path / out, None, overrides=bounds)
        [report] = [json.loads(p.read_text()) for p in (tmp_path / store / "data.clean").glob("*/report.json") if p not in seen]
        seen.update((tmp_path / store / "data.clean").glob("*/report.json"))
        return report["documents"]

    seen: set = set()
    assert go("kept", "first", 6) == {"new": 6, "known": 0}
    assert go("kept", "second", 8) == {"new": 2, "known": 6}
    assert go("fresh", "scratch", 8) == {"new": 8, "known": 0}
    for path in (tmp_path / "scratch").rglob("*.*"):
        if path.name != "report.json":
            assert path.read_bytes() == (tmp_path / "second" / path.relative_to(tmp_path / "scratch")).read_bytes(), path.name
