"""A base in memory, and its LoRA layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from legal_tasks.step import StepError
from legal_tasks.training import programs

SEPARATE = ("q_proj", "k_proj", "v_proj", "o_proj")
FUSED = ("query_key_value", "dense")  # q, k and v in one matrix, and o: ChatGLM, GPT-NeoX, Falcon


def load_base(folder: Path, device: str, max_length: int, quantise: str = "none", code: Mapping[str, str] | None = None):
    """(model, tokenizer): float32 on a CPU, bfloat16 (else the stored type) on a card, or four-bit.

    `code`: the base's own programs that may run, name -> sha256. StepError if its context is too short.
    """
    import torch

    kind: Any = torch.float32
    if device == "cuda":
        kind = torch.bfloat16 if torch.cuda.is_bf16_supported() else "auto"
    options = {"quantization_config": four_bit()} | {"device_map": {"": device}} if quantise == "nf4" else {}
    model = programs.load(folder, code or {}, kind, **options)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and max_length > context:
        raise StepError(f"--max-length {max_length} exceeds the base's context of {context} tokens; set --max-length {context}")
    model.config.use_cache = False
    if quantise == "nf4":
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return model, programs.tokenizer(folder, code or {})


def four_bit():
    """QLoRA's storage of the base: NF4 with doubly quantised scales; StepError without bitsandbytes."""
    import importlib.util

    import torch
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise StepError("--quantise nf4 needs bitsandbytes: pip install bitsandbytes, or take --quantise none")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
    )


def name_linear(model) -> set[str]:
    """The last words of the names of its linear layers: what `targets` chooses from."""
    import torch

    return {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


def map_targets(model, targets: tuple[str, ...]) -> tuple[str, ...]:
    """The specification's q, k, v, o in a base's own words: where it has none of them, but all three in one matrix."""
    linear = name_linear(model)
    if set(targets) != set(SEPARATE) or linear & set(SEPARATE) or FUSED[0] not in linear:
        return targets
    found = tuple(name for name in FUSED if name in linear)
    print(f"--targets {','.join(targets)}: this base has q, k and v in one matrix; adapted are {', '.join(found)}", flush=True)
    return found


def add_adapter(model, params):
    """The model with fresh LoRA layers on every linear layer named in `targets`."""
    from peft import LoraConfig, get_peft_model

    linear = name_linear(model)
    everything = params.targets == ("all-linear",)
    missing = [] if everything else [name for name in params.targets if name not in linear]
    if missing:
        raise StepError(f"--targets: the base has no layer {', '.join(missing)}; it has {', '.join(sorted(linear))}")
    config = LoraConfig(
        r=params.r,
        lora_alpha=params.alpha,
        lora_dropout=params.dropout,
        target_modules="all-linear" if everything else list(params.targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)
