"""What serving costs: measured rates and the cards' rents become CNY a month, per 1,000 answers and per million tokens.

A number is measured (the load test ran on that card), scaled (from the measured card, it says how) or not measured. A card
without a price has the price "not set", never 0.
"""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from legal_tasks import yamls
from legal_tasks.step import StepError

HOURS_A_MONTH = 365 * 24 / 12  # a card that serves day and night
HEADINGS = ("配置", "成本/月", "QPS", "适用场景", "每千次回答", "每百万词元", "依据", "价格来源")
MEASURED, SCALED, NOT_MEASURED = "measured", "scaled", "not measured"
SHOWN = {MEASURED: "实测", SCALED: "换算", NOT_MEASURED: "未测量"}
NOT_SET = "价格未设定"
PRICES = Path(__file__).resolve().parents[1] / "settings" / "prices" / "cards.yaml"
CPU = "CPU"


@dataclass(frozen=True)
class Card:
    """A card of the price table; None where the table does not say."""

    name: str
    price_cny_h: float | None = None
    source: str | None = None
    date: datetime.date | None = None
    memory_gib: float | None = None
    bandwidth_gb_s: float | None = None
    suits: str = ""

    def __post_init__(self) -> None:
        for name in ("price_cny_h", "memory_gib", "bandwidth_gb_s"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 < value < 1e6):
                raise StepError(f"prices: {name} of {self.name} must be a number above 0, or left out, got {value!r}")
        if self.price_cny_h is not None and not (self.source and isinstance(self.date, datetime.date)):
            raise StepError(f"prices: the price of {self.name} needs its source and its date (YYYY-MM-DD)")


@dataclass
class Line:
    """One configuration. Rates are sustained: the highest at which P95 held in the load test."""

    card: str
    basis: str  # measured, scaled, not measured
    how: str
    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    price_cny_h: float | None = None
    source: str = ""
    month_cny: float | None = None
    per_1000_answers_cny: float | None = None
    per_million_tokens_cny: float | None = None
    suits: str = ""


def read_prices(path: Path) -> dict[str, Card]:
    """The price table; StepError names the file and the card that cannot be read."""
    if not path.is_file():
        raise StepError(f"--prices {path}: no such file; leave it out for the table that comes with the project")
    try:
        content = yamls.read_file(path)
        return {str(name): Card(str(name), **(values or {})) for name, values in dict(content).items()}
    except (yamls.YamlError, TypeError, ValueError) as error:
        raise StepError(f"--prices {path} is not a table of cards: {error}") from error


def scale(measured: Card, other: Card, need_bytes: int) -> tuple[float | None, str]:
    """(factor of the rates from `measured` to `other`, or None; how, or why not)."""
    if other.memory_gib is not None and need_bytes > other.memory_gib * 2**30:
        return None, f"显存不足：需要 {need_bytes / 2**30:.1f} GiB"
    if measured.name == CPU or other.name == CPU or not measured.bandwidth_gb_s or not other.bandwidth_gb_s:
        return None, "没有同类卡的实测可换算"
    factor = other.bandwidth_gb_s / measured.bandwidth_gb_s
    return factor, f"{measured.name} 的实测 × 显存带宽之比 {other.bandwidth_gb_s:g}/{measured.bandwidth_gb_s:g}"


def price(line: Line, card: Card) -> Line:
    """Fill in what follows from rates and rent; what lacks either stays None."""
    line.price_cny_h, line.suits = card.price_cny_h, card.suits
    line.source = f"{card.source}，{card.date}" if card.price_cny_h is not None else NOT_SET
    if card.price_cny_h is None:
        return line
    line.month_cny = card.price_cny_h * HOURS_A_MONTH
    if line.requests_per_s:
        line.per_1000_answers_cny = card.price_cny_h / (line.requests_per_s * 3600) * 1000
    if line.tokens_per_s:
        line.per_million_tokens_cny = card.price_cny_h / (line.tokens_per_s * 3600) * 1e6
    return line


def table(cards: Mapping[str, Card], on: str, load: Mapping[str, Any], need_bytes: int) -> list[Line]:
    """A line per card, the one that the load test ran on (`on`) first; StepError where the table does not know it."""
    if on not in cards:
        raise StepError(f"--card {on}: the price table has no such card; it has {', '.join(cards)}")
    best = load.get("sustained") or {}
    requests, tokens = best.get("rate_per_s"), best.get("tokens_per_s")
    lines = []
    for card in sorted(cards.values(), key=lambda card: card.name != on):
        if card.name == on:
            known = requests is not None
            how = f"负载测试：{best.get('requests')} 个请求" if known else "P95 在任何速率下都未达标"
            line = Line(card.name, MEASURED if known else NOT_MEASURED, how, requests, tokens)
        else:
            factor, how = scale(cards[on], card, need_bytes)
            line = Line(card.name, SCALED if factor and requests else NOT_MEASURED, how)
            if factor and requests:
                line.requests_per_s, line.tokens_per_s = requests * factor, (tokens or 0) * factor or None
        lines.append(price(line, card))
    return lines


def _number(value: float | None, form: str, absent: str) -> str:
    return absent if value is None else format(value, form)


def cells(line: Line) -> list[str]:
    """The texts of one row under HEADINGS."""
    absent = NOT_SET if line.price_cny_h is None else SHOWN[NOT_MEASURED]
    return [
        line.card,
        _number(line.month_cny, ",.0f", NOT_SET) + (" 元" if line.month_cny is not None else ""),
        _number(line.requests_per_s, ".1f", SHOWN[NOT_MEASURED]),
        line.suits,
        _number(line.per_1000_answers_cny, ".3f", absent) + (" 元" if line.per_1000_answers_cny is not None else ""),
        _number(line.per_million_tokens_cny, ".2f", absent) + (" 元" if line.per_million_tokens_cny is not None else ""),
        f"{SHOWN[line.basis]}（{line.how}）",
        line.source,
    ]


def render(lines: Sequence[Line], hours: Mapping[str, float], on: str) -> str:
    """The cost page as Markdown."""
    rows = [HEADINGS, ["---"] * len(HEADINGS), *(cells(line) for line in lines)]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    used = "；".join(f"{name} {value:.3f} 小时" for name, value in hours.items())
    notes = [
        f"成本/月：一张卡昼夜运行 {HOURS_A_MONTH:.0f} 小时的租金。QPS：P95 达标的最高请求速率，网关之后、流式回答。",
        f"本次占用 {on}：{used or SHOWN[NOT_MEASURED]}。",
        "![质量、延迟与成本](cost.svg)",
    ]
    return "# 成本\n\n" + text + "\n\n" + "\n\n".join(notes) + "\n"


def draw(path: Path, lines: Sequence[Line], formats: Sequence[Mapping[str, Any]], on: str) -> None:
    """Quality x latency x cost as SVG: a point per format that was served, its cost on the measured card.

    `formats`: {name, accuracy, p95_s}; a format without one of the numbers is named in the caption instead of drawn.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "lexloop"})
    figure, axes = pyplot.subplots(figsize=(7.2, 4.2))
    month = next(line.month_cny for line in lines if line.card == on)
    drawn = [part for part in formats if part["accuracy"] is not None and part["p95_s"] is not None]
    for part in drawn:
        axes.scatter(part["p95_s"], 100 * part["accuracy"], s=60)
        cost = NOT_SET if month is None else f"{month:,.0f} 元/月"
        axes.annotate(
            f"{part['name']}，{cost}", (part["p95_s"], 100 * part["accuracy"]), textcoords="offset points", xytext=(8, 4)
        )
    absent = [part["name"] for part in formats if part not in drawn]
    axes.set_xlabel("首个词元的 P95（秒）" + (f"；未测量：{'、'.join(absent)}" if absent else ""))
    axes.set_ylabel("法律准确率（%）")
    axes.set_title(f"质量 × 延迟 × 成本（{on}）")
    axes.margins(0.35)
    with warnings.catch_warnings():
        # The text stays text in the file; that no font here has its characters does not matter.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def quality(artifact: Path, load: Mapping[str, Any]) -> list[dict[str, Any]]:
    """{name, accuracy, p95_s} of the compressed formats; the load test ran on the engine's GPTQ variant alone."""
    path = artifact / "table.json"
    if not path.is_file():
        return []
    rows = json.loads(path.read_text("utf-8"))["rows"]
    served = load.get("p95_first_token_s")
    return [
        {"name": row["name"], "accuracy": row["accuracy"], "p95_s": served if row["format"] == "gptq" else None}
        for row in rows
        if row["format"] != "merged"
    ]


def need_bytes(artifact: Path) -> int:
    """Memory that the engine's variant needs, from the compression table; 0 where there is none."""
    path = artifact / "table.json"
    rows = json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else []
    return next((row["memory_bytes"] for row in rows if row["format"] == "gptq"), 0)


def card_hours(artifacts: Mapping[str, Path | None], proving_s: float) -> dict[str, float]:
    """Hours that one card was held for, by step, from the manifests; a step without an artifact is left out."""
    from legal_tasks.artifacts import read_manifest

    found = {
        name: float(read_manifest(path).get("seconds", 0.0)) / 3600
        for name, path in artifacts.items()
        if path is not None and (path / "manifest.json").is_file()
    }
    return {**found, "prove": proving_s / 3600}


def write(
    output: Path, artifact: Path, prices: Path, on: str, load: Mapping[str, Any], hours: Mapping[str, float]
) -> dict[str, Any]:
    """cost.json, cost.md and cost.svg in `output`; returns what cost.json holds."""
    cards = read_prices(prices)
    lines = table(cards, on, load, need_bytes(artifact))
    rent = cards[on].price_cny_h
    found = {
        "headings": HEADINGS,
        "card": on,
        "hours_a_month": HOURS_A_MONTH,
        "card_hours": {name: round(value, 5) for name, value in hours.items()},
        "card_hours_cny": None if rent is None else round(rent * sum(hours.values()), 4),
        "rows": [{**asdict(line), "cells": cells(line)} for line in lines],
    }
    (output / "cost.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    (output / "cost.md").write_text(render(lines, hours, on), "utf-8")
    draw(output / "cost.svg", lines, quality(artifact, load), on)
    return found
