"""Records survive a round trip and bad lines are named."""

import pytest

from legal_tasks.records import Record, RecordError, read_records, write_records


def test_round_trip(tmp_path):
    records = [Record("问", "", "答", "s", "consultation", [["甲", "乙"]], {"id": "1"}), Record("q", "i", "a", "s", "general")]
    assert write_records(tmp_path / "r.jsonl", records) == 2
    assert list(read_records(tmp_path / "r.jsonl")) == records


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "line 1"),
        ('{"instruction": "a"}', "line 1"),
        ('{"instruction": "", "input": "", "output": "b", "source": "s", "category": "case"}', "instruction"),
        ('{"instruction": "a", "input": "", "output": "b", "source": "s", "category": "x"}', "category"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, named):
    (tmp_path / "r.jsonl").write_text(line + "\n")
    with pytest.raises(RecordError, match=named):
        list(read_records(tmp_path / "r.jsonl"))
