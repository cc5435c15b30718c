"""How often the gate errs: item rows drawn for models of known quality, compared and decided by the real functions.

    make bench NAME=gate        # GATE_PAIRS=2000 GATE_PAIRS_4000=2000 GATE_CURVE=100

A pair is a champion (85 % right on the domain suite) and a challenger with a known true difference; 20 % of the items
are answered differently. On the other suites base, champion and challenger are equally good, with as many items. Every
rule is on; parity, load test and cost are given as passing. Writes benchmarks/results/gate.json and docs/gate.svg. What
was drawn is kept there chunk by chunk and drawn again only where the rules have changed, so an interrupted run goes on.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "gate.json"
PICTURE = REPOSITORY / "docs" / "gate.svg"
CHAMPION, DISCORDANT = 0.85, 0.2
CHUNK = 100  # pairs that are drawn and kept together
ROUNDS = 2_000  # of the bootstrap, a fifth of a real comparison's: its bounds then waver by 0.05 standard errors
SUITES = {  # suite -> (kind, share right of base, champion and challenger alike)
    "case_analysis": ("case", 0.7),
    "general": ("choice", 0.6),
    "refusal": ("refusal", 0.95),
    "over_refusal": ("over_refusal", 0.95),
    "answers": ("answer", 0.99),
}
FORMATS = ("gptq-act-order", "gptq", "gguf")
GIVEN = {
    "proof": {"parity": 1.0, "checked": 200, "requests": 200, "success_rate": 1.0, "p95_first_token_s": 0.2}
    | {"cost_cny": {"simulated": 100.0}},
    "data": {"records": 10_000, "contamination": 0},
    "citations": {"answers": 200, "citations": 150, "checked": 150, "citing": 150, "wrong": {}, "examples": []},
}
PARTS = {"equal": (1000, 0.0), "worse": (1000, -0.03), "better": (1000, 0.06), "many": (4000, 0.0)}  # (items, difference)
# (what is specified, part, mode, "least" or "most", share of pairs promoted)
SPECIFIED = (
    ("equal", "equal", "replace", "least", 0.35),
    ("equal", "many", "replace", "least", 0.80),
    ("3 points worse", "worse", "replace", "most", 0.02),
    ("equal", "equal", "improve", "most", 0.065),
    ("6 points better", "better", "improve", "least", 0.95),
)


@lru_cache(maxsize=64)
def prepared(suite: str, kind: str, n: int) -> tuple[tuple[dict[str, Any], dict[str, Any]], ...]:
    """(row where wrong, row where right) of each item, as the harness writes them."""
    words = {"refusal": ("answered", "refused"), "over_refusal": ("refused", "answered"), "answer": ("broken", "answered")}
    found = []
    for number in range(n):
        row = {"id": f"{suite}-{number}", "kind": kind, "wording": None, "category": None, "template": None, "scores": None}
        if kind in words:
            rows = [{"answer": "", "picked": word, "partial": None, "ended": True} for word in words[kind]]
        else:
            rows = [{"answer": ["A"], "picked": [letter], "partial": float(letter == "A"), "chance": 0.25} for letter in "BA"]
        found.append(tuple({**row, **rest, "correct": right} for right, rest in enumerate(rows)))
    return tuple(found)  # type: ignore[arg-type]


def rows(suite: str, kind: str, right: Any) -> list[dict[str, Any]]:
    """One row per item from an array of booleans."""
    return [pair[int(hit)] for pair, hit in zip(prepared(suite, kind, len(right)), right, strict=True)]


def alike(dice: Any, n: int, share: float, models: int, discordant: float = DISCORDANT) -> Any:
    """Booleans (models, n): equally good models that disagree pairwise on `discordant` of the items, or as nearly as can be."""
    import numpy

    together = max(0.0, 1 - discordant / (2 * share * (1 - share)))
    common = dice.random(n) < share
    return numpy.where(dice.random(n) < together, common, dice.random((models, n)) < share)


def changed(dice: Any, old: Any, difference: float) -> Any:
    """A model that differs from `old` on `DISCORDANT` of the items, and by `difference` in its true share right."""
    import numpy

    worse, better = (DISCORDANT - difference) / 2, (DISCORDANT + difference) / 2
    drawn = dice.random(len(old))
    return numpy.where(old, drawn >= worse / CHAMPION, drawn < better / (1 - CHAMPION))


def draw(dice: Any, n: int, difference: float, earlier: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(comparison as compare makes it, history) of one pair; `earlier`: equally good champions before, on the same items."""
    from legal_tasks.evaluation import compare

    champions = alike(dice, n, CHAMPION, 1 + earlier)
    asked = {"base": dice.random(n) < 0.5, "champion": champions[0], "challenger": changed(dice, champions[0], difference)}
    about = {"legal_exam": {"origin": "sources", "kind": "choice", "embedded": False}}
    answers = {"legal_exam": {role: rows("legal_exam", "choice", right) for role, right in asked.items()}}
    for suite, (kind, share) in SUITES.items():
        about[suite] = {"origin": "standing", "kind": kind, "embedded": False}
        equal = zip(asked, alike(dice, n, share, len(asked)), strict=True)
        answers[suite] = {role: rows(suite, kind, right) for role, right in equal}
    found = compare.compare_all(about, answers, rounds=ROUNDS) | {"roles": list(asked)}
    merged = {row["id"]: row for row in answers["legal_exam"]["challenger"]}
    found["compression"] = {}
    for form in FORMATS:  # 4 % of the answers flip, either way alike
        flips = dice.random(n) < 0.02 / share_alike(asked["challenger"])
        pressed = rows("legal_exam", "choice", asked["challenger"] ^ flips)
        found["compression"][form] = {"format": form, "suite": "legal_exam", **compare.compare_format(pressed, merged)}
    items = found["suites"]["legal_exam"]["items"]
    history = [
        {"at": "2026-06-01", "version": str(number), "accuracies": {"legal_exam": {"value": float(right.mean()), "items": items}}}
        for number, right in enumerate(champions[1:])
    ]
    return found, history


def share_alike(right: Any) -> Any:
    """For each item the share of all that are as it is: right, or wrong."""
    import numpy

    share = right.mean()
    return numpy.where(right, share, 1 - share)


def decisions(pairs: int, n: int, difference: float, seed: int, earlier: int = 0) -> Iterator[dict[str, dict[str, Any]]]:
    """{mode: decision} of each of `pairs` drawn pairs."""
    import numpy

    from legal_tasks.evaluation import gate

    dice = numpy.random.default_rng([seed, n, round(1000 * difference) % 1000, earlier])
    here = Path(".")
    settings = {
        mode: gate.Params(comparison=here, output=here, mode=mode, reason="data", card="simulated")
        for mode in ("replace", "improve")
    }
    for _ in range(pairs):
        comparison, history = draw(dice, n, difference, earlier)
        yield {mode: gate.decide(comparison, GIVEN, history, params) for mode, params in settings.items()}


def simulate(pairs: int, n: int, difference: float, seed: int = 0, earlier: int = 0) -> dict[str, Any]:
    """{mode: {promoted, undecided: pairs, blocked_by: {rule: pairs}}} for one true difference."""
    found = {mode: {"promoted": 0, "undecided": 0, "blocked_by": Counter[str]()} for mode in ("replace", "improve")}
    for decided in decisions(pairs, n, difference, seed, earlier):
        for mode, decision in decided.items():
            stopped = [rule for rule in decision["rules"] if rule["verdict"] not in ("pass", "not applicable")]
            row: dict[str, Any] = found[mode]
            row["promoted"] += decision["decision"] == "pass"
            row["undecided"] += bool(stopped) and all(rule["verdict"] == "undecided" for rule in stopped)
            row["blocked_by"].update(rule["name"] for rule in stopped)
    return found


class Drawn:
    """What was drawn so far, in the result file: chunks of pairs, valid for the rules that decided them."""

    def __init__(self) -> None:
        from legal_tasks.artifacts import digest_files, sha256_file
        from legal_tasks.evaluation import compare, gate, paired, rules

        files = [Path(str(module.__file__)) for module in (compare, gate, paired, rules)]
        self.code = digest_files({file.name: sha256_file(file) for file in [*files, Path(__file__)]})
        old = json.loads(RESULT.read_text("utf-8")) if RESULT.is_file() else {}
        self.chunks: dict[str, Any] = old.get("chunks", {}) if old.get("code") == self.code else {}

    def rates(self, pairs: int, n: int, difference: float, earlier: int = 0) -> dict[str, Any]:
        """{mode: {promoted, undecided: share of pairs, blocked_by: {rule: pairs}}}, seconds beside it."""
        size, chunks = min(CHUNK, pairs), max(1, pairs // CHUNK)
        names = [
            f"{n} items, {100 * difference:+g} points, {earlier} earlier, {size} pairs, seed {seed}" for seed in range(chunks)
        ]
        for seed, name in enumerate(names):
            if name not in self.chunks:
                started = time.time()
                self.chunks[name] = simulate(size, n, difference, seed, earlier) | {"seconds": round(time.time() - started, 1)}
                RESULT.parent.mkdir(exist_ok=True)
                RESULT.write_text(json.dumps({"code": self.code, "chunks": self.chunks}, ensure_ascii=False, indent=1), "utf-8")
        found: dict[str, Any] = {"pairs": size * chunks, "seconds": sum(self.chunks[name]["seconds"] for name in names)}
        for mode in ("replace", "improve"):
            parts = [self.chunks[name][mode] for name in names]
            blocked = sum((Counter(part["blocked_by"]) for part in parts), Counter())
            found[mode] = {key: sum(part[key] for part in parts) / found["pairs"] for key in ("promoted", "undecided")}
            found[mode]["blocked_by"] = dict(blocked.most_common())
        return found


def measure_rates(drawn: Drawn, part: str, pairs: int) -> list[dict[str, Any]]:
    """The specified rates of one part; its pairs are drawn once and decided in both modes."""
    n, difference = PARTS[part]
    found = drawn.rates(pairs, n, difference)
    table = []
    for what, where, mode, side, bound in SPECIFIED:
        if where != part:
            continue
        promoted = found[mode]["promoted"]
        row = {"mode": mode, "challenger": what, "items": n, "pairs": found["pairs"], **found[mode], "bound": bound, "side": side}
        row["kept"] = promoted >= bound if side == "least" else promoted <= bound
        table.append(row | {"seconds": found["seconds"]})
        print(f"{mode}, {what}, {n} items: promoted {promoted:.4f}, specified at {side} {bound:g}", flush=True)
    return table


def measure_history(drawn: Drawn, pairs: int) -> list[dict[str, Any]]:
    """An equal model after eleven equal champions on the same items: what the anti-ratchet costs by chance."""
    found = drawn.rates(pairs, 1000, 0.0, earlier=11)
    print(f"replace, equal, after eleven equal champions: promoted {found['replace']['promoted']:.4f}", flush=True)
    row = {"mode": "replace", "challenger": "equal, after eleven equal champions", "items": 1000}
    return [row | {"pairs": found["pairs"], **found["replace"], "seconds": found["seconds"]}]


def measure_curves(drawn: Drawn, pairs: int) -> list[dict[str, Any]]:
    """Share promoted by true difference, for several numbers of items."""
    curves = []
    for n in (50, 200, 1000, 4000):
        for points in (-6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8):
            found = drawn.rates(pairs, n, points / 100)
            for mode in ("replace", "improve"):
                row = {"mode": mode, "items": n, "difference_points": points, "promoted": found[mode]["promoted"]}
                curves.append(row | {"undecided": found[mode]["undecided"], "pairs": found["pairs"]})
        print(f"curve of {n} items", flush=True)
    return curves


def picture(curves: Sequence[dict[str, Any]], path: Path) -> None:
    """The operating curves as SVG: share promoted against the true difference in points."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gate", "font.size": 9}):
        figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True)
        for axis, mode in zip(axes, ("replace", "improve"), strict=True):
            for n in sorted({row["items"] for row in curves}):
                rows_ = [row for row in curves if row["mode"] == mode and row["items"] == n]
                axis.plot([r["difference_points"] for r in rows_], [r["promoted"] for r in rows_], marker=".", label=f"{n} items")
            axis.axvline(-2 if mode == "replace" else 0, color="grey", linewidth=0.8, linestyle=":")
            axis.set(title=mode, xlabel="true difference to the champion, points", ylim=(-0.02, 1.02))
            axis.grid(alpha=0.3)
        axes[0].set_ylabel("share of pairs promoted")
        axes[0].legend(frameon=False)
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> int:
    pairs, curve = int(os.environ.get("GATE_PAIRS", "2000")), int(os.environ.get("GATE_CURVE", "100"))
    drawn = Drawn()
    many = int(os.environ.get("GATE_PAIRS_4000", str(pairs)))
    table = [row for part in PARTS for row in measure_rates(drawn, part, many if PARTS[part][0] == 4000 else pairs)]
    table += measure_history(drawn, pairs // 4)
    curves = measure_curves(drawn, curve)
    picture(curves, PICTURE)
    result = {
        "name": "gate",
        "comparisons": [_comparison(row) for row in table if "bound" in row],
        "table": table,
        "curves": curves,
        "machine": {"processors": os.cpu_count(), "machine": platform.machine()},
        "date": datetime.date.today().isoformat(),
        "command": "make bench NAME=gate",
        "code": drawn.code,
        "chunks": drawn.chunks,
    }
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return 0 if all(row.get("kept", True) for row in table) else 1


def _comparison(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "peer": f"specified: {row['mode']}, {row['challenger']}, {row['items']} items, at {row['side']}",
        "settings": f"{row['pairs']} pairs, 20 % discordant, champion 85 %, every rule on",
        "ours": row["promoted"],
        "theirs": row["bound"],
        "unit": "share promoted",
        "ratio": dict.fromkeys(("median", "min", "max"), _ratio(row)),
        "runs": 1,
    }


def _ratio(row: dict[str, Any]) -> float | None:
    """> 1 when the gate keeps the specified rate; null where it promoted none of those that it may promote few of."""
    if row["side"] == "least":
        return round(row["promoted"] / row["bound"], 3)
    return round(row["bound"] / row["promoted"], 3) if row["promoted"] else None


if __name__ == "__main__":
    sys.exit(main())
