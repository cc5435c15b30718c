"""Which tokens a record becomes, and which of them are learned."""

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from legal_tasks.step import StepError
from legal_tasks.training import chat
from tests.legal_tasks.training.tiny import TEMPLATE, make_tokenizer

NO = chat.IGNORED


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def words(tokenizer, ids):
    return tokenizer.convert_ids_to_tokens(ids)


def test_question_is_instruction_and_input_on_a_new_line():
    record = {"instruction": "甲", "input": "乙", "output": "是", "history": [["丙", "丁"]]}
    assert chat.messages(record) == [
        {"role": "user", "content": "丙"},
        {"role": "assistant", "content": "丁"},
        {"role": "user", "content": "甲\n乙"},
        {"role": "assistant", "content": "是"},
    ]
    assert chat.messages({"instruction": "甲", "input": "", "output": ""}) == [{"role": "user", "content": "甲"}]


def test_only_the_answer_and_its_end_token_are_learned(tokenizer):
    row = chat.labelled(tokenizer, {"instruction": "是否", "input": "", "output": "可以"}, 64)
    # every character of these is one token of the vocabulary
    assert words(tokenizer, row["input_ids"]) == [
        "<s>",
        "<|user|>",
        "是",
        "否",
        "<|end|>",
        "<|assistant|>",
        "可",
        "以",
        "<|end|>",
    ]
    learned = [
        word if label != NO else None for word, label in zip(words(tokenizer, row["input_ids"]), row["labels"], strict=True)
    ]
    assert learned == [None, None, None, None, None, None, "可", "以", "<|end|>"]
    assert [label for label in row["labels"] if label != NO] == row["input_ids"][6:]


def test_each_answer_of_a_dialog_is_learned_and_no_question(tokenizer):
    record = {"instruction": "甲", "input": "", "output": "否", "history": [["乙", "是"]]}
    row = chat.labelled(tokenizer, record, 64)
    # <s> user 乙 end assistant 是 end user 甲 end assistant 否 end
    assert words(tokenizer, [label for label in row["labels"] if label != NO]) == ["是", "<|end|>", "否", "<|end|>"]
    assert [number for number, label in enumerate(row["labels"]) if label != NO] == [5, 6, 11, 12]


def test_special_marks_written_by_a_user_are_not_learned(tokenizer):
    row = chat.labelled(tokenizer, {"instruction": "甲<|end|><|assistant|>乙", "input": "", "output": "是"}, 64)
    assert words(tokenizer, [label for label in row["labels"] if label != NO]) == ["是", "<|end|>"]


def test_text_after_the_end_token_is_not_learned(tokenizer):
    other = make_tokenizer()
    other.chat_template = TEMPLATE.replace("'<|end|>'", "'<|end|>\n'")
    row = chat.labelled(other, {"instruction": "甲", "input": "", "output": "是"}, 64)
    assert words(other, row["input_ids"])[-2:] == ["<|end|>", "<0x0A>"]
    assert row["labels"][-1] == NO and row["labels"][-2] == other.eos_token_id


def test_a_long_chat_loses_its_end(tokenizer):
    row = chat.labelled(tokenizer, {"instruction": "甲", "input": "", "output": "可以解除"}, 7)
    assert words(tokenizer, row["input_ids"])[5:] == ["可", "以"]
    assert len(row["labels"]) == 7


def test_the_prompt_of_a_question_is_the_beginning_of_its_finished_chat(tokenizer):
    turns = chat.messages({"instruction": "甲", "input": "", "output": "是"})
    prompt = chat.render(tokenizer, turns[:1], generation=True)
    assert chat.render(tokenizer, turns, generation=False)[: len(prompt)] == prompt


def test_a_template_that_never_ends_an_answer_is_refused():
    other = make_tokenizer()
    other.chat_template = TEMPLATE.replace("+ '<|end|>'", "")
    with pytest.raises(StepError, match="never learn to stop"):
        chat.labelled(other, {"instruction": "甲", "input": "", "output": "是"}, 64)


def test_a_template_with_another_prompt_is_refused():
    other = make_tokenizer()
    other.chat_template = TEMPLATE.replace("'<|assistant|>' }}{% endif", "'<|assistant|>甲' }}{% endif")
    with pytest.raises(StepError, match="another beginning"):
        chat.labelled(other, {"instruction": "乙", "input": "", "output": "是"}, 64)


def test_a_tokenizer_without_template_is_refused():
    other = make_tokenizer()
    other.chat_template = None
    with pytest.raises(StepError, match=r"chat_template\.jinja"):
        chat.template_hash(other)


def test_the_hash_names_the_template(tokenizer):
    assert chat.template_hash(tokenizer) == hashlib.sha256(TEMPLATE.encode()).hexdigest()


def test_the_template_of_chinese_llama_2_writes_its_turns_as_published():
    """Worked by hand from the prompt that Chinese-Alpaca-2 was trained on; only the first question carries the system text."""
    from legal_tasks.training.chat import messages

    other = make_tokenizer(plain_space=True)
    folder = Path(chat.__file__).parent / "templates"
    other.chat_template = (folder / "llama2_zh.jinja").read_text("utf-8")
    turns = messages({"instruction": "丙", "input": "", "output": "丁", "history": [["甲", "乙"]]})
    text = other.apply_chat_template(turns, tokenize=False)
    system = "You are a helpful assistant. 你是一个乐于助人的助手。"
    assert text == f"<s>[INST] <<SYS>>\n{system}\n<</SYS>>\n\n甲 [/INST]乙<|end|><s>[INST] 丙 [/INST]丁<|end|>"
    asked = other.apply_chat_template(turns[:3], tokenize=False, add_generation_prompt=True)
    assert text == asked + "丁<|end|>"
    other.chat_template = other.chat_template.replace("+ eos_token", "")
    with pytest.raises(StepError, match="never learn to stop"):
        chat.labelled(other, {"instruction": "甲", "input": "", "output": "乙"}, 64)
