"""The compression table: 模型 | 大小 | 显存需求 | 效果损失, with load time, perplexity and legal accuracy beside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from legal_tasks.evaluation.paired import difference

HEADINGS = ("模型", "大小", "显存需求", "效果损失", "加载时间", "困惑度", "法律准确率", "配对差")
NOTE = (
    "显存需求为估算：权重加一条满上下文的键值缓存（每数 2 字节）。效果损失 =（合并模型准确率 − 该格式准确率）÷ 合并模型准确率，"
    "同一批试题逐题配对。困惑度在验证集的回答上计算。"
    "配对差：同题准确率之差及 95 % 区间。"
)


@dataclass
class Line:
    """One format of the model."""

    name: str  # shown
    format: str  # merged, gptq-act-order, gptq, gguf
    path: str | None  # relative to the artifact, None for the merged model, which is the input
    size_bytes: int  # of the weights
    memory_bytes: int  # estimated need
    load_s: float
    perplexity: float | None
    accuracy: float | None = None
    n: int = 0
    loss: float | None = None  # of accuracy, relative to the merged model; negative = better
    worse: int = 0  # items that only the merged model answers rightly
    better: int = 0  # items that only this format answers rightly
    difference: dict[str, Any] | None = None  # of accuracy to the merged model, with its interval; evaluation.paired


def cache_bytes(config: dict[str, Any], number_bytes: int = 2) -> int:
    """Key-value cache of one full context: float16, or float32 as our llama.cpp keeps it (`number_bytes` 4)."""
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    kept = config.get("num_key_value_heads") or heads
    return 2 * number_bytes * config["num_hidden_layers"] * kept * head * config["max_position_embeddings"]


def weights_bytes(path: Path) -> int:
    """Size of a GGUF file, or of the safetensors of a folder."""
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.glob("*.safetensors"))


def compare(line: Line, merged: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> None:
    """Fill in accuracy and loss from the items' rows {id, correct}; both models answered the same items."""
    reference = {row["id"]: row["correct"] for row in merged}
    answers = {row["id"]: row["correct"] for row in rows}
    if reference.keys() != answers.keys():
        raise ValueError(f"{line.name} was asked other items than the merged model")
    line.n = len(answers)
    line.accuracy = sum(answers.values()) / line.n if line.n else None
    line.worse = sum(reference[key] > answers[key] for key in answers)
    line.better = sum(reference[key] < answers[key] for key in answers)
    new, old = ([float(side[key]) for key in answers] for side in (answers, reference))
    line.difference = difference(new, old, list(answers)).as_dict() if line.n else None
    right = sum(reference.values())
    line.loss = (right - sum(answers.values())) / right if right else None


def show_bytes(number: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.1f} {unit}" if unit != "B" else f"{number} B"
        number /= 1024  # type: ignore[assignment]
    return f"{number:.2f} GiB"


def cells(line: Line) -> list[str]:
    """The texts of one row of the table; what was not measured says so."""
    unknown = "未测量"
    accuracy = unknown if line.accuracy is None else f"{100 * line.accuracy:.2f} %（n = {line.n}）"
    gap = line.difference
    paired = unknown if gap is None else f"{100 * gap['value']:+.2f} [{100 * gap['low']:+.2f}, {100 * gap['high']:+.2f}] 个百分点"
    loss = unknown if line.loss is None else f"{100 * line.loss:+.2f} %"
    return [
        line.name,
        show_bytes(line.size_bytes),
        show_bytes(line.memory_bytes),
        "—" if line.format == "merged" else loss,
        f"{line.load_s:.2f} s",
        unknown if line.perplexity is None else f"{line.perplexity:.3f}",
        accuracy,
        "—" if line.format == "merged" else paired,
    ]


def write_table(folder: Path, lines: Sequence[Line]) -> None:
    """table.json (numbers) and table.md (for people)."""
    content = {"headings": HEADINGS, "note": NOTE, "rows": [{**asdict(line), "cells": cells(line)} for line in lines]}
    (folder / "table.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
    table = [HEADINGS, ["---"] * len(HEADINGS), *(cells(line) for line in lines)]
    text = "\n".join("| " + " | ".join(row) + " |" for row in table)
    (folder / "table.md").write_text(f"{text}\n\n{NOTE}\n", "utf-8")
