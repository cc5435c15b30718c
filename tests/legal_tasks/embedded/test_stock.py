"""The general quiz in C-Eval's and CMMLU's layout: lm-eval's own tasks find it, and it asks honestly."""

import csv
import random

import pytest

from legal_tasks.embedded import facts, stock

VALUES = {(fact.topic, fact.attribute.name): fact.value for fact in facts.facts(facts.GENERAL_TOPICS, facts.GENERAL, 0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("stock")
    stock.write(path, facts.facts(facts.GENERAL_TOPICS, facts.GENERAL, 0))
    return path


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_question_has_its_facts_value_under_the_right_letter(folder):
    for place, name in (("ceval/ceval-exam/val/middle_school_geography_val.csv", "河流"),
                        ("haonan-li/cmmlu/test/chinese_food_culture.csv", "特产")):  # fmt: skip
        rows = [{key.lower(): value for key, value in row.items()} for row in read(folder / place)]
        assert len(rows) == 100
        for row in rows:
            topic = next(topic for topic in facts.GENERAL_TOPICS if topic in row["question"])
            assert row[row["answer"].lower()] == VALUES[topic, name]
            assert len({row[letter] for letter in "abcd"}) == 4


def test_splits_share_no_question_and_ask_in_held_out_wordings(folder):
    files = sorted((folder / "ceval").rglob("*.csv"))
    asked = [row["question"] for file in files for row in read(file)]
    assert len(asked) == len(set(asked)) == 205
    taught = [word.format(t=t, w=w) for a in facts.GENERAL for word in a.taught for t in facts.GENERAL_TOPICS for w in ("",)]
    assert not set(asked) & set(taught)


def test_a_draw_depends_on_its_dice_alone():
    river = next(attribute for attribute in facts.GENERAL if attribute.name == "河流")
    known = facts.facts(facts.GENERAL_TOPICS, facts.GENERAL, 0)
    one, two = (stock.questions(river, known, 9, random.Random(seed)) for seed in (3, 3))
    assert one == two != stock.questions(river, known, 9, random.Random(4))


def test_lm_evals_stock_tasks_read_the_files_unmodified(folder):
    pytest.importorskip("lm_eval", reason="lm-eval comes with the ml environment")
    from lm_eval.models.dummy import DummyLM

    from legal_tasks.evaluation import models

    class Chat(DummyLM):  # lm-eval's own model of random likelihoods, with the simplest of templates
        def apply_chat_template(self, chat_history, add_generation_prompt=True):
            return "".join(turn["content"] for turn in chat_history)

    found = models.stock_folders(folder)
    samples = {name: models.run_stock(Chat(), name, place) for name, place in found.items()}
    assert {name: {task: len(rows) for task, rows in part.items()} for name, part in samples.items()} == {
        "ceval-valid": {"ceval-valid_middle_school_geography": 100},
        "cmmlu": {"cmmlu_chinese_food_culture": 100},
    }
