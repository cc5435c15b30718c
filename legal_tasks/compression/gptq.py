"""Quantise to 4 bits by GPTQ (Frantar et al. 2023) with GPTQModel, and unpack such a checkpoint to dense weights.

Two variants: `act_order` takes the columns in the order of their activations (the specification's); vLLM refuses such
checkpoints, so the engine's variant orders whole groups only (act_group_aware), which its kernels can read.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legal_tasks.step import StepError

CONFIG = "quantize_config.json"


def quantise(
    model: Path,
    output: Path,
    chats: Sequence[Sequence[int]],
    *,
    act_order: bool,
    bits: int = 4,
    group_size: int = 128,
    damping: float = 0.05,
    device: str = "cpu",
    workers: int = 2,
) -> dict[str, float]:
    """Write a `gptq` checkpoint of the merged `model` to `output`, calibrated on token ids of whole chats.

    Returns the mean and the largest layer error as GPTQModel counts it. Layers whose input is not a multiple of
    `group_size` are refused, because engines read whole groups only.
    """
    check_shapes(model, group_size)
    os.environ["GPTQMODEL_CPU_WORKERS"] = str(max(2, workers))  # its loader takes two of them, on one processor too
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            _quantise(model, output, chats, act_order, bits, group_size, damping, device)
    except Exception:
        print(said.getvalue()[-4000:], flush=True)
        raise
    errors = _read_log(output / "quant_log.csv")
    (output / "quant_log.csv").unlink()
    _settle(model, output)
    return {"mean_layer_error": sum(errors) / len(errors), "largest_layer_error": max(errors)}


def _quantise(model: Path, output: Path, chats, act_order: bool, bits: int, group_size: int, damping: float, device: str) -> None:
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig

    config = QuantizeConfig(
        bits=bits,
        group_size=group_size,
        desc_act=act_order,
        act_group_aware=not act_order,
        damp_percent=damping,
        device=device,
        pack_impl="original",  # the default compiles a C++ extension at run time, which needs a compiler and 20 s
        offload_to_disk=False,
    )
    # float16 keeps three more bits of the embeddings than GPTQModel's choice on a CPU, bfloat16.
    loaded = GPTQModel.load(str(model), config, dtype=torch.float16, trust_remote_code=False)
    loaded.quantize([{"input_ids": list(ids), "attention_mask": [1] * len(ids)} for ids in chats], batch_size=8)
    loaded.save(str(output))


def check_shapes(model: Path, group_size: int) -> None:
    """StepError unless hidden and MLP size are multiples of the group size."""
    config = json.loads((model / "config.json").read_text("utf-8"))
    for name in ("hidden_size", "intermediate_size"):
        if config[name] % group_size:
            raise StepError(
                f"--group-size {group_size} does not divide the model's {name} {config[name]}: take 32, 64 or a base that fits"
            )


def _read_log(path: Path) -> list[float]:
    """The column `loss` of GPTQModel's log."""
    header, *lines = path.read_text("utf-8").splitlines()
    column = header.split(",").index("loss")
    return [float(line.split(",")[column]) for line in lines]


def _settle(model: Path, output: Path) -> None:
    """Give the checkpoint the merged model's own tokenizer and generation settings, and no trace of this machine."""
    from legal_tasks.training.merge import TOKENIZER_FILES

    for name in (*TOKENIZER_FILES, "generation_config.json"):
        if (model / name).is_file():
            shutil.copyfile(model / name, output / name)
        else:
            (output / name).unlink(missing_ok=True)
    for name in ("config.json", CONFIG):
        content = json.loads((output / name).read_text("utf-8"))
        content.pop("_name_or_path", None)
        settings = content.get("quantization_config", content)
        settings["meta"] = {key: value for key, value in settings["meta"].items() if "path" not in key}
        (output / name).write_text(json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n", "utf-8")


def quantisation(folder: Path) -> dict[str, Any]:
    """How the weights were quantised, from config.json or, as AutoGPTQ left it, quantize_config.json; {} if they are not."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if "quantization_config" in config:
        return config["quantization_config"]
    path = folder / CONFIG
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def unpack(folder: Path):
    """The model of a GPTQ checkpoint with dense float32 weights: scale x (code - zero), in the checkpoint's own numbers.

        Reads the layout that AutoGPTQ, GPTQModel, transformers and vLLM share: `qweight` (inputs / codes per int32,
        outputs), `qzeros` (groups, outputs / codes per int32), `scales` (groups, outputs), `g_idx` (inputs). Version 1
    (`checkpoint_format: gptq`) stores zero points less one. Raises StepError for another format.
    """
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    settings = quantisation(folder)
    version = settings.get("checkpoint_format", "gptq")
    if settings.get("quant_method", "gptq") != "gptq" or version not in ("gptq", "gptq_v2"):
        raise StepError(f"{folder} is quantised by {settings.get('quant_method')} {version}, not by GPTQ")
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    stored: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        stored |= load_file(path)
    weights = {}
    for name, tensor in stored.items():
        prefix, _, kind = name.rpartition(".")
        if kind == "qweight":
            packed = {key: stored[f"{prefix}.{key}"] for key in ("qweight", "qzeros", "scales", "g_idx")}
            weights[f"{prefix}.weight"] = dequantise(**packed, bits=settings["bits"], offset=version == "gptq")
        elif kind not in ("qzeros", "scales", "g_idx"):
            weights[name] = tensor.to(torch.float32)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    result = model.load_state_dict(weights, strict=False)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    if set(result.missing_keys) - tied or result.unexpected_keys:
        raise StepError(f"{folder} does not hold the model of its config.json: missing {result.missing_keys}")
    model.tie_weights()
    return model


def dequantise(qweight, qzeros, scales, g_idx, bits: int, offset: bool):
    """Dense weight of one linear layer, shape (outputs, inputs), float32."""
    import torch

    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    mask = (1 << bits) - 1
    codes = ((qweight[:, None, :] >> shifts[None, :, None]) & mask).reshape(-1, qweight.shape[1])
    zeros = ((qzeros[:, :, None] >> shifts[None, None, :]) & mask).reshape(qzeros.shape[0], -1)
    zeros = zeros + int(offset)
    group = g_idx.long()
    return (scales.float()[group] * (codes - zeros[group]).float()).T.contiguous()
