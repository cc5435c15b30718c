"""On a card: LoRA and QLoRA of a randomly initialised 7B Llama, joined rows of 2,048 tokens, against TRL's defaults.

    make gpu-check                # GPU_CHECK_SIZE=tiny runs the same code on a CPU, to see that it runs

Tells tokens/s, the share of the card's matrix peak as measured in the same run, and the most memory taken. The floating
point operations of a token are 4 per weight of the base (forward, and backward to the activations: frozen weights get no
gradient) and 6 per weight of the adapter.
"""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "gpu_training.json"
SIZES = {
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    },
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 512},
}
ROWS, STEPS, WARM = 4, 20, 5  # rows per joined batch, measured and unmeasured steps


def matrix_peak(device: str, size: int) -> float:
    """Floating point operations per second of a large bfloat16 matrix product, the best of five."""
    import torch

    a, b = (torch.randn(size, size, dtype=torch.bfloat16, device=device) for _ in range(2))
    best = 0.0
    for _ in range(5):
        wait(device)
        started = time.perf_counter()
        for _ in range(10):
            a @ b
        wait(device)
        best = max(best, 10 * 2 * size**3 / (time.perf_counter() - started))
    return best


def wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def make_model(size: str, device: str, quantised: bool) -> Any:
    """Random weights in bfloat16, or in NF4 (through a folder, because bitsandbytes quantises what it loads)."""
    import tempfile

    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    from legal_tasks.training.model import four_bit

    torch.manual_seed(0)
    config = LlamaConfig(**SIZES[size], max_position_embeddings=16384)
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    model.config.use_cache = False
    if not quantised:
        return model
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        del model
        options = {"quantization_config": four_bit(), "device_map": {"": device}}
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **options)


def rows_of(size: str, length: int, count: int) -> list[dict[str, list[int]]]:
    """Random rows of legal-answer shape: a quarter question, the rest learned."""
    import random

    chooser, words = random.Random(0), SIZES[size]["vocab_size"]
    rows = []
    for _ in range(count):
        ids = [chooser.randrange(words) for _ in range(length)]
        rows.append({"input_ids": ids, "labels": [-100] * (length // 4) + ids[length // 4 :]})
    return rows


def measure_ours(model: Any, size: str, device: str, length: int) -> dict[str, float]:
    """Our loss on joined rows: ROWS rows that share one batch of `length` tokens."""
    import torch

    from legal_tasks.training import lora, rows
    from legal_tasks.training import trainer as loop

    params = lora.Params(REPOSITORY, REPOSITORY)
    model = lora.add_adapter(model, params)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    batch = {n: t.to(device) for n, t in rows.join(rows_of(size, length // ROWS, ROWS)).items()}

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = loop.answer_loss(model, **batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return timed(step, device, length) | {"trained": sum(p.numel() for p in model.parameters() if p.requires_grad)}


def timed(step: Any, device: str, tokens: int) -> dict[str, float]:
    import torch

    for _ in range(WARM):
        step()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    wait(device)
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    wait(device)
    seconds = time.perf_counter() - started
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return {"tokens_per_s": STEPS * tokens / seconds, "peak_gib": memory}


def measure_trl(model: Any, size: str, device: str, length: int) -> dict[str, float]:
    """TRL's SFTTrainer with what it does by default (one row after the other padded, its own LoRA defaults replaced by ours)."""
    import tempfile

    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    per = length // ROWS
    rows = rows_of(size, per, ROWS * (WARM + STEPS))
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            folder,
            per_device_train_batch_size=ROWS,
            max_steps=WARM + STEPS,
            max_length=per,
            report_to="none",
            save_strategy="no",
            logging_steps=WARM,
            bf16=True,
            use_cpu=device == "cpu",
            dataset_kwargs={"skip_prepare_dataset": True},
        )
        lora_config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            peft_config=lora_config,
            processing_class=make_tokenizer(PreTrainedTokenizerFast, SIZES[size]["vocab_size"]),
        )
        times: list[float] = []
        trainer.add_callback(clock(times, device))
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return {"tokens_per_s": STEPS * length / (times[-1] - times[WARM - 1]), "peak_gib": memory}


def clock(times: list[float], device: str) -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            wait(device)
            times.append(time.perf_counter())

    return Clock()


def make_tokenizer(kind: Any, words: int) -> Any:
    """A tokenizer for who insists on one: the rows are tokens already."""
    from tokenizers import Tokenizer, models

    vocabulary = {f"w{number}": number for number in range(words)}
    return kind(tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="w0")), pad_token="w0", eos_token="w1")


def main() -> int:
    import torch

    size = os.environ.get("GPU_CHECK_SIZE", "7b")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and size != "tiny":
        print("error: no usable card here; GPU_CHECK_SIZE=tiny runs the same code on a CPU", file=sys.stderr)
        return 2
    length, side = (2048, 8192) if size == "7b" else (256, 256)
    peak = matrix_peak(device, side)
    with torch.device("meta"):
        weights = make_weights(size)
    variants = [("LoRA", False)] + ([("QLoRA", True)] if importlib.util.find_spec("bitsandbytes") and device == "cuda" else [])
    comparisons, table = [], []
    for name, quantised in variants:
        found = {"ours": measure_ours(make_model(size, device, quantised), size, device, length)}
        found["TRL defaults"] = measure_trl(make_model(size, device, quantised), size, device, length)
        operations = 4 * weights + 6 * found["ours"]["trained"]
        share = found["ours"]["tokens_per_s"] * operations / peak
        table.append({"variant": name, "share_of_matrix_peak": share, **found})
        ratio = found["ours"]["tokens_per_s"] / found["TRL defaults"]["tokens_per_s"]
        comparisons.append(
            {
                "peer": "TRL defaults",
                "settings": f"{name}, {size}, {ROWS} rows of {length // ROWS} tokens a step, bfloat16",
                "ours": found["ours"]["tokens_per_s"],
                "theirs": found["TRL defaults"]["tokens_per_s"],
                "unit": "tokens/s",
                "ratio": {"median": ratio, "min": ratio, "max": ratio},
                "runs": 1,
            }
        )
        print(
            f"{name}: {found['ours']['tokens_per_s']:.0f} tokens/s, {share:.1%} of the matrix peak, {ratio:.2f} x TRL's defaults"
        )
    if size == "7b":
        card = {"card": torch.cuda.get_device_name(), "matrix_peak_flops": peak, "machine": platform.machine()}
        result = {"name": "gpu_training", "comparisons": comparisons, "table": table, "machine": card}
        result |= {"date": datetime.date.today().isoformat(), "command": "make gpu-check"}
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 0


def make_weights(size: str) -> int:
    """Weights of the base, counted on the meta device."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SIZES[size])).num_parameters()


if __name__ == "__main__":
    sys.exit(main())
