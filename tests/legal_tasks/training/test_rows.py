"""The order, the mix and the shape of training rows."""

from collections import Counter

import pytest

pytest.importorskip("transformers")

from legal_tasks.records import Record
from legal_tasks.step import StepError
from legal_tasks.training import rows
from legal_tasks.training.chat import IGNORED
from tests.legal_tasks.training.tiny import make_tokenizer


def test_the_order_gives_every_row_once_per_epoch():
    lengths = [number % 13 for number in range(100)]
    ordered = rows.order(lengths, range(100), 300, 8, seed=1)
    assert Counter(ordered) == dict.fromkeys(range(100), 3)
    assert ordered == rows.order(lengths, range(100), 300, 8, seed=1)
    assert ordered != rows.order(lengths, range(100), 300, 8, seed=2)


def test_a_batch_holds_rows_of_like_length():
    lengths = list(range(1, 401))
    ordered = rows.order(lengths, range(400), 400, 8, seed=0)
    spans = [max(batch) - min(batch) for batch in (ordered[start : start + 8] for start in range(0, 400, 8))]
    assert max(spans) == 7  # one window holds all 400 rows: eight neighbours each
    assert ordered[:8] != list(range(8))  # and the batches are shuffled


def test_the_mix_copies_categories_and_draws_fractions():
    categories = ["case"] * 10 + ["general"] * 10
    counts = Counter(rows.mix(categories, {"general": 2.5, "case": 0.3}, seed=0))
    assert sum(counts[number] for number in range(10)) == 3
    assert sorted(counts[number] for number in range(10, 20)) == [2] * 5 + [3] * 5
    assert rows.mix(categories, {}, seed=0) == list(range(20))


def test_a_bound_on_tokens_keeps_whole_updates():
    lengths = [10, 20, 30, 40, 50]
    assert rows.within([0, 1, 2, 3, 4], lengths, 100, 2) == [0, 1, 2, 3]
    assert rows.within([0, 1, 2, 3, 4], lengths, 99, 2) == [0, 1]
    assert rows.within([0, 1, 2, 3, 4], lengths, 150, 2) == [0, 1, 2, 3, 4]
    assert rows.within([4, 3, 2], lengths, 1, 2) == [4, 3]


def test_padding_is_never_a_label():
    tensors = rows.collate([{"input_ids": [1, 5, 6], "labels": [IGNORED, 5, 6]}, {"input_ids": [1], "labels": [IGNORED]}], pad=2)
    assert tensors["input_ids"].tolist() == [[1, 5, 6], [1, 2, 2]]
    assert tensors["labels"].tolist() == [[IGNORED, 5, 6], [IGNORED] * 3]


def test_a_question_that_fills_the_context_is_left_out_and_a_long_answer_cut():
    records = [
        Record("甲" * 20, "", "是", "test", "case"),
        Record("甲", "", "是" * 20, "test", "case"),
        Record("甲", "", "是", "test", "general"),
    ]
    found = rows.encode(make_tokenizer(), records, 12)
    assert found.left_out == {"question longer than max_length": 1}
    assert found.truncated == 1
    assert [len(row["input_ids"]) for row in found.rows] == [12, 7]
    assert found.categories == ["case", "general"]
    assert found.learned_tokens == 7 + 2  # twelve less the five of <s> user 甲 end assistant; 是 and its end


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"instruction": "甲"}\n', "utf-8")
    with pytest.raises(StepError, match="line 1"):
        rows.load(tmp_path / "train.jsonl")
    with pytest.raises(StepError, match="does not exist"):
        rows.load(tmp_path / "none.jsonl")
