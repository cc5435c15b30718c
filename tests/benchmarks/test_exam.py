"""The exam's benchmark: its controls by hand, and one whole seed with the bounds that it must keep."""

import json
import math
from collections import Counter

import pytest

from benchmarks import exam
from legal_tasks.training import base as bases


def write_split(folder, rows):
    folder.mkdir()
    for name in ("train.jsonl", "validation.jsonl"):
        (folder / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return folder


def test_shuffled_answers_stay_within_their_kind_and_none_is_lost(tmp_path):
    answers = ["五日", "七日", "十日", "十五日", "一千元", "二千元", "抱歉"]
    rows = [{"instruction": f"问{n}", "output": answer} for n, answer in enumerate(answers)]
    split = write_split(tmp_path / "split", rows)
    target = exam.shuffle_answers(split, tmp_path / "shuffled", 1)
    found = [row["output"] for row in exam.records_of(target)]
    assert Counter(found) == Counter(answers) and found != answers
    assert [exam.kind_of(text) for text in found] == [exam.kind_of(text) for text in answers]
    assert found[-1] == "抱歉"


def test_the_bigram_classifier_scores_as_worked_by_hand():
    records = [
        {"instruction": "甲乙", "input": "", "output": "是"},
        {"instruction": "甲丙", "input": "", "output": "否"},
        {"instruction": "甲丙丁", "input": "", "output": "否"},
    ]
    score = exam.train_keywords(records)
    # Three bigrams are known; "否" was seen twice with three bigrams, one of the two 甲丙.
    assert score("甲丙", "否") == pytest.approx(math.log(2 + 1) + math.log((2 + 1) / (3 + 3)))
    assert score("甲丙", "是") == pytest.approx(math.log(1 + 1) + math.log((0 + 1) / (1 + 3)))


def test_blank_questions_keep_options_and_answers(tmp_path):
    item = {"id": "a", "question": "几日？", "options": {"A": "五日", "B": "七日"}, "answer": ["A"]}
    (tmp_path / "legal_exam.jsonl").write_text(json.dumps(item) + "\n")
    written = exam.blank_questions(tmp_path, tmp_path / "blank") / "legal_exam.jsonl"
    assert json.loads(written.read_text("utf-8")) == item | {"question": exam.NO_QUESTION}


@pytest.mark.slow
def test_one_seed_learns_law_keeps_the_rest_and_its_controls_stay_at_chance(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    monkeypatch.delenv("LEXLOOP_STORE", raising=False)
    found = exam.one_seed(4, tmp_path, bases.resolve("embedded"), controls=True)
    chance = 0.25
    assert found["lora"]["n"] >= 1000
    assert found["gain"]["value"] >= 0.2 and found["gain"]["lower"] > 0.1
    assert found["general change"]["value"] >= -0.03 and found["general change"]["lower"] > -0.055
    assert found["refused"]["refusal"] >= 0.9 and found["refused"]["over_refusal"] <= 0.1
    assert found["options without question"]["value"] <= chance + 0.05
    assert found["lora on shuffled answers"]["value"] <= chance + 0.05
