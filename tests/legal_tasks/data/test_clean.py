"""What is still personal after masking takes its item out of the training set, with the reason."""

import datetime
import json

import pytest

from legal_tasks.data import clean, statutes
from legal_tasks.data.privacy import valid_card
from legal_tasks.data.scan import scan
from legal_tasks.data.works import Items
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


LAW = "第一章 总则\n第一条　为了规范{0}的管理，制定本法。\n第二条　本法自{1}年3月1日起施行。\n"


def laws_of(tmp_path, files):
    """(laws, {file: (fate, detail)}) of files of a statute source."""
    source = {"kind": "statute", "source": "s", "licence": "own", "format": "txt"}
    rows = [{"id": f"i{n}", "locator": name, "text": text} | source for n, (name, text) in enumerate(files.items())]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    items = Items(tmp_path)
    laws = clean.read_laws(items)
    return laws, {items.read(work)["locator"]: (work.fate, work.detail) for work in items.works}


def test_laws_without_a_title_are_named_after_their_files_and_stay_apart(tmp_path):
    files = {"停车场法.txt": LAW.format("停车场", 2025), "公园法.txt": LAW.format("公园", 2025)}
    files |= {"a/law.txt": LAW.format("灯会", 2024), "b/law.txt": LAW.format("庙会", 2025), "law.txt": LAW.format("集市", 2023)}
    laws, fates = laws_of(tmp_path, files)
    assert sorted(law.name for law in laws) == sorted(["停车场法", "公园法", "a·law", "b·law", "law"])
    assert {fate for fate, _ in fates.values()} == {"reference"}


def test_a_statute_without_articles_is_set_aside_with_what_it_holds(tmp_path):
    files = {
        "灯会条例.txt": "灯会条例\n" + "为了规范灯会，依照本条例第三条的规定，制定本条例。灯会应当备案。\n" * 9,
        "目录.txt": "灯会条例\n目录\n第一条　目的\n第二条　定义\n第三条　施行\n",
        "灯会解答.txt": "关于灯会若干问题的解答\n2024年5月1日\n一、问：灯会要备案吗？\n答：要备案，向主管部门提出，"
        "并附举办的时间、地点和规模。\n二、问：何时备案？\n答：三日以前。\n",
    }
    laws, fates = laws_of(tmp_path, files)
    assert [(law.name, law.articles) for law in laws] == [("关于灯会若干问题的解答", {})] and "三日以前" in laws[0].whole
    assert fates["灯会解答.txt"] == ("reference", "")
    assert fates["灯会条例.txt"][0] == "no_articles" and "9 times inside sentences" in fates["灯会条例.txt"][1]
    assert fates["目录.txt"][0] == "no_articles" and "table of contents" in fates["目录.txt"][1]


def test_two_laws_of_one_file_have_their_own_articles_and_ids(tmp_path):
    text = "灯会条例\n" + LAW.format("灯会", 2024) + "\n集市办法\n" + LAW.format("集市", 2025)
    laws, _ = laws_of(tmp_path, {"x.txt": text})
    assert [(law.name, law.part, law.effective) for law in laws] == [("灯会条例", 0, "2024-03-01"), ("集市办法", 1, "2025-03-01")]
    items = Items(tmp_path)
    for work in items.works:
        work.fate = "reference"
    made = list(clean.article_records(statutes.Store(laws), items, datetime.date(2026, 1, 1), 100))
    assert len({record.provenance["id"] for record in made}) == len(made) == 4
