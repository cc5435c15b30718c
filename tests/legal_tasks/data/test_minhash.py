"""Candidates are what shares a band; their number is bounded, and so is the memory."""

import random

import pytest

pytest.importorskip("rensa")

from legal_tasks.data import minhash  # noqa: E402

TEXT = "借款人未按照约定的期限返还借款的，应当按照约定或者国家有关规定支付逾期利息。"
OTHER = "房屋租赁合同期满后承租人继续使用租赁房屋，出租人没有提出异议的，原合同继续有效。"


def test_the_candidates_of_a_text_stand_before_it():
    assert list(minhash.candidates([TEXT, OTHER, TEXT, "", TEXT, ""], 1)) == [(2, [0]), (4, [0, 2])]
    assert list(minhash.candidates([], 1)) == []


def test_a_bucket_gives_at_most_its_first_members():
    last = dict(minhash.candidates([TEXT] * (minhash.PER_BAND + 10), 1))[minhash.PER_BAND + 9]
    assert last == list(range(minhash.PER_BAND))


def test_texts_are_sketched_alike_whatever_is_sketched_with_them():
    dice = random.Random(1)
    long = ["".join(chr(0x4E00 + dice.randrange(20000)) for _ in range(120_000)) for _ in range(20)]  # over CHARACTERS in all
    assert list(minhash.candidates([TEXT, *long, OTHER, TEXT], 1)) == [(22, [0])]


def test_tokens_of_many_texts_are_kept_within_a_bound(monkeypatch):
    monkeypatch.setattr(minhash, "KEPT", 40)
    tokens = minhash.Tokens([TEXT, OTHER, TEXT])
    first = tokens[0].tolist()
    assert tokens[1].tolist() != first and tokens[2].tolist() == first == tokens[0].tolist()
    assert len(tokens.kept) == 1
