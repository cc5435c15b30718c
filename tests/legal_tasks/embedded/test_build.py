"""The shipped base: small, offline, one character one token, and its template."""

from pathlib import Path

import pytest

from legal_tasks.embedded import build

pytest.importorskip("transformers", reason="transformers comes with the ml environment")
BASE = Path(build.__file__).parent / "base"


def test_the_shipped_base_is_small_and_loads_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM

    if not (BASE / "model.safetensors").exists():
        pytest.skip(f"no base in {BASE}: make it with python -m legal_tasks.embedded.build --output {BASE.name}")
    assert sum(path.stat().st_size for path in BASE.rglob("*") if path.is_file()) < 8 * 2**20
    model = AutoModelForCausalLM.from_pretrained(BASE)
    assert model.config.model_type == "llama" and model.config.hidden_size % 128 == 0


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
