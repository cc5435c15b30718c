"""The embedded exam over several seeds, with its controls: is what LoRA gains law, and not something else?

    make bench NAME=exam                      # three seeds: EXAM_SEEDS=0,1,2

A seed draws another law and trains another adapter; the base is the shipped one and stays. Controls: chance; the base in
its own best format; the trained model given options without a question; a model trained on shuffled answers (first seed);
a naive Bayes classifier of character bigrams trained on the same records. All on unseen wordings, intervals clustered by
template. Every step goes through the store, so a run that was interrupted goes on.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "exam.json"
PROFILE = "small"
RANKED = ("legal_exam", "case_analysis", "general")
NO_QUESTION = "请作答。"

Rows = list[dict[str, Any]]


def run_step(name: str, **values: Any) -> Path:
    """One step of the pipeline with the small profile's settings, through the store; its artifact."""
    import importlib

    from legal_tasks.step import build_params, execute

    module = importlib.import_module(f"legal_tasks.{name}")
    return Path(execute(f"legal_tasks.{name}", build_params(module, f"legal_tasks.{name}", values, PROFILE, []))["artifact"])


def prepare(world: Path, seed: int) -> tuple[Path, Path]:
    """(exams, split) of one law, by the pipeline's own data phase."""
    from legal_tasks.embedded import world as embedded

    embedded.write(world, seed)
    day = datetime.date(2026, 1, 1)
    items = run_step("data.collect", sources=str(world / "sources.yaml"), as_of=day)
    records = run_step("data.clean", items=items, as_of=day)
    return world / "exams", run_step("data.split", records=records)


def train(split: Path, seed: int) -> Path:
    adapter = run_step("training.lora", data=split, seed=seed)
    return run_step("training.merge", adapter=adapter)


def answer(model: Path, exams: Path, suites: tuple[str, ...], ranked: tuple[str, ...] = RANKED) -> dict[str, Rows]:
    """Rows by suite, as the pipeline's own evaluation gives them."""
    from legal_tasks.evaluation.items import read_lines
    from legal_tasks.evaluation.models import How, evaluate_cached

    folder, _ = evaluate_cached(model, exams, suites, how=How(rank_texts=tuple(name for name in ranked if name in suites)))
    return {name: list(read_lines(folder / f"{name}.jsonl")) for name in suites}


def records_of(split: Path) -> Rows:
    return [json.loads(line) for line in (split / "train.jsonl").read_text("utf-8").strip().split("\n")]


def kind_of(answer: str) -> str:
    """The group of values that an answer belongs to; every other answer is its own group."""
    from legal_tasks.embedded import facts

    for attribute in facts.LEGAL:
        if answer in attribute.values:
            return attribute.values[0]
    return answer


def shuffle_answers(split: Path, target: Path, seed: int) -> Path:
    """A copy of a split in which answers changed places with others of their kind: form without content."""
    target.mkdir(parents=True)
    dice = random.Random(seed)
    for name in ("train.jsonl", "validation.jsonl"):
        rows = [json.loads(line) for line in (split / name).read_text("utf-8").strip().split("\n")]
        places: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            places[kind_of(row["output"])].append(place)
        for group in places.values():
            answers = [rows[place]["output"] for place in group]
            dice.shuffle(answers)
            for place, text in zip(group, answers, strict=True):
                rows[place]["output"] = text
        (target / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return target


def blank_questions(exams: Path, target: Path) -> Path:
    """The legal exam with every question replaced by one that asks nothing."""
    target.mkdir(parents=True)
    items = [json.loads(line) for line in (exams / "legal_exam.jsonl").read_text("utf-8").strip().split("\n")]
    lines = [json.dumps(item | {"question": NO_QUESTION}, ensure_ascii=False) for item in items]
    (target / "legal_exam.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return target


def bigrams(text: str) -> list[str]:
    return [text[place : place + 2] for place in range(len(text) - 1)]


def train_keywords(records: Rows) -> Callable[[str, str], float]:
    """Naive Bayes (multinomial, add-one) from a question's bigrams to the whole answer: (question, option) -> log score."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    answers: Counter[str] = Counter()
    for record in records:
        text = record["instruction"] + record["input"]
        seen[record["output"]].update(bigrams(text))
        answers[record["output"]] += 1
    size = len({gram for counts in seen.values() for gram in counts})
    totals = {output: sum(counts.values()) for output, counts in seen.items()}

    def score(question: str, option: str) -> float:
        counts, total = seen.get(option, Counter()), totals.get(option, 0)
        known = sum(math.log((counts[gram] + 1) / (total + size)) for gram in bigrams(question))
        return math.log(answers[option] + 1) + known

    return score


def keyword_rows(exams: Path, score: Callable[[str, str], float]) -> Rows:
    """What the classifier picks among the options, item by item."""
    from legal_tasks.evaluation.items import read_items

    rows = []
    for item in read_items(exams / "legal_exam.jsonl"):
        picked = max(item["options"], key=lambda letter: score(item["question"], item["options"][letter]))
        rows.append({name: item[name] for name in ("id", "template", "wording")} | {"correct": int(picked in item["answer"])})
    return rows


def measure(rows: Rows, wording: str | None = "unseen") -> dict[str, Any]:
    """Share right with its 95 % interval, clusters being templates."""
    from legal_tasks.evaluation import paired

    mine = [row for row in rows if wording is None or row["wording"] == wording]
    found = paired.share([float(row["correct"]) for row in mine], [row["template"] or row["id"] for row in mine])
    return {
        "value": round(found.value, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "n": found.n,
        "clusters": found.clusters,
    }


def gain(new: Rows, old: Rows, wording: str | None = "unseen") -> dict[str, Any]:
    """Mean difference on the same items with its 95 % interval and one-sided lower bound."""
    from legal_tasks.evaluation import paired

    before = {row["id"]: row for row in old}
    mine = [row for row in new if wording is None or row["wording"] == wording]
    columns = [float(row["correct"]) for row in mine], [float(before[row["id"]]["correct"]) for row in mine]
    found = paired.difference(*columns, [row["template"] or row["id"] for row in mine])
    return {name: round(getattr(found, name), 4) for name in ("value", "low", "high", "lower")}


def one_seed(seed: int, work: Path, base: Path, controls: bool) -> dict[str, Any]:
    """Everything measured for one law and one adapter."""
    started = time.time()
    exams, split = prepare(work / f"world-{seed}", seed)
    suites = (*RANKED, "refusal", "over_refusal")
    trained = train(split, seed)
    new, old = answer(trained, exams, suites), answer(base, exams, suites)
    letters = answer(base, exams, ("legal_exam",), ranked=())["legal_exam"]
    blank = answer(trained, blank_questions(exams, work / f"blank-{seed}"), ("legal_exam",))["legal_exam"]
    best = max((old["legal_exam"], letters), key=lambda rows: measure(rows)["value"])
    found = {
        "seed": seed,
        "lora": measure(new["legal_exam"]),
        "lora, seen wordings": measure(new["legal_exam"], "seen"),
        "base, best format": measure(best),
        "gain": gain(new["legal_exam"], old["legal_exam"]),
        "options without question": measure(blank),
        "bigram naive Bayes": measure(keyword_rows(exams, train_keywords(records_of(split)))),
        "case_analysis": {"lora": measure(new["case_analysis"]), "base": measure(old["case_analysis"])},
        "general": {"lora": measure(new["general"], None), "base": measure(old["general"], None)},
        "general change": gain(new["general"], old["general"], None),
        "refused": {name: round(sum(r["picked"] == "refused" for r in new[name]) / len(new[name]), 4) for name in suites[3:]},
    }
    if controls:
        shuffled = train(shuffle_answers(split, work / f"shuffled-{seed}", seed), seed)
        found["lora on shuffled answers"] = measure(answer(shuffled, exams, ("legal_exam",))["legal_exam"])
    return found | {"seconds": round(time.time() - started)}


def compare(table: list[dict[str, Any]], peer: str, settings: str) -> dict[str, Any] | None:
    """Ours against a peer over the seeds that measured it."""
    pairs = [(row["lora"]["value"], row[peer]["value"]) for row in table if peer in row]
    if not pairs:
        return None
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    middle = {
        "ours": median(ours for ours, _ in pairs),
        "theirs": median(theirs for _, theirs in pairs),
        "unit": "share right, unseen wordings",
    }
    ratio = {"median": round(median(ratios), 3), "min": round(min(ratios), 3), "max": round(max(ratios), 3)}
    return {"peer": peer, "settings": settings} | middle | {"ratio": ratio, "runs": len(pairs)}


PEERS = {
    "base, best format": "the better of ranked option texts and letters, chosen on the test itself, in its favour",
    "options without question": f"the same adapter; every question replaced by {NO_QUESTION}",
    "lora on shuffled answers": "same settings and records, answers permuted within their kind",
    "bigram naive Bayes": "multinomial, add-one, trained on the same records, ranks the same options",
}


def main() -> int:
    from legal_tasks.embedded import stored
    from legal_tasks.training import base as bases

    seeds = [int(text) for text in os.environ.get("EXAM_SEEDS", "0,1,2").split(",")]
    base, table = bases.resolve("embedded"), []
    with tempfile.TemporaryDirectory(prefix="lexloop-exam-") as folder:
        for seed in seeds:
            table.append(one_seed(seed, Path(folder), base, controls=seed == seeds[0]))
            row = table[-1]
            print(
                json.dumps(
                    {name: part["value"] if isinstance(part, dict) and "value" in part else part for name, part in row.items()},
                    ensure_ascii=False,
                ),
                flush=True,
            )
    chance = {
        "peer": "chance",
        "settings": "four options, one right",
        "ours": median(row["lora"]["value"] for row in table),
        "theirs": 0.25,
    }
    ratios = [row["lora"]["value"] / 0.25 for row in table]
    chance |= {
        "unit": "share right, unseen wordings",
        "ratio": {"median": median(ratios), "min": min(ratios), "max": max(ratios)},
        "runs": len(table),
    }
    comparisons = [chance, *filter(None, (compare(table, peer, settings) for peer, settings in PEERS.items()))]
    result = {
        "name": "exam",
        "comparisons": comparisons,
        "table": table,
        "made_with": stored.made_with(),
        "machine": {"processors": os.cpu_count(), "machine": platform.machine()},
        "date": datetime.date.today().isoformat(),
        "command": "make bench NAME=exam",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    for part in comparisons:
        print(f"{part['peer']}: ours {part['ours']:.3f}, theirs {part['theirs']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
