"""The data phase at growing sizes, and its rules and near-duplicates against datatrove's.

    make bench NAME=prepare                  # 10,000, 100,000 and 1,000,000 items, then datatrove
    ML -m benchmarks.prepare sizes 10000     # other sizes only
    ML -m benchmarks.prepare datatrove       # the comparison only

The items are consultations made here, a tenth of them copies with a few characters changed, beside a statute and an exam, so
that every rule, the statute store, decontamination, near-duplicates and masking have work. Each size is a process of its own
that starts from nothing; its peak memory is the largest resident set of that process.

Against datatrove both sides get the same consultations and do the same: read JSON Lines, the text rules, exact and near
duplicates by MinHash (the same grams, permutations and bands), write what is kept. Ours also checks every candidate's true
Jaccard and chooses the longest of a cluster.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import yaml

from benchmarks.dedupe import COPIED, make_texts
from legal_tasks.setup import SetupError

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "prepare.json"
SIZES = (10_000, 100_000, 1_000_000)
COMPARED, RUNS = 10_000, 3  # items and turns against the peer
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


def child(command: list[str], **variables: str) -> tuple[float, resource.struct_rusage]:
    """(wall seconds, what the process used, with the children that it waited for); it computes on one thread."""
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **variables}
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read() if process.stderr else b""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said.decode('utf-8', 'replace')[-3000:]}")
    return time.monotonic() - started, used


def measure(count: int) -> dict:
    """One run from nothing; its wall and processor seconds and its largest resident memory."""
    with tempfile.TemporaryDirectory(prefix="lexloop-bench-") as name:
        folder = Path(name)
        sources = write_sources(folder / "in", count)
        command = [sys.executable, "-m", "legal_tasks.data.prepare", "--sources", str(sources), "--as-of", "2026-11-01"]
        command += ["--output", str(folder / "out")]
        seconds, used = child(command, LEXLOOP_STORE=f"{name}/store", LEXLOOP_VAR=f"{name}/var")
        report = json.loads((folder / "out" / "report.json").read_text("utf-8"))
        steps = {}
        for path in sorted((folder / "store").glob("data.*/*/manifest.json")):
            steps[path.parts[-3]] = json.loads(path.read_text("utf-8"))["seconds"]
    cpu = used.ru_utime + used.ru_stime
    return {
        "items": count,
        "seconds": round(seconds, 1),
        "seconds_by_step": steps,
        "processor_seconds": round(cpu, 1),
        "items_per_processor_second": round(count / cpu, 1),
        "peak_memory_gib": round(used.ru_maxrss / 2**20, 2),
        "used": report["items"]["used"],
        "set_aside": report["items"]["set_aside"],
        "date": datetime.date.today().isoformat(),
    }


def ours(source: Path, target: Path) -> None:
    """The same operators as the peer's, by the functions of the data phase."""
    from legal_tasks.data import clean, collect, rules
    from legal_tasks.data.works import opened
    from legal_tasks.records import to_line

    day = datetime.date(2026, 11, 1)
    entry = {"kind": "consultation", "path": str(source), "licence": "MIT", "name": "talks"}
    (target / "items").mkdir(parents=True)
    (target / "sources.yaml").write_text(yaml.safe_dump({"sources": [entry]}), "utf-8")
    collect.run(collect.Params(output=target / "items", as_of=day, sources=str(target / "sources.yaml")))
    params = clean.Params(items=target / "items", output=target, as_of=day)
    with opened(params.items, target) as (items, drafts):
        for work in items.works:
            item = items.read(work)
            records = clean.make_records(work, item)
            found = [hit for record in records for hit in rules.text_hits(record, params.shortest_answer, params.longest)]
            if found:
                work.aside(found[0])
            elif records:
                drafts.add(work, item, records)
        clean.drop_duplicates([work for work in items.works if not work.fate], drafts, params, Counter())
        with open(target / "kept.jsonl", "w", encoding="utf-8") as file:
            for work in items.works:
                if not work.fate:
                    file.writelines(to_line(record) + "\n" for record in drafts.read(work)[0])


def kept_of(paths: Iterable[Path], count: int) -> set[tuple[int, int]]:
    """{(text that it is a copy of, how many of its copies were kept before)}: which of equals is kept does not matter."""
    kept: Counter[int] = Counter()
    for path in paths:
        for line in path.read_text("utf-8").split("\n"):
            found = re.search(r"第(\d+)问", line)
            if found:
                start, place = divmod(int(found[1]), BATCH)
                size = min(BATCH, count - start * BATCH)
                first = size - int(size * COPIED)
                kept[start * BATCH + (place - first if place >= first else place)] += 1
    return {(text, number) for text, copies in kept.items() for number in range(copies)}


def compare_datatrove() -> dict:
    """A row of `comparisons`: the sides take turns; rates by processor seconds, other work on the machine is no part of them."""
    from benchmarks.peers import environment

    peer = environment.python("datatrove")
    runs: dict[str, list[float]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory(prefix="lexloop-bench-") as name:
        folder = Path(name)
        write_sources(folder / "in", COMPARED)
        for number in range(RUNS):
            for side, command in (
                ("ours", [sys.executable, "-m", "benchmarks.prepare", "ours"]),
                ("theirs", [str(peer), "-m", "benchmarks.peers.datatrove_prepare"]),
            ):
                target = folder / f"{side}{number}"
                _, used = child([*command, str(folder / "in" / "talks"), str(target)], LEXLOOP_VAR=f"{name}/var")
                runs[side].append(used.ru_utime + used.ru_stime)
        kept = [kept_of([folder / "ours0" / "kept.jsonl"], COMPARED)]
        kept.append(kept_of((folder / "theirs0" / "kept").glob("*.jsonl"), COMPARED))
    ratios = sorted(theirs / own for own, theirs in zip(runs["ours"], runs["theirs"], strict=True))
    rate = {side: COMPARED / statistics.median(values) for side, values in runs.items()}
    return {
        "peer": "datatrove",
        "settings": f"0.10.1, {COMPARED} consultations; read, text rules, duplicates by MinHash (128 permutations, 32 bands, "
        "different character 5-grams), write; one core; imports and start included on both sides",
        "ours": round(rate["ours"]),
        "theirs": round(rate["theirs"]),
        "unit": "items per processor second",
        "ratio": {"median": round(statistics.median(ratios), 2), "min": round(ratios[0], 2), "max": round(ratios[-1], 2)},
        "kept": {
            "ours": len(kept[0]),
            "theirs": len(kept[1]),
            "jaccard": round(len(kept[0] & kept[1]) / len(kept[0] | kept[1]), 4),
        },
        "runs": RUNS,
    }


def save(runs: Iterable[dict] = (), comparisons: Iterable[dict] = (), missing: str = "", why: str = "") -> None:
    """Put what was measured into the result, or why something could not be; what was not looked at now stays."""
    result = json.loads(RESULT.read_text("utf-8")) if RESULT.is_file() else {}
    sizes = {run["items"]: run for run in [*result.get("runs", []), *runs]}
    result = {"name": "prepare", "comparisons": [], "not_measured": {}} | result
    result["comparisons"] = list(comparisons) or result["comparisons"]
    measured = {*(f"{run['items']} items" for run in runs), *(row["peer"] for row in comparisons)}
    left = {name: reason for name, reason in result["not_measured"].items() if name not in measured}
    result["not_measured"] = left | ({missing: why} if missing else {})
    result["runs"] = [sizes[count] for count in sorted(sizes)]
    result["machine"] = {"processors": os.cpu_count(), "machine": platform.machine()}
    result["date"] = datetime.date.today().isoformat()
    result["command"] = "make bench NAME=prepare"
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")


def main(argv: list[str]) -> int:
    if argv[:1] == ["ours"]:
        ours(Path(argv[1]), Path(argv[2]))
        return 0
    if argv[:1] in ([], ["sizes"]):
        for count in map(int, argv[1:] or SIZES):
            run = measure(count)
            print(json.dumps(run, ensure_ascii=False), flush=True)
            save(runs=[run])
    if argv[:1] in ([], ["datatrove"]):
        try:
            row = compare_datatrove()
        except SetupError as error:
            save(missing="datatrove", why="its packages cannot be had here")
            print(f"datatrove: not measured, its packages cannot be had here: {error}", file=sys.stderr)
            return 1
        save(comparisons=[row])
        spread = f"{row['ratio']['min']} to {row['ratio']['max']}"
        print(
            f"datatrove: {row['ratio']['median']}x ({spread}), {row['ours']} against {row['theirs']} {row['unit']}, {row['kept']}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
