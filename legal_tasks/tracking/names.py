"""Names of metrics: what a report calls its numbers, as MLflow takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a nested report as {dotted.name: float}; texts, lists and booleans are left out."""
    numbers: dict[str, float] = {}
    for name, value in values.items():
        label = f"{prefix}{name}"
        if isinstance(value, Mapping):
            numbers.update(flatten(value, label + "."))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[metric_name(label)] = float(value)
    return numbers


def metric_name(text: str) -> str:
    """MLflow allows letters, digits, `_ - . / :` and spaces in names."""
    return "".join(c if (c.isascii() and c.isalnum()) or c in "_-./: " else "_" for c in text)
