"""A random tiny Llama with one token per character, and records for it: what the tests of models share."""

from __future__ import annotations

import json
from pathlib import Path

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL = ["<unk>", "<s>", "<pad>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CHARACTERS = "▁租赁合同期限不得超过二十年吗是否可以解除甲乙法律规定民事责任违约金定金，。？：ABCD0123456789第条答案选择"


def make_tokenizer(plain_space: bool = False):
    """One token per character; a space is `▁`, as in SentencePiece, or a token of its own (`plain_space`)."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    characters = dict.fromkeys(CHARACTERS.replace("▁", " \n") if plain_space else CHARACTERS)
    words = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    model = models.BPE(
        vocab={word: number for number, word in enumerate(words)}, merges=[], unk_token="<unk>", byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    if plain_space:
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(word, normalized=False, special=True) for word in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="<|end|>",
        pad_token="<pad>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )


def make_base(
    folder: Path,
    hidden: int = 128,
    layers: int = 2,
    seed: int = 0,
    plain_space: bool = False,
    tied: bool = True,
    architecture: str = "llama",
) -> Path:
    """A random model of about half a million parameters, saved in float32, with its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = make_tokenizer(plain_space)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    AutoModelForCausalLM.from_config(config).float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_record(number: int) -> dict:
    """A question whose answer depends on it, so that training lowers the loss."""
    return {
        "instruction": f"第{number}条规定租赁合同期限不得超过{number % 7}年吗？",
        "input": "甲乙" if number % 2 else "",
        "output": f"是，第{number}条。" if number % 3 else f"否，可以解除，违约金{number}。",
        "source": "test",
        "category": "statute",
        "provenance": {"id": f"r{number}", "parent": None, "licence": "test", "derived": False},
    }


def make_split(folder: Path, training: int = 48, validation: int = 8) -> Path:
    """train.jsonl and validation.jsonl, as data.split leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, numbers in (("train", range(training)), ("validation", range(1000, 1000 + validation))):
        lines = [json.dumps(make_record(number), ensure_ascii=False) for number in numbers]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_exam(folder: Path, items: int = 24) -> Path:
    """legal_exam.jsonl in the normalised form, under exams/ as data.collect leaves it."""
    target = folder / "exams"
    target.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(items):
        options = {"A": f"第{number}条", "B": f"第{number + 1}条", "C": "解除", "D": "违约金"}
        item = {
            "id": f"e{number}",
            "suite": "legal_exam",
            "question": f"租赁合同期限{number}年，规定第几条？",
            "options": options,
            "answer": ["ABCD"[number % 4]],
            "category": "statute",
            "wording": "unseen",
            "template": f"t{number % 5}",
            "split": "test",
            "kind": "choice",
            "reference": None,
        }
        lines.append(json.dumps(item, ensure_ascii=False))
    (target / "legal_exam.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
