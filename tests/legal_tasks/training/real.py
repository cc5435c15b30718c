"""Real consultations as records, read by the data phase's own code; and tokenizers to render them with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from legal_tasks.data.formats import from_fields
from legal_tasks.data.readers import unwrap

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SINGLE = ("legal_counsel_with_article_v2", "zixun_gpt4", "legal_advice")


def read(path: Path) -> list[dict[str, Any]]:
    """The records of one JSON file; every item must become one."""
    records = []
    for item in json.loads(path.read_text("utf-8")):
        fields = unwrap(item)
        fields = fields[0] if isinstance(fields, list) else fields
        record = from_fields({"fields": fields, "source": path.stem, "kind": "consultation"})
        if record is not None:
            records.append(asdict(record))
    return records


def dialogs(shared_data: Path) -> list[dict[str, Any]]:
    """The 241 dialogs of several turns."""
    return read(shared_data / "consultation" / "legal_counsel_multi_turn_with_article_v2.json")


def singles(shared_data: Path, count: int) -> list[dict[str, Any]]:
    """`count` single questions, evenly from the three files that hold them."""
    files = [read(shared_data / "consultation" / f"{name}.json") for name in SINGLE]
    share = -(-count // len(files))
    return [record for records in files for record in records[:share] if not record["history"]][:count]


def train_bpe(texts: list[str], size: int = 3000):
    """A byte-level BPE tokenizer with ChatML, as Qwen's: its merges may reach over what a template joins."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
    )
