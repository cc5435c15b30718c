"""Questions per second of our lm-eval model against lm-eval's own `hf`, on stock tasks in C-Eval's and CMMLU's layout.

    make bench NAME=evaluation        # EVALUATION_RUNS=3 EVALUATION_QUESTIONS=100

A tiny Llama in float32 with the shipped tokenizer, random weights (speed does not depend on what they know) and room for
five examples. `hf` runs at the best of its batch sizes, found before. Runs alternate; what is timed is the model's answer
to lm-eval's requests, tokenisation included, loading of model and data excluded, in CPU seconds of the one thread that
computes (what else the machine does then counts for neither). Log-likelihoods must agree within 1e-4 and picks with them,
but for ties that are listed.
"""

from __future__ import annotations

import csv
import datetime
import json
import os
import platform
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "evaluation.json"
BATCHES = (1, 4, 16, 64)
TOLERANCE = 1e-4
WORDS = "合同期限不得超过年日内备案机关罚款民事责任违约租赁行政处罚申请人法院判决当事人权利义务规定"


def write_ceval(root: Path, subjects: tuple[str, ...], questions: int, dice: random.Random) -> None:
    folder = root / "ceval" / "ceval-exam"
    parts = []
    for subject in subjects:
        (folder / subject).mkdir(parents=True)
        for split, count in (("val", questions), ("dev", 5), ("test", 1)):
            with open(folder / subject / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["id", "question", "A", "B", "C", "D", "answer", "explanation"])
                for number in range(count):
                    writer.writerow([number, *question(dice), dice.choice("ABCD"), "无"])
        files = "".join(f"  - split: {split}\n    path: {subject}/{split}.csv\n" for split in ("val", "dev", "test"))
        parts.append(f"- config_name: {subject}\n  data_files:\n{files}")
    (folder / "README.md").write_text("---\nconfigs:\n" + "".join(parts) + "---\n", "utf-8")


def write_cmmlu(root: Path, subject: str, questions: int, dice: random.Random) -> None:
    folder = root / "haonan-li" / "cmmlu"
    folder.mkdir(parents=True)
    for split, count in (("test", questions), ("dev", 5)):
        with open(folder / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Question", "A", "B", "C", "D", "Answer"])
            writer.writerows([*question(dice), dice.choice("ABCD")] for _ in range(count))
    files = "".join(f"  - split: {split}\n    path: {split}.csv\n" for split in ("test", "dev"))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: {subject}\n  data_files:\n{files}---\n", "utf-8")


def question(dice: random.Random) -> list[str]:
    """A stem of 25 to 90 characters and four options of 4 to 20, the lengths of the law subjects."""
    lengths = [dice.randint(25, 90), *(dice.randint(4, 20) for _ in range(4))]
    return ["".join(dice.choices(WORDS, k=length)) for length in lengths]


def make_model(seed: int = 0) -> tuple[Any, Any]:
    """(model, tokenizer): 3 layers of width 256 in float32, 2,048 tokens of context."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from legal_tasks.compression.load import load_tokenizer
    from legal_tasks.training import base

    tokenizer = load_tokenizer(base.resolve("embedded"))
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=2048,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


def requests_of(lm: Any, root: Path, shots: int) -> list[Any]:
    """What lm-eval asks a model in every stock task below `root`, examples and chat template included."""
    from legal_tasks.evaluation import models

    asked: list[Any] = []
    answer = lm.loglikelihood

    def record(requests: list[Any], *rest: Any, **options: Any) -> Any:
        asked.extend(requests)
        return answer(requests, *rest, **options)

    lm.loglikelihood = record
    for name, folder in models.stock_folders(root).items():
        models.run_stock(lm, name, folder, shots)
    return asked


def ask(lm: Any, requests: list[Any]) -> tuple[dict[str, list[float]], float]:
    """({question: log-likelihoods of its letters}, CPU seconds in the model)."""
    started = time.process_time()
    found = lm.loglikelihood(requests)
    seconds = time.process_time() - started
    scores: dict[str, list[float]] = {}
    for request, (value, _) in zip(requests, found, strict=True):
        scores.setdefault(f"{request.task_name}/{request.doc_id}", []).append(float(value))
    return scores, seconds


def compare(model: Any, tokenizer: Any, root: Path, shots: int, runs: int) -> dict[str, Any]:
    """One comparison: {peer, settings, ours, theirs, unit, ratio, runs} with the agreement of the numbers."""
    from lm_eval.models.huggingface import HFLM

    from legal_tasks.evaluation.lm import Scorer, as_lm

    def theirs(batch: int) -> Any:
        return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, device="cpu")

    requests = requests_of(as_lm(Scorer(model, tokenizer)), root, shots)
    trials = {batch: ask(theirs(batch), requests)[1] for batch in BATCHES}
    best = min(trials, key=trials.__getitem__)
    ratios, rates = [], []
    for _ in range(runs):
        mine, ours_s = ask(as_lm(Scorer(model, tokenizer)), requests)
        reference, theirs_s = ask(theirs(best), requests)
        ratios.append(theirs_s / ours_s)
        rates.append((len(mine) / ours_s, len(mine) / theirs_s))
    row = {"peer": f"lm-eval hf {shots}-shot", "settings": f"batch size {best}, the best of {BATCHES}; float32, one thread"}
    row |= {"ours": median(one for one, _ in rates), "theirs": median(other for _, other in rates), "unit": "questions/s"}
    row |= {"ratio": {"median": median(ratios), "min": min(ratios), "max": max(ratios)}, "runs": runs}
    return row | agreement(mine, reference)


def agreement(mine: dict[str, list[float]], reference: dict[str, list[float]]) -> dict[str, Any]:
    """{questions, largest_difference, other_picks: items whose pick differs, ties: those within the tolerance of a tie}."""
    assert mine.keys() == reference.keys()
    largest = max(abs(a - b) for name in mine for a, b in zip(mine[name], reference[name], strict=True))
    other, ties = [], []
    for name, scores in mine.items():
        expected = reference[name]
        picked, best = scores.index(max(scores)), expected.index(max(expected))
        if picked != best:
            (ties if expected[best] - expected[picked] < 2 * TOLERANCE else other).append(name)
    return {"questions": len(mine), "largest_difference": largest, "other_picks": other, "ties": ties}


def main() -> int:
    import torch

    torch.set_num_threads(1)
    runs, questions = int(os.environ.get("EVALUATION_RUNS", "3")), int(os.environ.get("EVALUATION_QUESTIONS", "100"))
    model, tokenizer = make_model()
    comparisons = []
    with tempfile.TemporaryDirectory(prefix="lexloop-evaluation-") as folder:
        root, dice = Path(folder), random.Random(0)
        write_ceval(root, ("law", "legal_professional"), questions, dice)
        write_cmmlu(root, "professional_law", questions, dice)
        for shots, wanted in ((5, 3.0), (0, 1.0)):
            row = compare(model, tokenizer, root, shots, runs)
            comparisons.append(row | {"wanted": wanted})
            shown = f"{row['ours']:.1f} against {row['theirs']:.1f} questions/s, {row['ratio']['median']:.2f} times"
            print(f"{row['peer']}: {shown}; log-likelihoods within {row['largest_difference']:.1e}", flush=True)
    result = {
        "name": "evaluation",
        "comparisons": comparisons,
        "machine": {"processors": os.cpu_count(), "machine": platform.machine()},
        "date": datetime.date.today().isoformat(),
        "command": "make bench NAME=evaluation",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    agree = all(row["largest_difference"] <= TOLERANCE and not row["other_picks"] for row in comparisons)
    return 0 if agree and all(row["ratio"]["median"] >= row["wanted"] for row in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
