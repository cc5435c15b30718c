"""Write a Llama model as GGUF (llama.cpp's file format) with 4-bit weights, tokenizer and chat template inside.

Only the `gguf` package is needed, and llama.cpp's quantiser for its K types. Linear layers become Q4_0 (blocks of 32
weights, one scale each), Q8_0 or float16; the token embedding, which is also the output layer where the two are tied,
becomes Q8_0 beside Q4_0; norms stay float32.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from legal_tasks.compression import kquants
from legal_tasks.step import StepError

BLOCK = 32  # weights per block of Q4_0 and Q8_0
SPACE = "▁"  # SentencePiece's mark for a space


KINDS = {"q4_0": ("Q4_0", "Q8_0"), "q8_0": ("Q8_0", "Q8_0"), "f16": ("F16", "F16")}  # of linear layers, of embeddings


def write(model: Path, output: Path, name: str, kind: str) -> Path:
    """As `convert`, and the kinds that only llama.cpp's own quantiser makes: from a float16 file that goes afterwards."""
    if kind not in kquants.KINDS:
        return convert(model, output, name, kind)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        return kquants.quantise(convert(model, Path(folder) / "f16.gguf", name, "f16"), output, kind)


def convert(model: Path, output: Path, name: str, kind: str = "q4_0") -> Path:
    """Write the merged `model` (a folder of LlamaForCausalLM) to the file `output`; return it. Raises StepError.

    `kind`: one of KINDS.
    """
    import gguf
    import numpy

    from legal_tasks.compression.load import load_tokenizer

    config = json.loads((model / "config.json").read_text("utf-8"))
    _check(config)
    tokenizer = load_tokenizer(model)
    writer = gguf.GGUFWriter(str(output), "llama")
    _write_shape(writer, config, name, kind)
    _write_tokenizer(writer, tokenizer, model, config["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for key, tensor in _tensors(model):
        target = names.get_name(key, try_suffixes=(".weight",))
        if target is None:
            raise StepError(f"{model}: llama.cpp's Llama has no tensor for {key}")
        if config.get("tie_word_embeddings") and key == "lm_head.weight":
            continue
        stored = _stored(target, tensor.shape, kind)
        data = _permute(key, tensor, config).astype(numpy.float32)
        writer.add_tensor(target, gguf.quants.quantize(data, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return output


def _check(config: dict[str, Any]) -> None:
    """StepError where this writer would write another function than the model computes."""
    if config.get("architectures") != ["LlamaForCausalLM"]:
        raise StepError(f"GGUF is written here for LlamaForCausalLM only, not for {config.get('architectures')}")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise StepError(f"GGUF: scaled rotary positions ({rope}) are not written here; use llama.cpp's own converter")
    if config.get("attention_bias") or config.get("mlp_bias"):
        raise StepError("GGUF: biases in the linear layers are not written here; use llama.cpp's own converter")


def _write_shape(writer, config: dict[str, Any], name: str, kind: str) -> None:
    import gguf

    heads = config["num_attention_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {}
    writer.add_name(name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(rope.get("rope_theta", config.get("rope_theta", 10000.0))))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{KINDS[kind][0]}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _write_tokenizer(writer, tokenizer, model: Path, size: int) -> None:
    """A vocabulary with byte fallback as llama.cpp's `llama` (SentencePiece) tokenizer.

    In SentencePiece's BPE the order of the vocabulary is the order of the merges, so a token's score is minus its
    number, and pieces join exactly where they did in the tokenizer. llama.cpp writes each space as SPACE before it looks
    a piece up, so a vocabulary with a plain space has it written as that.
    """
    import gguf

    from legal_tasks.training.chat import require_template

    content = json.loads((model / "tokenizer.json").read_text("utf-8"))
    kind = content["model"]
    if kind["type"] != "BPE" or not kind.get("byte_fallback"):
        raise StepError("GGUF: only vocabularies with byte fallback (<0x00> … <0xFF>) are written here, not byte-level BPE")
    special = {token["id"] for token in content["added_tokens"] if token["special"]}
    added = {token["id"]: token["content"] for token in content["added_tokens"]}
    words = {number: word for word, number in kind["vocab"].items()} | added
    tokens, scores, types = [], [], []
    plain_space = SPACE not in kind["vocab"] and tokenizer.tokenize(" ") == [" "]
    for number in range(size):
        word = words.get(number, f"[PAD{number}]")
        tokens.append((SPACE if plain_space and word == " " else word).encode())
        scores.append(-float(number))
        types.append(_token_type(number, word, special, added, words, kind.get("unk_token")))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types([gguf.TokenType(value) for value in types])
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
    ):
        if number is not None:
            add(number)
    plain = tokenizer("甲").input_ids
    writer.add_add_bos_token(bool(plain) and plain[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(tokenizer.tokenize("甲")[0].startswith("▁"))
    writer.add_chat_template(require_template(tokenizer))


def _token_type(
    number: int, word: str, special: set[int], added: dict[int, str], words: dict[int, str], unknown: str | None
) -> int:
    import gguf

    if number not in words:
        return gguf.TokenType.UNUSED
    if word == unknown:
        return gguf.TokenType.UNKNOWN
    if number in special:
        return gguf.TokenType.CONTROL
    if number in added:
        return gguf.TokenType.USER_DEFINED
    if len(word) == 6 and word.startswith("<0x") and word.endswith(">"):
        return gguf.TokenType.BYTE
    return gguf.TokenType.NORMAL


def _tensors(model: Path) -> Iterator[tuple[str, Any]]:
    """(name, float32 array) of every stored weight, in the order of their names."""
    from safetensors.torch import load_file

    for path in sorted(model.glob("*.safetensors")):
        for key, tensor in sorted(load_file(path).items()):
            yield key, tensor.float().numpy()


def _stored(target: str, shape: tuple[int, ...], kind: str):
    """How a tensor is stored: norms in float32, the rest as `kind` says."""
    import gguf

    kinds = gguf.GGMLQuantizationType
    if len(shape) == 1:
        return kinds.F32
    linear, embedding = KINDS[kind]
    if kind != "f16" and shape[-1] % BLOCK:
        raise StepError(f"GGUF: rows of {target} have {shape[-1]} weights, not a multiple of {BLOCK}: take another base")
    return kinds[embedding if target.startswith(("token_embd", "output.")) else linear]


def _permute(key: str, tensor, config: dict[str, Any]):
    """Rotary halves interleaved, as llama.cpp's Llama wants the rows of the query and key projections."""
    heads = config["num_attention_heads"]
    if key.endswith("k_proj.weight"):
        heads = config.get("num_key_value_heads") or heads
    elif not key.endswith("q_proj.weight"):
        return tensor
    rows, columns = tensor.shape
    return tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
