"""Names of metrics: what a report calls its numbers, as MLflow takes them, and two names never as one.

A name is a path of words with dots between them. A word of lower or upper case letters, digits, `_`, `-` and `:` stays; one that
names.yaml holds becomes its English identifier; in all others a run of characters that MLflow does not take becomes `_`, for
each character `u` and its code point in hexadecimal digits, `_`: 合议 is `_u5408u8bae_`. `original` leads back. Of a name that is
longer than MLflow's 250 characters the end becomes a digest; the run keeps the whole name in `metric_names.json`.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LIMIT = 250  # characters, mlflow.utils.validation.MAX_ENTITY_KEY_LENGTH
ESCAPE = re.compile(r"_((?:u[0-9a-f]+)+|u)_")
# What is escaped: runs of other characters, and an underscore that would be read as the beginning of an escape.
ESCAPED = re.compile(r"[^A-Za-z0-9_:\-]+|_(?=u(?:[0-9a-fh_]|[^A-Za-z0-9_:\-]|\Z))")
CUT = "_uh"  # no escape begins so, hence no name that was not cut holds it


@functools.cache
def table() -> dict[str, str]:
    """{name: its English identifier}"""
    import yaml

    found: dict[str, str] = yaml.safe_load((Path(__file__).parent / "names.yaml").read_text("utf-8"))
    return found


@functools.cache
def _taken() -> dict[str, str]:
    return {identifier: name for name, identifier in table().items()}


def _codes(text: str) -> str:
    return "_" + ("".join(f"u{ord(character):x}" for character in text) or "u") + "_"


def word(text: str) -> str:
    """One word of a name; different texts give different words."""
    if text in table():
        return table()[text]
    if not text:
        return _codes("")
    if text in _taken():  # the table's identifier stands for another name
        return _codes(text[0]) + ESCAPED.sub(lambda found: _codes(found[0]), text[1:])
    return ESCAPED.sub(lambda found: _codes(found[0]), text)


def join(words: tuple[str, ...]) -> str:
    """The metric's name of a path of words; different paths give different names of at most LIMIT characters."""
    whole = ".".join(map(word, words))
    if len(whole) <= LIMIT:
        return whole
    tail = CUT + hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return whole[: LIMIT - len(tail)] + tail


def metric_name(text: str) -> str:
    """The metric's name of a text, whose dots part its words."""
    return join(tuple(text.split(".")))


def original(name: str) -> tuple[str, ...]:
    """The path of words that a metric's name stands for. KeyError for one that was cut: see `metric_names.json`."""
    if CUT in name[-43:] and len(name) == LIMIT:
        raise KeyError(f"{name} was cut: its run's metric_names.json holds the whole name")
    return tuple(_word_of(part) for part in name.split("."))


def _word_of(part: str) -> str:
    if part in _taken():
        return _taken()[part]
    return ESCAPE.sub(lambda found: "".join(chr(int(code, 16)) for code in found[1].split("u") if code), part)


def flatten(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a nested report as {metric's name: float}; texts, lists and booleans are left out."""
    return {join(words): value for words, value in _numbers(values)}


def spelled(values: Mapping[str, Any]) -> dict[str, str]:
    """{metric's name: as the report spells it} of those numbers of a report whose name had to be changed."""
    pairs = ((join(words), ".".join(words)) for words, _ in _numbers(values))
    return {name: text for name, text in pairs if name != text}


def _numbers(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], float]]:
    found: list[tuple[tuple[str, ...], float]] = []
    for name, value in values.items():
        words = (*above, str(name))
        if isinstance(value, Mapping):
            found += _numbers(value, words)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((words, float(value)))
    return found
