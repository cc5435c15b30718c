"""A base that brings programs of its own (`glm/`): what the tests of the allow-list train, merge and spoil."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from tests.legal_tasks.training.tiny import CHARACTERS, SPECIAL, TEMPLATE

PROGRAMS = Path(__file__).parent / "glm"
MODEL = {
    "AutoConfig": "configuration_tiny_glm.TinyGlmConfig",
    "AutoModelForCausalLM": "modeling_tiny_glm.TinyGlmForConditionalGeneration",
}
TOKENIZER = {"AutoTokenizer": ["tokenization_tiny_glm.TinyGlmTokenizer", None]}


def hashes(folder: Path) -> dict[str, str]:
    """What `sha256sum *.py` says there."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.py"))}


def make_remote_base(folder: Path) -> dict[str, str]:
    """A base of random weights with its programs in `folder`; their hashes."""
    import torch

    from legal_tasks.training import programs

    shutil.copytree(PROGRAMS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    words = [*SPECIAL, *dict.fromkeys(CHARACTERS + " \n")]
    (folder / "vocab.json").write_text(
        json.dumps({word: number for number, word in enumerate(words)}, ensure_ascii=False), "utf-8"
    )
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    decoder = {str(i): {"content": word, "special": True, "normalized": False} for i, word in enumerate(SPECIAL)}
    values = {
        "tokenizer_class": "TinyGlmTokenizer",
        "auto_map": TOKENIZER,
        "added_tokens_decoder": decoder,
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "<|end|>",
        "pad_token": "<pad>",
        "model_max_length": 256,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(values), "utf-8")
    listed = hashes(folder)
    classes = programs.load_classes(folder, listed, MODEL)
    torch.manual_seed(0)
    config = classes["AutoConfig"](padded_vocab_size=len(words), eos_token_id=3, pad_token_id=2, bos_token_id=1)
    classes["AutoModelForCausalLM"](config).float().save_pretrained(folder)
    content = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(content | {"auto_map": MODEL}), "utf-8")
    return listed
