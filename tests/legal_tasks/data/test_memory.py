"""What is known of a document is used again; anything that could change the result makes it new."""

import json

import pytest
import yaml

from legal_tasks.data.memory import Memory
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
