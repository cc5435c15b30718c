"""A step's inputs as MLflow's datasets: rows, place and the whole digest."""

import json

from legal_tasks.tracking import datasets


def test_rows_are_counted_in_files_and_taken_from_the_report_of_a_data_step(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
    assert datasets.rows_of(tmp_path / "a.jsonl") == 2
    (tmp_path / "b.jsonl").write_text('{"a": 3}')
    assert datasets.rows_of(tmp_path) == 3
    split = tmp_path / "split"
    split.mkdir()
    (split / "manifest.json").write_text(json.dumps({"step": "data.split", "digest": "x"}))
    (split / "report.json").write_text(json.dumps({"train": 90, "validation": 10}))
    assert datasets.rows_of(split) == 100
    (tmp_path / "config.json").write_text("{}")
    assert datasets.rows_of(tmp_path / "config.json") is None


def test_an_input_says_where_it_lies_and_who_made_it(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"step": "data.clean"}))
    (tmp_path / "report.json").write_text(json.dumps({"written": 7}))
    found = datasets.describe({"records": "f" * 64, "gone": "e" * 64}, {"records": tmp_path})
    assert found["records"] == {"digest": "f" * 64, "uri": str(tmp_path), "step": "data.clean", "rows": 7}
    assert found["gone"] == {"digest": "e" * 64, "uri": None, "step": None, "rows": None}
