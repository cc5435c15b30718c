"""Real chats: the tokens of training are those of serving, and exactly the answers are learned."""

import pytest

pytest.importorskip("transformers")

import jinja2.sandbox

from legal_tasks.compression.load import load_tokenizer
from legal_tasks.training import base, chat, rows
from tests.legal_tasks.training import real

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def records(shared_data):
    """{name: records} of the real data, read once."""
    return {"dialogs": real.dialogs(shared_data), "singles": real.singles(shared_data, 1000)}


@pytest.fixture(scope="module", params=["embedded", "byte-level BPE with ChatML"])
def tokenizer(request, records):
    if request.param == "embedded":
        return load_tokenizer(base.resolve("embedded"))
    return real.train_bpe([record["output"] for record in records["singles"]])


def served(tokenizer, turns, generation):
    """Token ids as an engine makes them: the template's text by jinja2 itself, encoded without adding special tokens."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(tokenizer.chat_template).render(messages=turns, add_generation_prompt=generation)
    return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


def test_all_dialogs_are_read_with_their_turns(records):
    assert len(records["dialogs"]) == 241 and len(records["singles"]) == 1000
    assert all(record["history"] for record in records["dialogs"])


@pytest.mark.parametrize("name", ["dialogs", "singles"])
def test_every_prefix_of_a_chat_has_the_tokens_of_serving(tokenizer, records, name):
    for record in records[name]:
        turns = chat.messages(record)
        for length in range(1, len(turns) + 1):
            generation = length % 2 == 1  # a prefix that ends with a question is what an engine is asked
            ours = chat.render(tokenizer, turns[:length], generation)
            assert ours == served(tokenizer, turns[:length], generation), record["instruction"]


@pytest.mark.parametrize("name", ["dialogs", "singles"])
def test_a_training_row_begins_with_every_prompt_that_serving_will_send(tokenizer, records, name):
    for record in records[name]:
        row = chat.labelled(tokenizer, record, 100_000)
        turns = chat.messages(record)
        for length in range(1, len(turns), 2):
            prompt = served(tokenizer, turns[:length], True)
            assert row["input_ids"][: len(prompt)] == prompt


@pytest.mark.parametrize("name", ["dialogs", "singles"])
def test_exactly_the_answers_with_their_end_tokens_are_learned(tokenizer, records, name):
    for record in records[name]:
        row = chat.labelled(tokenizer, record, 100_000)
        learned = [label for label in row["labels"] if label != chat.IGNORED]
        answers = [turn["content"] for turn in chat.messages(record)[1::2]]
        assert tokenizer.decode(learned) == "".join(answer + tokenizer.eos_token for answer in answers)
        assert learned.count(tokenizer.eos_token_id) == len(answers)
        assert all(a in (b, chat.IGNORED) for a, b in zip(row["labels"], row["input_ids"], strict=True))


def test_padding_is_never_a_label_in_a_batch_of_real_rows(tokenizer, records):
    made = [chat.labelled(tokenizer, record, 512) for record in records["dialogs"][:64]]
    tensors = rows.collate(made, tokenizer.pad_token_id)
    assert tensors["input_ids"].shape == tensors["labels"].shape
    for index, row in enumerate(made):
        assert (tensors["labels"][index, len(row["input_ids"]) :] == chat.IGNORED).all()
        assert tokenizer.pad_token_id not in tensors["labels"][index].tolist()
