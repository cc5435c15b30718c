"""Round what goes into linear layers as llama.cpp's CPU kernels do, so that a GGUF file is evaluated as it is served.

llama.cpp multiplies quantised weights by inputs that it rounds first: beside Q4_0 and Q8_0 to 8 bits in blocks of 32 that
share a float16 scale (ggml's quantize_row_q8_0), beside K types to 8 bits in blocks of 256 (quantize_row_q8_K), beside
float16 to float16. The same rounding here only meets the same numbers where nothing else of the engine is rounded to half
precision: `keep_float32` says so to llama.cpp.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from legal_tasks.step import StepError

LEVELS = 127.0


def keep_float32(params: Any) -> None:
    """Let a llama.cpp server keep keys and values in float32 and read them without flash attention, which halves them.

    `params`: xllamacpp's CommonParams. The cache takes twice the memory.
    """
    import xllamacpp

    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED


def round_inputs(model: Any, file: Path) -> None:
    """Hook every linear layer of `model` (transformers' reading of the GGUF `file`). StepError for a type not known here."""
    import gguf
    import torch

    stored = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(str(file)).tensors}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    for name, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear):
            continue
        target = names.get_name(f"{name}.weight", try_suffixes=(".weight",))
        # An output layer that is tied to the embedding has no tensor of its own.
        kind = stored.get(target or "") or stored.get("token_embd.weight", "nothing")
        if kind not in BESIDE:
            raise StepError(f"{file}: {name} is stored as {kind}, whose arithmetic is not known here: {', '.join(BESIDE)} are")
        if BESIDE[kind] is not None:
            layer.register_forward_pre_hook(_hook(BESIDE[kind]))


def _hook(rounding: Any) -> Any:
    return lambda layer, inputs: (rounding(inputs[0]), *inputs[1:])


def q8_0(values: Any) -> Any:
    """Blocks of 32 along the last axis as 8-bit numbers times a float16 scale."""
    import torch

    blocks = values.reshape(-1, 32)
    largest = blocks.abs().amax(1, keepdim=True)
    inverse = torch.where(largest > 0, LEVELS / largest, 0.0)
    return (torch.round(blocks * inverse) * (largest / LEVELS).half().to(values.dtype)).reshape(values.shape)


def q8_k(values: Any) -> Any:
    """Blocks of 256 along the last axis as 8-bit numbers times a float32 scale."""
    import torch

    blocks = values.reshape(-1, 256)
    largest = blocks.abs().amax(1, keepdim=True)
    inverse = torch.where(largest > 0, LEVELS / largest, 0.0)
    return torch.where(largest > 0, torch.round(blocks * inverse) / inverse, 0.0).reshape(values.shape)


def f16(values: Any) -> Any:
    """The nearest float16."""
    return values.half().to(values.dtype)


BESIDE = {"Q4_0": q8_0, "Q5_0": q8_0, "Q8_0": q8_0, "Q4_K": q8_k, "Q5_K": q8_k, "Q6_K": q8_k, "F16": f16, "F32": None}
