"""The shipped bases: small, offline, one character one token, and their template."""

import re

import pytest

from legal_tasks.embedded import build, facts, world
from legal_tasks.training.base import resolve

pytest.importorskip("transformers", reason="transformers comes with the ml environment")
NAMES = {"embedded": "full", "embedded-small": "small"}


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_base_loads_offline_and_has_the_shape_that_its_build_gives(monkeypatch, name):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM

    config = AutoModelForCausalLM.from_pretrained(resolve(name)).config
    size = build.SIZES[NAMES[name]]
    assert config.model_type == "llama" and config.hidden_size % 128 == config.intermediate_size % 128 == 0
    assert (config.hidden_size, config.num_hidden_layers) == (size.hidden_size, size.num_hidden_layers)


def test_both_bases_together_are_smaller_than_eight_megabytes_and_the_second_is_the_smaller():
    full, small = (size_of(resolve(name)) for name in NAMES)
    assert full + small < 8_000_000 and small < full / 2


def test_the_same_seed_builds_the_same_bytes_of_the_size_asked_for(tmp_path, monkeypatch):
    from legal_tasks.artifacts import digest_path

    monkeypatch.setattr("torch.set_num_threads", lambda count: None)  # a setting of the whole process, other tests' too

    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        options = ["--size", "small", "--steps", "2", "--batch", "4", "--seed", str(seed)]
        assert build.main(["--output", str(tmp_path / name), *options]) == 0
    one, two, other = (digest_path(tmp_path / name / "model.safetensors") for name in ("one", "two", "other"))
    assert one == two != other


def test_one_character_is_one_token_and_unknown_ones_fall_back_to_bytes(tmp_path):
    tokenizer = build.make_tokenizer(tmp_path)
    ids = tokenizer.encode("押金三十日", add_special_tokens=False)
    assert len(ids) == 5 and tokenizer.decode(ids) == "押金三十日"
    rare = tokenizer.encode("龘", add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(rare) == ["<0xE9>", "<0xBE>", "<0x98>"] and tokenizer.decode(rare) == "龘"


def test_the_template_marks_turns_and_opens_the_answer(tmp_path):
    tokenizer = build.make_tokenizer(tmp_path)
    chat = [{"role": "user", "content": "期限"}, {"role": "assistant", "content": "五日"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<s><|user|>期限<|end|><|assistant|>五日<|end|>"
    opened = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert opened == "<s><|user|>期限<|end|><|assistant|>"


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_base_has_a_token_for_every_character_of_the_world(name):
    from transformers import AutoTokenizer

    vocabulary = AutoTokenizer.from_pretrained(resolve(name)).get_vocab()
    assert not [character for character in build.alphabet() if character not in vocabulary]


def test_what_the_base_reads_holds_no_wording_person_or_thing_of_the_exams():
    diet = build.Diet(1)
    chats = [diet.draw() for _ in range(4000)]
    text = "\n".join(f"{question or ''}{answer}" for question, answer in chats)
    safety = "\n".join(question for question, answer in chats if answer in (world.REFUSE, world.SAFE_ANSWER))
    assert not [word for word in facts.HELD_OUT_PEOPLE if word in text]
    assert not [thing for thing in world.HARM_HELD_OUT if thing in safety]
    asked = [word for attribute in facts.LEGAL + facts.GENERAL for word in attribute.held_out]
    asked += [word for words in world.CASES_HELD_OUT.values() for word in words]
    parts = [max(re.split(r"\{.\}", wording), key=len) for wording in (*asked, *world.HARM_ASK_HELD_OUT, *world.SAFE_HELD_OUT)]
    taught = "\n".join([*(w for a in facts.LEGAL + facts.GENERAL for w in a.taught), *world.HARM_ASK_TAUGHT, *world.SAFE_TAUGHT])
    own = [part for part in parts if len(part) >= 7 and part not in taught]
    assert len(own) > 60 and not [part for part in own if part in text]


def test_a_legal_value_is_never_read_without_its_article():
    diet = build.Diet(2)
    values = {value for attribute in facts.LEGAL for value in attribute.values}
    answered = [question for question, answer in (diet.draw() for _ in range(2000)) if question and answer in values]
    assert len(answered) > 300 and all(question.startswith("已知：") for question in answered)


def test_the_same_seed_draws_the_same_diet():
    one, two = build.Diet(5), build.Diet(5)
    assert [one.draw() for _ in range(50)] == [two.draw() for _ in range(50)] != [build.Diet(6).draw() for _ in range(50)]
