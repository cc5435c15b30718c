"""Exact and near duplicates in Chinese."""

import random

import pytest

from legal_tasks.data import dedupe

pytest.importorskip("rensa")
CHARACTERS = "民法典规定当事人应当按照约定履行义务不得擅自变更或者解除合同违反承担赔偿责任法院依照证据判决支持请求驳回"


def made(count, size, seed=0):
    dice = random.Random(seed)
    return ["".join(dice.choices(CHARACTERS, k=size)) for _ in range(count)]


def edited(text, share, seed):
    dice = random.Random(seed)
    chars = list(text)
    for place in dice.sample(range(len(chars)), max(1, round(share * len(chars)))):
        chars[place] = "改"
    return "".join(chars)


def test_spaces_and_punctuation_do_not_hide_an_exact_duplicate():
    assert dedupe.exact_groups(["甲方应当付款。", "乙方交货", "甲方 应当，付款"]) == [[0, 2]]


def test_one_percent_edits_are_found_and_strangers_are_not():
    texts = made(150, 200)
    copies = [edited(text, 0.01, number) for number, text in enumerate(texts)]
    pairs = {(first, second) for first, second, _ in dedupe.near_pairs(texts + copies, 0.7)}
    assert pairs == {(number, number + 150) for number in range(150)}


def test_the_score_is_the_true_jaccard():
    texts = ["借款人未按照约定的期限返还借款的应当支付逾期利息", "借款人未按照约定的期限返还借款的应当支付利息"]
    [(_, _, score)] = dedupe.near_pairs(texts, 0.5)
    first, second = map(dedupe.grams, texts)
    assert score == len(first & second) / len(first | second)


def test_shared_boilerplate_is_no_duplicate():
    boiler = made(1, 150, 7)[0]
    assert not list(dedupe.near_pairs([boiler + part for part in made(5, 150, 8)], 0.7))
