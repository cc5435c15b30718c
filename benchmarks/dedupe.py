"""Near-duplicates of Chinese texts: ours against datasketch and rensa with the same permutations, grams, bands and one core.

    make bench NAME=dedupe

Each side gets the same texts (made here, a tenth of them copies with 1 % of their characters changed) and must name the
texts that repeat an earlier one: normalising, cutting into 5-grams, sketching, banding. Ours also computes the true Jaccard
of the candidates, the others take theirs as they are. Every run is a process of its own; the sides take turns.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "dedupe.json"
TEXTS, COPIED, RUNS = 5000, 0.1, 5
PERMUTATIONS, BANDS, GRAM, THRESHOLD = 128, 32, 5, 0.7
WORDS = """当事人 应当 按照 约定 全面 履行 义务 出租人 承租人 租赁 期限 届满 返还 房屋 押金 违约 责任 损失
赔偿 人民法院 请求 支付 借款 利息 合同 解除 通知 对方 协商 不成 可以 提起 诉讼 证据 材料 提交
鉴定 费用 承担 劳动者 用人单位 工资 工伤 认定 仲裁 申请 继承 遗产 遗嘱 抚养 子女 离婚 财产 分割
公司 股东 出资 决议 董事 保险 交通 事故 认定书 侵权 名誉 隐私 网络 平台 消费者 退款 质量""".split()


def make_texts(count: int, seed: int = 1) -> list[str]:
    """Texts of 150 to 450 characters; the last tenth are edited copies of the first."""
    dice = random.Random(seed)
    texts = []
    for _ in range(count - int(count * COPIED)):
        parts, size, wanted = [], 0, dice.randint(150, 450)
        while size < wanted:
            parts.append(dice.choice(WORDS) + dice.choice(("", "", "", "，", "。", "的", "或者")))
            size += len(parts[-1])
        texts.append("".join(parts))
    for text in texts[: int(count * COPIED)]:
        chars = list(text)
        for place in dice.sample(range(len(chars)), max(1, len(chars) // 100)):
            chars[place] = "误"
        texts.append("".join(chars))
    return texts


def ours(texts: list[str]) -> list[int]:
    from legal_tasks.data.dedupe import near_pairs

    return [second for _, second, _ in near_pairs(texts, THRESHOLD)]


def _grams(texts: list[str]) -> list[set[str]]:
    from legal_tasks.data.dedupe import grams

    return [grams(text, GRAM) for text in texts]


def datasketch(texts: list[str]) -> list[int]:
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, PERMUTATIONS // BANDS)), []
    for place, tokens in enumerate(_grams(texts)):
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([token.encode() for token in tokens])
        if index.query(sketch):
            found.append(place)
        index.insert(place, sketch)
    return found


def rensa(texts: list[str]) -> list[int]:
    """Its bulk calls, which are its fastest."""
    import rensa as library

    matrix = library.RMinHash.digest_matrix_from_token_sets([list(tokens) for tokens in _grams(texts)], PERMUTATIONS, 1)
    index = library.RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=BANDS)
    flags = index.insert_matrix_and_query_duplicate_flags(matrix)
    return [place for place, flag in enumerate(flags) if flag]


def rensa_one_by_one(texts: list[str]) -> list[int]:
    """As its README shows it: an object per text."""
    import rensa as library

    index, found = library.RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=BANDS), []
    for place, tokens in enumerate(_grams(texts)):
        sketch = library.RMinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update(list(tokens))
        if index.query(sketch):
            found.append(place)
        index.insert(place, sketch)
    return found


SIDES: dict[str, Callable[[list[str]], list[int]]] = {
    "ours": ours,
    "datasketch": datasketch,
    "rensa": rensa,
    "rensa one by one": rensa_one_by_one,
}


def measure(side: str) -> dict:
    """In this process, on one core: texts per second, and how many of the copies were named."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    texts = make_texts(TEXTS)
    SIDES[side](texts[:200])  # imports and tables are no part of it
    started, cpu = time.perf_counter(), time.process_time()
    found = SIDES[side](texts)
    wall, used = time.perf_counter() - started, time.process_time() - cpu
    copies = set(range(TEXTS - int(TEXTS * COPIED), TEXTS))
    return {"seconds": wall, "cpu_seconds": used, "recall": len(copies & set(found)) / len(copies)}


def run(side: str) -> dict:
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.dedupe", side]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().split("\n")[-1])


def compare(peer: str, runs: dict[str, list[dict]]) -> dict:
    """Rates by processor seconds: other work on the machine is no part of them."""
    pairs = list(zip(runs["ours"], runs[peer], strict=True))
    ratios = sorted(theirs["cpu_seconds"] / own["cpu_seconds"] for own, theirs in pairs)
    rate = {side: TEXTS / statistics.median(one["cpu_seconds"] for one in runs[side]) for side in ("ours", peer)}
    return {
        "peer": peer,
        "settings": f"{TEXTS} texts, {PERMUTATIONS} permutations, {BANDS} bands, character {GRAM}-grams, 1 core",
        "ours": round(rate["ours"]),
        "theirs": round(rate[peer]),
        "unit": "texts per processor second",
        "ratio": {"median": round(statistics.median(ratios), 2), "min": round(ratios[0], 2), "max": round(ratios[-1], 2)},
        "recall": {"ours": runs["ours"][0]["recall"], "theirs": runs[peer][0]["recall"]},
        "runs": len(pairs),
    }


def main(argv: list[str]) -> int:
    if argv:
        print(json.dumps(measure(argv[0])))
        return 0
    runs: dict[str, list[dict]] = {side: [] for side in SIDES}
    for _ in range(RUNS):
        for side in SIDES:
            runs[side].append(run(side))
    comparisons = [compare(peer, runs) for peer in SIDES if peer != "ours"]
    result = {
        "name": "dedupe",
        "comparisons": comparisons,
        "machine": {"processors": os.cpu_count(), "machine": platform.machine()},
        "date": datetime.date.today().isoformat(),
        "command": "make bench NAME=dedupe",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    for one in comparisons:
        spread = f"{one['ratio']['min']} to {one['ratio']['max']}"
        print(f"{one['peer']}: {one['ratio']['median']}x ({spread}), {one['ours']} against {one['theirs']} {one['unit']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
