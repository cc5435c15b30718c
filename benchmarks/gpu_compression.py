"""On a card: GPTQ of a randomly initialised 7B Llama in both variants, and what the quantised model answers with.

    make gpu-check                # GPU_CHECK_SIZE=tiny runs the same code on a CPU, to see that it runs

Tells seconds, peak memory and size of each variant, and tokens/s of greedy answers in transformers on the card, one request
and sixteen at once. vLLM is measured by `serving.prove` where its GPU image runs; here it is not.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_training import SIZES, make_tokenizer, wait

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "gpu_compression.json"
CHATS, LENGTH = {"7b": (128, 512), "tiny": (8, 32)}, {"7b": 256, "tiny": 8}  # calibration chats of so many tokens; answer
WIDE = {"hidden_size": 128, "intermediate_size": 256}  # GPTQ's groups of 128 must divide the widths


def write_model(size: str, folder: Path, device: str) -> int:
    """A Llama of random weights in bfloat16 with a tokenizer; returns its parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    shape = SIZES[size] | (WIDE if size == "tiny" else {})
    config = LlamaConfig(**shape, max_position_embeddings=4096, bos_token_id=1, eos_token_id=1, pad_token_id=0)
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    tokenizer = make_tokenizer(PreTrainedTokenizerFast, shape["vocab_size"])
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    return model.num_parameters()


def chats_of(size: str) -> list[list[int]]:
    import random

    chooser, (count, length) = random.Random(0), CHATS[size]
    return [[chooser.randrange(2, SIZES[size]["vocab_size"]) for _ in range(length)] for _ in range(count)]


def peak(device: str) -> float | None:
    """GiB of the card since the last reset; None on a CPU."""
    import torch

    return torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None


def reset(device: str) -> None:
    import gc

    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measure_variant(model: Path, output: Path, size: str, act_order: bool, device: str) -> dict[str, Any]:
    """Seconds, peak memory, size and mean layer error of one GPTQ variant."""
    from legal_tasks.compression.gptq import quantise

    reset(device)
    began = time.perf_counter()
    errors = quantise(model, output, chats_of(size), act_order=act_order, device=device, workers=len(os.sched_getaffinity(0)))
    wait(device)
    weights = sum(path.stat().st_size for path in output.glob("*.safetensors"))
    whole = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    return {
        "variant": "act-order" if act_order else "for vLLM",
        "seconds": round(time.perf_counter() - began, 1),
        "peak_gib": peak(device),
        "bytes": weights,
        "share_of_bfloat16": round(weights / whole, 4),
        "layer_errors": errors,
    }


def measure_answers(folder: Path, size: str, device: str) -> list[dict[str, Any]]:
    """Tokens/s of greedy answers at one request and at sixteen, prompts of a calibration chat's length."""
    import torch

    from legal_tasks.compression.load import load_model

    reset(device)
    model, _ = load_model(folder, "gptq", device)
    found = []
    for at_once in (1, 16):
        ids = torch.tensor((chats_of(size) * 16)[:at_once], device=device)
        settings = {"do_sample": False, "min_new_tokens": LENGTH[size], "max_new_tokens": LENGTH[size]}
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            model.generate(ids, attention_mask=mask, **settings | {"min_new_tokens": 1, "max_new_tokens": 4})
            wait(device)
            began = time.perf_counter()
            made = model.generate(ids, attention_mask=mask, **settings)
            wait(device)
        seconds = time.perf_counter() - began
        tokens = made[:, ids.shape[1] :].numel()
        found.append({"at_once": at_once, "tokens_per_s": round(tokens / seconds, 1), "peak_gib": peak(device)})
    return found


def main() -> int:
    import torch

    size = os.environ.get("GPU_CHECK_SIZE", "7b")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and size != "tiny":
        print("error: no usable card here; GPU_CHECK_SIZE=tiny runs the same code on a CPU", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="lexloop-gpu-") as name:
        folder = Path(name)
        parameters = write_model(size, folder / "model", device)
        reset(device)
        table = []
        for act_order in (True, False):
            row = measure_variant(folder / "model", folder / f"gptq-{act_order}", size, act_order, device)
            table.append(row)
            memory = f", {row['peak_gib']:.1f} GiB" if row["peak_gib"] is not None else ""
            print(f"GPTQ {row['variant']}: {row['seconds']} s{memory}, {row['bytes']} bytes ({row['share_of_bfloat16']:.1%})")
        answers = measure_answers(folder / "gptq-False", size, device)
    for row in answers:
        print(f"{row['at_once']} at once: {row['tokens_per_s']} tokens/s")
    if size == "7b":
        result = {"name": "gpu_compression", "comparisons": [], "parameters": parameters, "table": table, "answers": answers}
        result |= {"machine": {"card": torch.cuda.get_device_name(), "machine": platform.machine()}}
        result |= {"date": datetime.date.today().isoformat(), "command": "make gpu-check"}
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
