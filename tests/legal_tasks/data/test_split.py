"""Relatives stay together, the choice is the same each time, and what leaks is counted."""

import random

import pytest

from legal_tasks.data import dedupe, split
from legal_tasks.records import Record, write_records

pytest.importorskip("rensa")


def record(question, answer, parent="p", category="consultation"):
    return Record(question, "", answer, "s", category, provenance={"id": question, "parent": parent})


def stored(tmp_path, *records):
    write_records(tmp_path / "records.jsonl", records)
    return split.Stored(tmp_path / "records.jsonl")


def words(seed, size=80):
    return "".join(
        chr(0x4E00 + random.Random(seed).randrange(4000)) if place else "问"
        for place, seed in enumerate(range(seed, seed + size))
    )


def test_records_of_one_parent_one_question_or_nearly_one_text_are_one_group(tmp_path):
    text = words(1)
    records = stored(
        tmp_path,
        record("甲？", words(1000), "one"),
        record("乙？", words(2000), "one"),
        record("丙？", words(3000), "two"),
        record(" 丙 ?", words(4000), "three"),
        record("丁？", text, "four"),
        record("丁？", "误" + text[1:], "five"),
        record("戊？", words(5000), "six"),
    )
    assert split.group(records, 0.7) == [[0, 1], [2, 3], [4, 5], [6]]


def test_whole_groups_are_chosen_per_category_and_large_ones_stay_in_train(tmp_path):
    records = stored(tmp_path, *(record(f"{n}", "答", category=c) for c in ("case", "contract") for n in range(10)))
    groups = [[0, 1, 2, 3], *([n] for n in range(4, 20))]
    chosen = split.choose(records, groups, 0.2, 0)
    assert len([n for n in chosen if n < 10]) == 2 and len(chosen) == 4 and not chosen & {0, 1, 2, 3}
    assert chosen == split.choose(records, groups, 0.2, 0) != split.choose(records, groups, 0.2, 1)


def test_a_question_that_stands_in_both_is_a_leak_however_often():
    train = [record("甲？", "一"), record("甲？", "二"), record("乙？", "三")]
    assert split.exact_leaks(train, [record("甲？", "四"), record("甲？", "五"), record("丙？", "六")]) == 2


def test_near_leaks_are_those_that_true_jaccard_finds():
    dice, letters = random.Random(4), "民法典规定当事人应当按照约定履行义务"
    train = ["".join(dice.choices(letters, k=120)) for _ in range(30)] + ["短"]
    held = ["".join(dice.choice("误错") if dice.random() < 0.04 else char for char in text) for text in train[:20]] + ["短", "长"]
    expected = sum(any(dedupe.jaccard(dedupe.grams(one), dedupe.grams(other)) >= 0.7 for other in train) for one in held)
    assert split.near_leaks(train, held, 0.7) == expected and 1 < expected < len(held)


def test_of_many_validation_records_a_fixed_sample_is_measured(monkeypatch):
    assert split.sample({5, 1, 9}, 0) == [1, 5, 9]
    monkeypatch.setattr(split, "MEASURED", 10)
    some = split.sample(set(range(1000)), 0)
    assert len(some) == 10 and some == sorted(some) == split.sample(set(range(1000)), 0) != split.sample(set(range(1000)), 1)
