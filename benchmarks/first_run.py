"""Does a first run of the embedded default pass the gate on every processor, and do ten months that follow it?

    make bench NAME=first_run                     # all of it: 15 first runs and ten months, two at a time
    FIRST_RUN_SEEDS=0,1 FIRST_RUN_CAPABILITIES=avx2 FIRST_RUN_MONTHS=0 FIRST_RUN_JOBS=1 make bench NAME=first_run

A training is bit for bit the same on one machine and another one on the next processor, so a margin that holds for one seed
here says nothing. Each cell draws another law (the world's seed) and another training (its seed) and runs the pipeline's
own steps, data to gate, on one imitated processor: `ATEN_CPU_CAPABILITY` with the oneDNN and MKL sets that belong to it.
What only a running service can measure (parity, latency, success) is no part of it; every other rule of the gate is.
A month changes one sentence of the sources and is held against the first month's model as champion.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "first_run.json"
PROFILE = "small"
CAPABILITIES = {
    "default": {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
}
SERVED = ("parity", "p95_first_token_s", "success_rate", "cost_cny")  # rules that need a running service
GENERAL_VALUE, GENERAL_LOWER = -0.015, -0.04  # asked of every first run; the gate itself allows -0.03 and -0.055


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def supported() -> list[str]:
    """The capabilities that this processor has."""
    flags = Path("/proc/cpuinfo").read_text()
    return [name for name in CAPABILITIES if name == "default" or f" {'avx512f' if name == 'avx512' else name}" in flags]


def run_step(name: str, **values: Any) -> Path:
    """One step of the pipeline with the small profile's settings, through the store; its artifact."""
    import importlib

    from legal_tasks.step import build_params, execute

    module = importlib.import_module(f"legal_tasks.{name}")
    return Path(execute(f"legal_tasks.{name}", build_params(module, f"legal_tasks.{name}", values, PROFILE, []))["artifact"])


def write_world(folder: Path, seed: int, month: int) -> Path:
    """The embedded world's sources; those of month n > 0 differ by one more changed sentence of a notice."""
    from legal_tasks.embedded import world

    world.write(folder, seed)
    if month:
        notice = sorted((folder / "documents").glob("*.html"))[month % 12]
        text = notice.read_text("utf-8")
        changed = text.replace("请在", f"请于今年{month}月起在", 1)
        assert changed != text
        notice.write_text(changed, "utf-8")
    return folder / "sources.yaml"


def one(seed: int, month: int, champion: str) -> dict[str, Any]:
    """Data to gate for one cell, in this process; what the gate said."""
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="lexloop-first-run-") as scratch:
        sources = write_world(Path(scratch) / "world", seed, month)
        day = datetime.date(2026, 1 + month % 12, 1)
        items = run_step("data.collect", sources=str(sources), as_of=day)
    records = run_step("data.clean", items=items, as_of=day)
    split = run_step("data.split", records=records)
    adapter = run_step("training.lora", data=split, seed=seed)
    merged = run_step("training.merge", adapter=adapter)
    evaluation = run_step("evaluation.harness", challenger=merged, items=items, champion=champion or "none", world_seed=seed)
    small = run_step("compression.compress", model=merged, data=split, exams=items, records=records)
    comparison = run_step("evaluation.compare", evaluation=evaluation, compression=small)
    history = Path(os.environ["LEXLOOP_STORE"]) / "no_history.json"
    history.write_text("[]")
    gate = run_step("evaluation.gate", comparison=comparison, data=records, compression=small, history=history, as_of=day)
    decision = json.loads((gate / "decision.json").read_text("utf-8"))
    rules = [rule for rule in decision["rules"] if rule["suite"] not in SERVED]
    blocked = [rule for rule in rules if rule["verdict"] not in ("pass", "not applicable")]
    gain = json.loads((comparison / "comparison.json").read_text("utf-8"))["suites"]["general"]["gain"]
    found = {"seed": seed, "month": month, "passed": not blocked, "blocked": [rule["sentence"] for rule in blocked]}
    found |= {
        "rules": {rule["name"]: {key: rule[key] for key in ("verdict", "value", "interval", "bound", "n")} for rule in rules}
    }
    found |= {"general": {"value": gain["value"], "lower": gain["lower"]}, "merged": str(merged)}
    return found | {"seconds": round(time.time() - started)}


def spawn(folder: Path, seed: int, capability: str, month: int = 0, champion: str = "") -> dict[str, Any]:
    """One cell in a process of its own, whose libraries take the capability's instructions; a store for each capability."""
    place = folder / f"{seed}-{capability}-{month}.json"
    values = {**os.environ, "LEXLOOP_STORE": str(folder / f"store-{capability}-{seed}"), "ATEN_CPU_CAPABILITY": capability}
    values |= CAPABILITIES[capability] | {"LEXLOOP_VAR": str(folder / "var")}
    argv = [sys.executable, "-m", "benchmarks.first_run", "--one", str(seed), str(month), champion, str(place)]
    log = place.with_suffix(".log")
    with open(log, "w") as file:
        done = subprocess.run(argv, env=values, cwd=REPOSITORY, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"seed {seed}, {capability}, month {month} failed: {log.read_text()[-2000:]}")
    cell = {"capability": capability} | json.loads(place.read_text("utf-8"))
    print(line(cell), flush=True)
    return cell


def line(cell: dict[str, Any]) -> str:
    rules, shown = cell["rules"], []
    for name in ("domain accuracy (legal_exam)", "refusal", "over_refusal", "well-formed answers", "loss_gptq", "loss_gguf"):
        value = rules.get(name, {}).get("value")
        shown.append(f"{name.split(' (')[0]} {'-' if value is None else f'{value:.3f}'}")
    general = f"general {100 * cell['general']['value']:+.1f} (lower {100 * cell['general']['lower']:+.1f})"
    verdict = "pass" if cell["passed"] else "REFUSED"
    head = f"seed {cell['seed']} {cell['capability']:8s} month {cell['month']:2d} {verdict:8s} {general}"
    citations = rules.get("citations", {})
    shown.append(f"citations {citations.get('value')} wrong of {citations.get('n')}")
    return (
        f"{head}  " + "  ".join(shown) + f"  {cell['seconds']} s" + ("  " + "; ".join(cell["blocked"]) if cell["blocked"] else "")
    )


def worst(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Per rule the value of the cell that came nearest to its bound, and how all spread."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for cell in cells for name in cell["rules"]):
        values = sorted(cell["rules"][name]["value"] for cell in cells if cell["rules"].get(name, {}).get("value") is not None)
        if values:
            bound = next(cell["rules"][name]["bound"] for cell in cells if name in cell["rules"])
            found[name] = {"min": values[0], "median": values[len(values) // 2], "max": values[-1], "bound": bound}
    lowers = sorted(cell["general"]["lower"] for cell in cells)
    found["general ability, lower bound"] = {
        "min": lowers[0],
        "median": lowers[len(lowers) // 2],
        "max": lowers[-1],
        "bound": -0.055,
    }
    return found


AT_MOST = ("over_refusal", "loss_gptq", "loss_gguf")  # rules whose value must not be larger than their bound


def chance(cells: list[dict[str, Any]]) -> dict[str, float]:
    """Per rule: how likely the next seed's first run misses the bound; a prediction from Student's t over the seeds.

    A seed counts once, with its worst processor: another processor changes one seed's result less than another seed does.
    It takes the values of seeds for normally distributed. Left out are rules whose value was the same for every seed.
    """
    import statistics

    from scipy.stats import t as student

    lower = {"value": "general ability, lower bound", "bound": -0.055}
    found: dict[str, float] = {}
    compared = {"right articles"}  # its bound is one of the difference to a champion, which a first run has not
    for name in [*dict.fromkeys(name for cell in cells for name in cell["rules"]), lower["value"]]:
        if name in compared:
            continue
        seeds: dict[int, list[float]] = {}
        bound = lower["bound"] if name == lower["value"] else next(c["rules"][name]["bound"] for c in cells if name in c["rules"])
        for cell in cells:
            value = cell["general"]["lower"] if name == lower["value"] else cell["rules"].get(name, {}).get("value")
            if value is not None and bound is not None:
                sign = -1 if name in AT_MOST else 1
                seeds.setdefault(cell["seed"], []).append(sign * (value - bound))
        margins = [min(values) for values in seeds.values()]
        if len(margins) < 3 or not (spread := statistics.stdev(margins)):
            continue
        distance = statistics.mean(margins) / (spread * (1 + 1 / len(margins)) ** 0.5)
        found[name] = float(student.sf(distance, len(margins) - 1))
    return found


def main() -> int:
    if len(sys.argv) > 1 and sys.argv[1] == "--one":
        seed, month, champion, place = sys.argv[2:]
        Path(place).write_text(json.dumps(one(int(seed), int(month), champion), ensure_ascii=False), "utf-8")
        return 0
    seeds = [int(text) for text in os.environ.get("FIRST_RUN_SEEDS", "0,1,2,3,4").split(",")]
    chosen = os.environ.get("FIRST_RUN_CAPABILITIES", ",".join(CAPABILITIES)).split(",")
    months, jobs = int(os.environ.get("FIRST_RUN_MONTHS", "10")), int(os.environ.get("FIRST_RUN_JOBS", "2"))
    missing = [name for name in chosen if name not in supported()]
    if missing:
        print(f"this processor has no {', '.join(missing)}: those cells are left out, and the table says so")
    here = [name for name in chosen if name not in missing]
    keep = os.environ.get("FIRST_RUN_FOLDER")
    with tempfile.TemporaryDirectory(prefix="lexloop-first-run-") as scratch, ThreadPoolExecutor(jobs) as pool:
        folder = Path(keep) if keep else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        cells = list(pool.map(lambda pair: spawn(folder, *pair), [(seed, name) for seed in seeds for name in here]))
        first = next((cell for cell in cells if cell["seed"] == seeds[0]), None)
        later: list[dict[str, Any]] = []
        if months and first:
            spread = [here[number % len(here)] for number in range(months)]
            firsts = {cell["capability"]: cell for cell in cells if cell["seed"] == seeds[0]}
            pairs = [(seeds[0], name, number + 1, firsts[name]["merged"]) for number, name in enumerate(spread)]
            later = list(pool.map(lambda four: spawn(folder, *four), pairs))
    passed, released = sum(cell["passed"] for cell in cells), sum(cell["passed"] for cell in later)
    room = [c for c in cells if c["general"]["value"] >= GENERAL_VALUE and c["general"]["lower"] >= GENERAL_LOWER]
    print(f"{passed} of {len(cells)} first runs passed, {len(room)} of them with room in general ability")
    print(f"{released} of {len(later)} months passed")
    import torch

    result = {
        "name": "first_run",
        "comparisons": [],
        "passed": passed,
        "of": len(cells),
        "with_room": len(room),
        "months_passed": released,
        "months": len(later),
        "left_out": missing,
        "worst": worst(cells),
        "chance": chance(cells),
        "worst_months": worst(later) if later else {},
        "table": [{key: cell[key] for key in cell if key != "merged"} for cell in [*cells, *later]],
        "machine": {"processor": processor(), "processors": os.cpu_count(), "torch": torch.__version__, "jobs": jobs},
        "date": datetime.date.today().isoformat(),
        "command": "make bench NAME=first_run",
    }
    RESULT.parent.mkdir(exist_ok=True)
    place = Path(os.environ.get("FIRST_RUN_RESULT", RESULT))
    place.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return 0 if passed == len(cells) and released >= 0.9 * len(later) else 1


if __name__ == "__main__":
    sys.exit(main())
