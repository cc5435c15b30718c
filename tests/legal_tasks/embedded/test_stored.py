"""The stored exam table: what a retrain's report shows of it, and what it says when its makings have changed."""

import json

import pytest

from legal_tasks.artifacts import sha256_file
from legal_tasks.embedded import stored
from legal_tasks.retrain import print_summary

SUMMARY = {"metrics": {}, "decision": "released", "seconds": 1.0, "reasons": [], "airflow_run_url": "http://a"}
SUMMARY |= {"mlflow_run_url": None, "endpoint": None, "shortfalls": [], "production": None}


def write_result(path, **other):
    row = {"seed": 3, "lora": {"value": 0.9, "low": 0.85, "high": 0.95}, "base, best format": {"value": 0.25}}
    row |= {"case_analysis": {"lora": {"value": 0.8}}, "general change": {"value": -0.01}}
    result = {"date": "2026-01-02", "made_with": stored.made_with(), "table": [row]} | other
    path.write_text(json.dumps(result))
    return path


def test_the_report_shows_the_stored_table_with_date_and_digest(tmp_path, capsys):
    path = write_result(tmp_path / "exam.json")
    print_summary(SUMMARY | {"exam": stored.read(path)})
    said = capsys.readouterr().out.splitlines()
    title = next(number for number, line in enumerate(said) if line.startswith("embedded exam"))
    assert "2026-01-02" in said[title] and sha256_file(path)[:12] in said[title]
    assert said[title + 1].split()[:3] == ["seed", "base", "LoRA"]
    assert said[title + 2].split() == ["3", "0.250", "0.900", "0.850", "-", "-", "-", "0.800", "-0.010"]
    assert "changed since" not in "\n".join(said)


@pytest.mark.parametrize("part", ["base", "world", "settings"])
def test_a_table_made_with_something_else_says_what_has_changed(tmp_path, part):
    path = write_result(tmp_path / "exam.json", made_with=stored.made_with() | {part: "0" * 64})
    found = stored.read(path)
    assert found["changed"] == [stored.NAMES[part]]
    assert stored.lines(found)[-1].startswith(f"changed since: {stored.NAMES[part]};")


def test_without_a_stored_table_there_is_nothing_to_show(tmp_path, capsys):
    assert stored.read(tmp_path / "none.json") is None
    print_summary(SUMMARY | {"exam": None})
    assert "embedded exam" not in capsys.readouterr().out
