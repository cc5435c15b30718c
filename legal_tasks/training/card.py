"""The training card: what an adapter was made of, how it was trained, what that took; with the curves as a picture.

`card/README.md` has Hugging Face's metadata at its head; `card/curves.svg` is drawn from the log. They tell of seconds and
of the machine, so they are no part of the artifact's content (legal_tasks/artifacts.py).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from legal_tasks import tracking
from legal_tasks.artifacts import CARD

FOLDER = CARD.rstrip("/")
SETTINGS = (  # parameter, its name in the card
    *(("r", "LoRA rank"), ("alpha", "LoRA alpha"), ("dropout", "LoRA dropout"), ("targets", "target modules")),
    *(("learning_rate", "learning rate"), ("schedule", "schedule"), ("warmup", "warm-up updates"), ("batch", "batch")),
    *(("accumulation", "accumulation"), ("epochs", "epochs"), ("max_length", "longest chat, tokens"), ("seed", "seed")),
    *(("packing", "packing"), ("quantise", "quantised base"), ("processes", "processes"), ("zero", "ZeRO stage")),
)


def write(folder: Path, params: Any, report: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> None:
    """README.md and curves.svg in `folder`, and into MLflow.

    `report`: the step's; `points`: the lines of log.jsonl, losses in nats per token.
    """
    folder.mkdir()
    (folder / "curves.svg").write_text(curves(points), "utf-8")
    (folder / "README.md").write_text(render(params, report), "utf-8")
    for name in ("README.md", "curves.svg"):
        tracking.log_file(folder / name, "training_card")


def render(params: Any, report: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    from huggingface_hub import ModelCardData

    name = report["base"]
    data = ModelCardData(
        language="zh",
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["legal", "lora"],
        base_model=name,
        base_model_relation="adapter",
    )
    rows = [(title, _text(getattr(params, field))) for field, title in SETTINGS if hasattr(params, field)]
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# LoRA adapter for {name}",
        "Trained on Chinese legal records. What it is worth stands in the evaluation's report, not here.",
        "![loss by update](curves.svg)",
        "## Result",
        table([*_result(report)]),
        "## Settings",
        table(rows),
        "## Made of",
        table(
            [
                ("base, sha256", report["base_digest"]),
                ("training data, sha256", report["data_digest"]),
                ("chat template, sha256", report["template_sha256"]),
                ("records trained on", _text(report["records"])),
                ("records left out", _text(report["left_out"] or "none")),
                ("records cut off at the end", _text(report["truncated"])),
                ("validation records", _text(report["validation_records"])),
            ]
        ),
        "## What it took",
        table(_took(params, report)),
    ]
    return "\n\n".join(parts) + "\n"


def _result(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("updates", f"{report['updates']:,} ({report['epochs']:g} epochs)"),
        ("training loss, last tenth", _nats(report["train_loss"])),
        ("validation loss of the base", _nats(report["validation_loss_before"])),
        ("validation loss", _nats(report["validation_loss"])),
        ("adapter of update", _text(report["best_update"] or report["updates"])),
        ("trained parameters", f"{report['trained_parameters']:,} of {report['base_parameters']:,}"),
    ]


def _took(params: Any, report: Mapping[str, Any]) -> list[tuple[str, str]]:
    attempt = f" (of the last attempt, from update {report['resumed_at']})" if report["resumed_at"] else ""
    speed = report["tokens_per_s"]
    return [
        ("tokens read, without padding", f"{report['tokens']:,}"),
        ("seconds", f"{report['seconds']:,.0f}{attempt}, {report['saving_seconds']:.1f} of them for checkpoints"),
        ("tokens per second", "not measured" if speed is None else f"{speed:,.0f}"),
        ("computed on", f"{report['device']}, {report['threads']} threads, {params.processes} processes, {report['backend']}"),
        ("cost", cost(report["device"], report["seconds"] * params.processes)),
    ]


def cost(device: str, seconds: float) -> str:
    """CNY for the seconds of a card by the price table; in words where there is no price."""
    from legal_tasks.serving.cost import CPU, NOT_SET, PRICES, read_prices

    name = CPU
    if device.startswith("cuda"):
        import torch

        name = torch.cuda.get_device_name()
    cards = read_prices(PRICES)
    words = set(name.replace("-", " ").split())
    card = next((card for key, card in cards.items() if set(key.split()) <= words), None)
    hours = f"{seconds / 3600:.3f} hours of {name}"
    if card is None or card.price_cny_h is None:
        return f"{hours}; {NOT_SET} (price not set)"
    return (
        f"{card.price_cny_h * seconds / 3600:.2f} CNY: {hours} at {card.price_cny_h:g} CNY an hour ({card.source}, {card.date})"
    )


def table(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _nats(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f} nats per token"


def _text(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def curves(points: Sequence[Mapping[str, Any]]) -> str:
    """Loss (nats per token) and learning rate by update as SVG; the same points give the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lexloop", "font.family": "sans-serif"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        FigureCanvasSVG(figure)
        loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        steps = [point["step"] for point in points]
        loss.plot(steps, [point["loss"] for point in points], color="#2b6cb0", label="training loss")
        measured = [(point["step"], point["validation_loss"]) for point in points if "validation_loss" in point]
        if measured:
            loss.plot(*zip(*measured, strict=True), "o-", color="#c05621", label="validation loss")
        loss.set_ylabel("nats per token")
        loss.legend(frameon=False)
        named = [(point["step"], point["learning_rate"]) for point in points if "learning_rate" in point]
        if named:
            rate.plot(*zip(*named, strict=True), color="#4a5568")
        rate.set_ylabel("learning rate")
        rate.set_xlabel("update")
        for axes in (loss, rate):
            axes.spines[["top", "right"]].set_visible(False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def read_points(path: Path) -> list[dict[str, Any]]:
    """The points of a log.jsonl."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
