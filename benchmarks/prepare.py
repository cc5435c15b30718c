"""The data phase at growing sizes: seconds, items per second and peak memory of `make prepare`, each in a process of its own.

    make bench NAME=prepare            # 10,000 and 100,000 items
    ML -m benchmarks.prepare 1000000   # other sizes

The items are consultations made here, a tenth of them copies with a few characters changed, beside a statute and an exam, so
that every rule, the statute store, decontamination, near-duplicates and masking have work.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.dedupe import make_texts

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "prepare.json"
SIZES = (10_000, 100_000)
BATCH = 20_000  # items per file


def write_sources(folder: Path, count: int) -> Path:
    """A SOURCES file with `count` consultations, one statute and one exam; deterministic."""
    dice = random.Random(2)
    (folder / "talks").mkdir(parents=True)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        with open(folder / "talks" / f"{start:08d}.jsonl", "w", encoding="utf-8") as file:
            for number, text in enumerate(make_texts(size, seed=start + 3), start):
                phone = f"，电话138{number % 10**8:08d}" if number % 50 == 0 else ""
                cited = f"根据《河灯管理法》第{dice.choice('一二三四九')}条，" if number % 5 == 0 else ""
                row = {"query": f"第{number}问，合同怎样履行{phone}？", "response": f"{cited}{text}。"}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    law = "# 河灯管理法\n\n2019年5月1日通过\n\n" + "".join(f"第{n}条 放河灯应当依法办理手续。\n\n" for n in "一二三四")
    (folder / "law.md").write_text(law, "utf-8")
    exam = [{"question": text[:80], "options": ["(A)甲", "(B)乙"], "label": "A"} for text in make_texts(500, seed=9)]
    (folder / "exam.json").write_text(json.dumps(exam, ensure_ascii=False), "utf-8")
    sources = [
        {"kind": "statute", "path": "law.md", "licence": "MIT", "name": "law"},
        {"kind": "consultation", "path": "talks", "licence": "MIT", "name": "talks"},
    ]
    path = folder / "sources.yaml"
    path.write_text(yaml.safe_dump({"sources": sources, "exams": [{"name": "exam", "path": "exam.json"}]}), "utf-8")
    return path


def measure(count: int) -> dict:
    """One run from nothing, in a child; its wall and processor seconds and its largest resident memory."""
    with tempfile.TemporaryDirectory(prefix="lexloop-bench-") as name:
        folder = Path(name)
        sources = write_sources(folder / "in", count)
        environment = {**os.environ, "LEXLOOP_STORE": f"{name}/store", "LEXLOOP_VAR": f"{name}/var"}
        environment |= {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "legal_tasks.data.prepare", "--sources", str(sources), "--as-of", "2026-11-01"]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(
            [*command, "--as-of", "2026-11-01"], cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        report = json.loads((folder / "out" / "report.json").read_text("utf-8"))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "items": count,
        "seconds": round(seconds, 1),
        "processor_seconds": round(cpu, 1),
        "items_per_processor_second": round(count / cpu, 1),
        "peak_memory_gib": round(after.ru_maxrss / 2**20, 2),
        "used": report["items"]["used"],
        "set_aside": report["items"]["set_aside"],
    }


def main(argv: list[str]) -> int:
    runs = []
    for count in map(int, argv or SIZES):
        runs.append(measure(count))
        print(json.dumps(runs[-1], ensure_ascii=False), flush=True)
    result = {
        "name": "prepare",
        "comparisons": [],
        "runs": runs,
        "machine": {"processors": os.cpu_count(), "machine": platform.machine()},
        "date": datetime.date.today().isoformat(),
        "command": f"make bench NAME=prepare {' '.join(argv)}".strip(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
