"""Non-pad tokens per second of `training.lora` against LLaMA-Factory on the same records, and where both end.

    make bench NAME=training          # TRAINING_SOURCES=sources.yaml TRAINING_SEEDS=0,1,2 TRAINING_UPDATES=24

The records are those that `prepare` leaves of the sources. The base is a small Llama of random weights with a byte-level
BPE trained on these records: what is compared is the loop, not a model. Every run reads the same number of samples per
update and of updates, from the same adapter settings, on one thread; runs of one seed follow one another. Peers are
LLaMA-Factory with what it does by default (random order, padding, gradient checkpointing), and with the best that its
documentation offers on this seat: grouping by length, no gradient checkpointing.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "training.json"
LONGEST = 1024  # tokens
HIDDEN, LAYERS, WORDS = 256, 4, 8000
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "LLaMA-Factory defaults": ("random order, padded batches, gradient checkpointing", {}),
    "LLaMA-Factory best": (
        "grouped by length, no gradient checkpointing",
        {"disable_gradient_checkpointing": True, "train_sampling_strategy": "group_by_length"},
    ),
}


def prepare(sources: str, folder: Path) -> Path:
    """The split of the data phase."""
    command = [sys.executable, "-m", "legal_tasks.data.prepare", "--profile", "small", "--sources", sources]
    subprocess.run([*command, "--output", str(folder)], check=True)
    return folder


def shorten(split: Path, folder: Path, tokenizer: Any, samples: int, seed: int) -> Path:
    """As many records as one epoch needs, drawn from those that fit whole; 64 for validation."""
    import random

    from legal_tasks.records import to_line
    from legal_tasks.training import rows

    folder.mkdir(parents=True)
    for name, count in (("train", samples), ("validation", 64)):
        records = rows.load(split / f"{name}.jsonl")
        made = rows.encode(tokenizer, records, LONGEST, cutting=False)
        kept = [records[line - 1] for line in made.lines]
        chosen = random.Random(seed).sample(kept, min(count, len(kept)))
        (folder / f"{name}.jsonl").write_text("".join(to_line(record) + "\n" for record in chosen), "utf-8")
    return folder


def make_base(split: Path, folder: Path) -> Path:
    """A random Llama with a tokenizer trained on the records, in ChatML."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from legal_tasks.training import rows

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((record.output for record in rows.load(split / "train.jsonl")), trainer)
    turn = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    opening = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template="{% for m in messages %}" + turn + "{% endfor %}" + opening,
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2 * LONGEST,
        tie_word_embeddings=True,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def ours(params: Any) -> dict[str, float]:
    from legal_tasks.training import lora

    report = lora.run(params)
    return {"speed": report.tokens_per_s, "loss": report.validation_loss, "updates": report.updates, "tokens": report.tokens}


def theirs(params: Any, changes: dict[str, Any]) -> dict[str, float]:
    """A run of LLaMA-Factory with its own ordering: the YAML of our backend without what that sets for equality."""
    from legal_tasks.training import child, llamafactory, lora, rows
    from legal_tasks.training import trainer as loop

    folder = params.checkpoints / "llamafactory"
    folder.mkdir(parents=True)
    model, tokenizer = lora.load_base(lora.bases.resolve(params.base), "cpu", params.max_length)
    plan = lora.make_plan(params, tokenizer)
    values = llamafactory.settings(params, lora.bases.resolve(params.base), folder, "cpu", plan.updates, plan.updates)
    for name in ("disable_shuffling", "disable_gradient_checkpointing"):
        del values[name]
    records = rows.load(params.data / "train.jsonl")
    llamafactory.write(folder, values | changes, llamafactory.slots(tokenizer), plan.ordered, records)
    (folder / "fingerprint.json").write_text("{}", "utf-8")
    environment = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": str(params.threads), "CUDA_VISIBLE_DEVICES": ""}
    argv = [llamafactory.python(), "-m", "legal_tasks.training.llamafactory_child", str(folder)]
    code, tail = child.follow(argv, environment | {"HF_HUB_OFFLINE": "1"})
    if code:
        raise RuntimeError(f"LLaMA-Factory ended with {code}:\n{tail}")
    model = lora.add_adapter(model, params)
    llamafactory.take(model, folder / "run")
    results = json.loads((folder / "run" / "train_results.json").read_text("utf-8"))
    state = json.loads((folder / "run" / "trainer_state.json").read_text("utf-8"))
    loss = loop.mean_loss(model, loop.full_loss, plan.validation.rows, 16, tokenizer.pad_token_id, "cpu")
    tokens = sum(len(row["input_ids"]) for row in plan.ordered)
    speed = tokens / results["train_runtime"]
    return {"speed": speed, "loss": loss, "updates": state["global_step"], "tokens": tokens}


def compare(table: list[dict[str, Any]], peer: str, settings: str) -> dict[str, Any]:
    ratios = [row["ours"]["speed"] / row[peer]["speed"] for row in table]
    gaps = [abs(row["ours"]["loss"] / row[peer]["loss"] - 1) for row in table]
    return {
        "peer": peer,
        "settings": settings,
        "ours": round(median(row["ours"]["speed"] for row in table), 1),
        "theirs": round(median(row[peer]["speed"] for row in table), 1),
        "unit": "non-pad tokens/s, one thread",
        "ratio": {"median": round(median(ratios), 3), "min": round(min(ratios), 3), "max": round(max(ratios), 3)},
        "runs": len(table),
        "largest_gap_of_validation_loss": round(max(gaps), 5),
    }


def main() -> int:
    from legal_tasks.compression.load import load_tokenizer
    from legal_tasks.training import lora

    seeds = [int(text) for text in os.environ.get("TRAINING_SEEDS", "0,1,2").split(",")]
    updates = int(os.environ.get("TRAINING_UPDATES", "24"))
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="lexloop-training-") as name:
        work = Path(name)
        split = Path(os.environ.get("TRAINING_SPLIT", "")) if os.environ.get("TRAINING_SPLIT") else None
        split = split or prepare(os.environ.get("TRAINING_SOURCES", "embedded"), work / "prepared")
        base = make_base(split, work / "base")
        for seed in seeds:
            few = shorten(split, work / f"data-{seed}", load_tokenizer(base), 16 * updates, seed)
            params = lora.Params(few, work, str(base), epochs=1, max_length=LONGEST, seed=seed, threads=1, learning_rate=2e-3)
            row: dict[str, Any] = {"seed": seed}
            for run in ("ours", *PEERS):
                place = work / f"{seed}-{run.replace(' ', '-')}"
                (place / "output").mkdir(parents=True)
                mine = dataclasses.replace(params, output=place / "output", checkpoints=place / "work")
                row[run] = ours(mine) if run == "ours" else theirs(mine, PEERS[run][1])
                shutil.rmtree(place)
            if len({row[run]["updates"] for run in ("ours", *PEERS)}) != 1:
                raise RuntimeError(f"the runs differ in updates: {row}")
            table.append(row)
            print(json.dumps(row), flush=True)
    comparisons = [compare(table, peer, settings) for peer, (settings, _) in PEERS.items()]
    result = {
        "name": "training",
        "comparisons": comparisons,
        "table": table,
        "machine": {"processors": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0]},
        "date": datetime.date.today().isoformat(),
        "command": "make bench NAME=training",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    for part in comparisons:
        gap = part["largest_gap_of_validation_loss"]
        print(f"{part['peer']}: {part['ratio']['median']:.2f} x its tokens/s, validation loss within {gap:.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
