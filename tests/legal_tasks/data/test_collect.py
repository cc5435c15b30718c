"""Sources into items: ids by content, exams in one form, messages that name thing and way out."""

import datetime
import json
from pathlib import Path

import pytest
import yaml

from legal_tasks import artifacts
from legal_tasks.data import collect
from legal_tasks.step import StepError

DAY = datetime.date(2026, 11, 1)


def world(folder: Path, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "qa.json").write_text('{"instruction": "问？", "output": "答。"}\n{"instruction"\n', "gb18030")
    (folder / "exam.csv").write_text("input,output,A,B,C,D,source\n谁立法？,AB,甲,乙,丙,,x\n坏题,E,甲,乙,,,x\n", "utf-8-sig")
    content = {
        "sources": [{"kind": "instruction", "path": "qa.json", "licence": "MIT"}],
        "exams": [{"name": "e", "path": "exam.csv"}],
    }
    (folder / "sources.yaml").write_text(yaml.safe_dump(content | changes, allow_unicode=True), "utf-8")
    return folder / "sources.yaml"


def go(path, output):
    output.mkdir()
    return collect.run(collect.Params(output=output, as_of=DAY, sources=str(path)))


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").strip().split("\n")]


def test_items_and_what_is_broken(tmp_path):
    report = go(world(tmp_path / "w"), tmp_path / "o")
    assert report.items == {"in": 2, "collected": 1, "set_aside": {"broken": 1}}
    [item] = lines(tmp_path / "o" / "items.jsonl")
    assert item["fields"] == {"instruction": "问？", "output": "答。"} and item["format"] == "jsonl"
    [exam] = lines(tmp_path / "o" / "exams" / "e.jsonl")
    assert exam["options"] == {"A": "甲", "B": "乙", "C": "丙"} and exam["answer"] == ["A", "B"]
    questions = [(row["line"], row["question"], row["options"]) for row in lines(tmp_path / "o" / "exam_questions.jsonl")]
    assert questions == [(1, "谁立法？", ["甲", "乙", "丙"]), (2, "坏题", ["甲", "乙"])]
    assert report.exams["e"]["in"] == 2 and sum(report.exams["e"]["left_out"].values()) == 1


def test_a_renamed_file_gives_the_same_ids(tmp_path):
    path = world(tmp_path / "w")
    go(path, tmp_path / "one")
    (tmp_path / "w" / "qa.json").rename(tmp_path / "w" / "other.txt")
    go(world_yaml(path), tmp_path / "two")
    assert [i["id"] for i in lines(tmp_path / "one" / "items.jsonl")] == [
        i["id"] for i in lines(tmp_path / "two" / "items.jsonl")
    ]


def world_yaml(path):
    path.write_text(path.read_text("utf-8").replace("qa.json", "other.txt"), "utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sources": [{"kind": "case", "path": "absent.txt", "licence": "MIT"}]}, ["absent.txt", "correct `path`"]),
        ({"sources": [{"kind": "case", "path": "qa.json", "licence": "GPL"}]}, ["GPL", "licences"]),
        ({"sources": [{"kind": "law", "path": "qa.json", "licence": "MIT"}]}, ["law", "statute"]),
        ({"sources": [{"kind": "case", "path": "qa.json", "licence": "MIT", "colour": 1}]}, ["colour", "allowed"]),
        ({"exam": []}, ["exam", "exams"]),
        ({"exams": [{"name": "e", "path": "qa.json"}]}, ["the exam e", "correct `exams`"]),
    ],
)
def test_faults_are_named_with_a_way_out(tmp_path, changes, words):
    with pytest.raises(StepError) as caught:
        go(world(tmp_path / "w", **changes), tmp_path / "o")
    assert all(word in str(caught.value) for word in words)


def test_a_missing_yaml_and_a_binary_file(tmp_path):
    with pytest.raises(StepError, match="no such file"):
        collect.extra_inputs(collect.Params(output=tmp_path, as_of=DAY, sources=str(tmp_path / "none.yaml")))
    path = world(tmp_path / "w")
    (tmp_path / "w" / "qa.json").write_bytes(b"\x81\0\xfe\0\0\0\x90\r\0\0\1\0" * 9)
    with pytest.raises(StepError, match="convert it to UTF-8"):
        go(path, tmp_path / "o")


def test_every_named_file_enters_the_key(tmp_path):
    path = world(tmp_path / "w")
    named = collect.extra_inputs(collect.Params(output=tmp_path, as_of=DAY, sources=str(path)))
    assert {file.name for file in named.values()} == {"sources.yaml", "qa.json", "exam.csv"}


def test_an_absolute_glob_and_two_sources_of_one_name(tmp_path):
    entry = {"kind": "instruction", "licence": "MIT"}
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        text = json.dumps({"instruction": "问", "output": folder})
        (tmp_path / folder / "qa.json").write_text(text, "utf-8")
    paths = [str(tmp_path / "o*" / "*.json"), str(tmp_path / "two" / "qa.json"), "../one/qa.json"]
    path = world(tmp_path / "w", sources=[entry | {"path": part} for part in paths])
    report = go(path, tmp_path / "o")
    assert [(row["name"], row["in"]) for row in report.sources] == [("instruction", 1), ("qa", 1), ("qa-2", 1)]
    with pytest.raises(StepError, match="its own `name`"):
        go(world(tmp_path / "w", sources=[entry | {"path": part, "name": "x"} for part in paths]), tmp_path / "p")


def test_prompts_for_refusal_and_for_advice(tmp_path):
    from legal_tasks.data.exams import normalise

    kinds = {"unsafe": "refusal", "safe": "over_refusal"}
    assert {label: normalise({"id": "1", "prompt": "问", "label": label}, "x", 1)[0]["kind"] for label in kinds} == kinds
    assert normalise({"prompt": "能否？", "domain_en": "law", "domain_zh": "法"}, "x", 1)[0]["kind"] == "answer"


def test_questions_in_taught_words_are_not_kept_out(tmp_path):
    rows = [
        {"id": n, "kind": "choice", "question": f"问{n}？", "wording": w, "options": {"A": "甲", "B": "乙"}, "answer": ["A"]}
        for n, w in (("1", "seen"), ("2", "unseen"))
    ]
    path = world(tmp_path / "w", exams=[{"name": "e", "path": "own.jsonl"}])
    (tmp_path / "w" / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    go(path, tmp_path / "o")
    assert [row["line"] for row in lines(tmp_path / "o" / "exam_questions.jsonl")] == [2]
    assert len(lines(tmp_path / "o" / "exams" / "e.jsonl")) == 2


def own(name, path="own.jsonl", **other):
    return {"name": name, "path": path, **other}


def write_items(folder, name, *kinds):
    """An exam of ours with an item of each kind."""
    folder.mkdir(exist_ok=True)
    items = [
        {"id": str(n), "kind": kind, "question": f"问{n}？", "options": {"A": "甲", "B": "乙"}, "answer": ["A"]}
        for n, kind in enumerate(kinds)
    ]
    (folder / name).write_text("".join(json.dumps(item) + "\n" for item in items), "utf-8")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([own("cmmlu")], ["own.jsonl", "haonan-li/cmmlu", "another `name`"]),
        ([own("CMMLU")], ["own.jsonl", "haonan-li/cmmlu", "CMMLU"]),
        ([own("bar"), own("Bar", "other.jsonl")], ["own.jsonl", "other.jsonl", "one name"]),
        ([own("answers")], ["own.jsonl", "is ours"]),
        ([own("domain")], ["is ours", "another `name`"]),
        ([own("a/b")], ["a/b", "slash"]),
        ([own("..")], ["..", "dot"]),
        ([own("a\\b")], ["another `name`"]),
        ([own("a,b")], ["must not hold ,"]),
        ([own("refusal")], ["own.jsonl", "rules of its own", "kind refusal"]),
        ([own("mixed", "mixed.jsonl"), own("mixed-refusal", "other.jsonl", kind="refusal")], ["mixed.jsonl", "other.jsonl"]),
    ],
)
def test_names_of_exams_that_would_be_one_suite_are_refused_before_any_work(tmp_path, entries, words):
    path = world(tmp_path / "w", exams=entries)
    (tmp_path / "w" / "haonan-li" / "cmmlu").mkdir(parents=True)
    (tmp_path / "w" / "haonan-li" / "cmmlu" / "README.md").write_text("", "utf-8")
    for file in ("own.jsonl", "other.jsonl"):
        write_items(tmp_path / "w", file, "choice", "case")
    write_items(tmp_path / "w", "mixed.jsonl", "refusal", "over_refusal")
    with pytest.raises(StepError) as caught:
        go(path, tmp_path / "o")
    assert all(word in str(caught.value) for word in words), caught.value


def test_the_card_names_file_digest_and_count_and_is_no_part_of_the_content(tmp_path):
    import hashlib

    path = world(tmp_path / "w", exams=[own("cmmlu"), own("set", "several")])
    for file in ("own.jsonl", "several/one.jsonl", "several/two.jsonl"):
        write_items((tmp_path / "w" / file).parent, Path(file).name, "choice", "case")
    go(path, tmp_path / "o")
    card = json.loads((tmp_path / "o" / collect.CARD).read_text("utf-8"))
    digest = hashlib.sha256((tmp_path / "w" / "own.jsonl").read_bytes()).hexdigest()
    assert card["cmmlu"] == {"origin": "sources", "file": "own.jsonl", "digest": digest, "count": 2}
    assert (card["set"]["file"], card["set"]["count"]) == ("several", 4)
    assert collect.CARD.startswith(artifacts.CARD)


def test_the_embedded_worlds_exams_are_called_so(tmp_path):
    (tmp_path / "o").mkdir()
    collect.run(collect.Params(output=tmp_path / "o", as_of=DAY, seed=5))
    card = json.loads((tmp_path / "o" / collect.CARD).read_text("utf-8"))
    assert {part["origin"] for part in card.values()} == {"embedded"} and card["legal_exam"]["file"] == "exams/legal_exam.jsonl"


def test_sources_without_the_standing_exams_are_told_so(tmp_path, capsys):
    go(world(tmp_path / "w"), tmp_path / "o")
    assert "no exam is called general or refusal or over_refusal" in capsys.readouterr().out


def test_questions_that_want_an_article_are_of_kind_answer(tmp_path):
    rows = [
        {"question": "旅馆住宿由哪个机关主管？请注明条文。", "reference": {"articles": ["《中华人民共和国刑法》第二百七十一条"]}},
        {"id": "q", "kind": "answer", "question": "几日内备案？", "reference": {"articles": ["云州市经营活动管理条例 5"]}},
        {"question": "无法核对", "reference": {"articles": ["那一条"]}},
    ]
    path = world(tmp_path / "w", exams=[own("citations", "asked.jsonl")])
    (tmp_path / "w" / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    report = go(path, tmp_path / "o")
    kept = lines(tmp_path / "o" / "exams" / "citations.jsonl")
    assert [(item["id"], item["kind"], item["reference"]["articles"]) for item in kept] == [
        ("citations-1", "answer", ["刑法 271"]),
        ("q", "answer", ["云州市经营活动管理条例 5"]),
    ]
    assert all(not item["options"] and item["answer"] == [] for item in kept)
    [why] = report.exams["citations"]["left_out"]
    assert "names no article of a law" in why and "刑法 271" in why
    assert len(lines(tmp_path / "o" / "exam_questions.jsonl")) == 3


def test_what_costs_too_much_is_set_aside_with_its_evidence_and_the_month_goes_on(tmp_path):
    pytest.importorskip("docx")
    from tests.faults import _bombs

    entry = {"kind": "document", "licence": "MIT"}
    path = world(tmp_path / "w", sources=[entry | {"path": part} for part in ("many", "alone.docx")])
    (tmp_path / "w" / "many").mkdir()
    (tmp_path / "w" / "many" / "deep.jsonl").write_text('{"q": "甲", "a": "乙"}\n' + "[" * 200_000 + "\n", "utf-8")
    (tmp_path / "w" / "many" / "good.docx").write_bytes(_bombs.docx(_bombs.PARAGRAPH))
    (tmp_path / "w" / "many" / "wide.docx").write_bytes(_bombs.wide_table(10**8))
    (tmp_path / "w" / "alone.docx").write_bytes(_bombs.wide_table(10**8))
    report = go(path, tmp_path / "o")
    assert report.items == {"in": 5, "collected": 2, "set_aside": {"too_costly": 2, "too_deep": 1}}
    assert [(row["in"], row["collected"], row["set_aside"]) for row in report.sources] == [(4, 2, 2), (1, 0, 1)]
    rows = {row["locator"]: row["detail"] for row in lines(tmp_path / "o" / "set_aside.jsonl")}
    assert rows["deep.jsonl#line 2"].startswith("depth: 200,000")
    assert rows["wide.docx"] == rows["alone.docx"] == "expansion: a row of 100,000,000 columns, bound 10,000"


def test_a_file_that_is_too_large_to_be_read_as_a_whole_is_not_read(tmp_path):
    path = world(tmp_path / "w")
    with open(tmp_path / "w" / "qa.json", "r+b") as file:
        file.truncate(3 << 30)  # without blocks on disk
    report = go(path, tmp_path / "o")
    assert report.items == {"in": 1, "collected": 0, "set_aside": {"too_costly": 1}}
    [row] = lines(tmp_path / "o" / "set_aside.jsonl")
    assert "3,221,225,472 bytes, bound 2,147,483,648" in row["detail"] and "JSON Lines" in row["detail"]


def test_a_question_on_which_the_patterns_would_never_end_is_left_out(tmp_path, monkeypatch):
    from legal_tasks.data import costs

    monkeypatch.setattr(costs, "TEXT_S", 0.2)
    monkeypatch.setattr(costs, "TEXT_PER_MIB_S", 0)
    slow = {"question": "问", "answer": "A" + " " * 200_000 + "?"}
    rows = [{"question": "谁立法？\nA. 甲\nB. 乙", "answer": "A"}, slow]
    path = world(tmp_path / "w", exams=[{"name": "e", "path": "own.jsonl"}])
    (tmp_path / "w" / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    report = go(path, tmp_path / "o")
    assert report.exams["e"]["kept"] == 1, report.exams
