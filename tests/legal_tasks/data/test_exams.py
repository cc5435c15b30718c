import datetime
import json
import re

import pytest

pytest.importorskip("cn2an")

from legal_tasks.data import collect  # noqa: E402
from legal_tasks.data.exams import normalise, split_of  # noqa: E402

LABELS = "exam/jec-qa_leak_probe.labels.csv"  # the truth about another file, no exam


def test_a_lawbench_question_with_its_options_in_the_line():
    fields = {"instruction": "请作答", "question": "合同效力如何？A:有效;B:无效;C:可撤销;D:待定。", "answer": "[正确答案]BC<eoa>"}
    item, _ = normalise(fields, "lawbench", 1)
    assert item["question"] == "合同效力如何？"
    assert item["options"] == {"A": "有效", "B": "无效", "C": "可撤销", "D": "待定。"}
    assert item["answer"] == ["B", "C"]


def test_lawbench_charges_and_articles_are_an_analysis():
    charges, _ = normalise({"instruction": "i", "question": "被告人盗窃并抢劫。", "answer": "罪名:盗窃;抢劫"}, "lawbench", 1)
    assert (charges["kind"], charges["reference"]["charges"]) == ("analysis", ["盗窃罪", "抢劫罪"])
    article, _ = normalise({"instruction": "i", "question": "被告人盗窃。", "answer": "法条:刑法第264条"}, "lawbench", 1)
    assert article["reference"]["articles"] == ["刑法 264"]


def test_a_lecard_query_asks_for_its_charges():
    item, _ = normalise({"path": "a.json", "ridx": 1, "q": "甲酒后驾车。", "crime": ["危险驾驶罪"]}, "lecard", 1)
    assert (item["kind"], item["reference"]["charges"]) == ("analysis", ["危险驾驶罪"])


def test_files_in_a_dev_folder_beside_others_are_examples():
    places = ["dev/law.csv", "test/law.csv"]
    assert [split_of(place, places) for place in places] == ["dev", "test"]
    assert split_of("dev/law.csv", ["dev/law.csv"]) == "test"


def test_every_exam_case_and_safety_file_is_read_as_the_manifest_counts_it(shared_data, tmp_path):
    manifest = (shared_data / "MANIFEST.md").read_text("utf-8")
    rows = re.findall(r"^\| ((?:exam|cases|safety)/\S+) \| \S+ \| (\d+) \|", manifest, re.M)
    expected = {name.replace("/", "_"): int(count) for name, count in rows if name != LABELS}
    names = {name.replace("/", "_"): name for name, _ in rows}
    spec = {
        "sources": [{"kind": "document", "path": str(shared_data / "MANIFEST.md"), "licence": "x"}],
        "licences": ["x"],
        "exams": [{"name": name, "path": str(shared_data / names[name])} for name in expected],
    }
    (tmp_path / "sources.yaml").write_text(json.dumps(spec))
    (tmp_path / "out").mkdir()
    day = datetime.date(2026, 11, 1)
    found = collect.run(collect.Params(output=tmp_path / "out", as_of=day, sources=str(tmp_path / "sources.yaml")))
    assert len(expected) == 19
    assert {name: row["kept"] for name, row in found.exams.items()} == expected
