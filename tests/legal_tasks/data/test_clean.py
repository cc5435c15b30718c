"""What is still personal after masking takes its item out of the training set, with the reason."""

import datetime
import json

import pytest

from legal_tasks.data import clean
from legal_tasks.data.privacy import valid_card
from legal_tasks.data.scan import scan
from legal_tasks.records import read_records

pytest.importorskip("rensa")


def test_an_item_whose_personal_data_the_masker_misses_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    # A card in a spelling that only the scan knows: six digits, a space, ten.
    card = next(f"622202 123456789{last}" for last in range(10) if valid_card(f"622202123456789{last}"))
    assert scan(f"卡{card}") == ["bank card"]
    folder, output = tmp_path / "items", tmp_path / "out"
    for path in (folder, folder / "exams", output):
        path.mkdir()
    rows = []
    for number, said in enumerate((f"把钱打到{card}，他不还。", "手机13812345678，他不还。")):
        fields = {
            "query": said + "甲乙"[number] * 30 + "我应该怎么办？",
            "response": f"可以向法院起诉，保留证据。情形{number}。" * 3,
        }
        row = {"id": f"q{number}", "kind": "consultation", "source": "s", "licence": "MIT", "locator": "q", "format": "json"}
        rows.append(row | {"fields": fields})
    (folder / "items.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    for name in ("set_aside.jsonl", "exam_questions.jsonl"):
        (folder / name).write_text("", "utf-8")
    report = clean.run(clean.Params(items=folder, output=output, as_of=datetime.date(2026, 11, 1)))
    assert report.records == {"in": 2, "used": 1, "reference": 0, "set_aside": {"personal_data": 1}, "derived": 0}
    assert report.hits["personal_data"] == 1 and report.personal_data == {"手机号": 1}
    assert [record.provenance["id"] for record in read_records(output / "records.jsonl")] == ["q1"]
    aside = json.loads((output / "set_aside.jsonl").read_text("utf-8"))
    assert (aside["id"], aside["reason"], aside["detail"]) == ("q0", "personal_data", "left after masking: bank card")
    assert aside["excerpt"] == ""
