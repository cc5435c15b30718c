"""Time of our GPTQ step against GPTQModel called directly, with the same settings, model and calibration chats.

    make bench NAME=compression

Pairs of runs in turn, after one of each that is thrown away. Writes benchmarks/results/compression.json.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "compression.json"
PAIRS = 7
CHATS = 64


def ours(model: Path, output: Path, chats: list[list[int]]) -> float:
    from legal_tasks.compression.gptq import quantise

    started = time.perf_counter()
    quantise(model, output, chats, act_order=False, workers=len(os.sched_getaffinity(0)))
    return time.perf_counter() - started


def theirs(model: Path, output: Path, chats: list[list[int]]) -> float:
    """As GPTQModel's own example does it, with the settings of our engine's variant."""
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig

    os.environ["GPTQMODEL_CPU_WORKERS"] = str(max(2, len(os.sched_getaffinity(0))))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        started = time.perf_counter()
        config = QuantizeConfig(
            bits=4, group_size=128, desc_act=False, act_group_aware=True, damp_percent=0.05, device="cpu",
            pack_impl="original", offload_to_disk=False,
        )  # fmt: skip
        loaded = GPTQModel.load(str(model), config, dtype=torch.float16, trust_remote_code=False)
        loaded.quantize([{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in chats], batch_size=8)
        loaded.save(str(output))
        return time.perf_counter() - started


def main() -> int:
    from legal_tasks.compression.load import load_tokenizer
    from legal_tasks.training.chat import messages, render
    from tests.legal_tasks.training.tiny import make_base, make_record

    before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="lexloop-bench-") as name:
        folder = Path(name)
        model = make_base(folder / "model", hidden=256, layers=4)
        tokenizer = load_tokenizer(model)
        chats = [render(tokenizer, messages(make_record(number)), False) for number in range(CHATS)]
        runs = []
        for number in range(PAIRS + 1):
            pair = {}
            for what in ((ours, theirs), (theirs, ours))[number % 2]:
                pair[what.__name__] = what(model, folder / f"{what.__name__}-{number}", chats)
            print(f"pair {number} of {PAIRS}: ours {pair['ours']:.2f} s, theirs {pair['theirs']:.2f} s", flush=True)
            runs.append(pair)
    runs = runs[1:]
    ratios = [run["theirs"] / run["ours"] for run in runs]
    comparison = {
        "peer": "GPTQModel",
        "settings": f"4 bits, group 128, act_group_aware, {CHATS} chats, random Llama of 4 layers and width 256, CPU",
        "ours": statistics.median(run["ours"] for run in runs),
        "theirs": statistics.median(run["theirs"] for run in runs),
        "unit": "s",
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "runs": runs,
    }
    result = {
        "name": "compression",
        "comparisons": [comparison],
        "machine": {
            "processors": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            "load_average": {"before": before, "after": os.getloadavg()},
            "shared": before[0] > 0.5,  # somebody else was computing when it began
        },
        "date": datetime.date.today().isoformat(),
        "command": "make bench NAME=compression",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    print(f"GPTQModel: {comparison['ours']:.2f} against {comparison['theirs']:.2f} s, ratio {comparison['ratio']['median']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
