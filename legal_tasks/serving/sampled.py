"""How many questions of the domain are answered rightly as they are asked by default, and when a request asks for sampling.

What is released was evaluated greedily; whoever sends a temperature gets other answers. Their share is measured through the
gateway, by the same questions and fixed seeds, and shown: no rule judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from legal_tasks.step import StepError

TEMPERATURES: tuple[float | None, ...] = (None, 0.7, 1.0)  # None: the request names none
ANSWER_TOKENS = 64  # as evaluation.harness asks by default
TWO_SIDED_Z = 1.959964  # of a 95 % interval
SUITE = "legal_exam"  # the exam of the domain where the sources have one; else every multiple choice


def questions(
    folder: Path,
    suites: Sequence[str],
    rank_texts: Sequence[str],
    count: int,
    fits: Callable[[list[dict[str, str]]], bool] = bool,
) -> list[tuple[dict[str, Any], list[dict[str, str]]]]:
    """[(item, chat)]: at most `count` items of multiple choice, evenly spread over the suites, that fit.

    Items of `rank_texts` are asked without their options, the others with them and for their letters. StepError for a suite
    that is not there.
    """
    from legal_tasks.evaluation import choices
    from legal_tasks.evaluation.items import read_items, spread, suites_in

    kinds = {name: read_items(folder / f"{name}.jsonl", split=None)[0]["kind"] for name in suites_in(folder)}
    missing = [name for name in suites if kinds.get(name) != "choice"]
    if missing:
        raise StepError(
            f"--suites {','.join(missing)}: {folder} has no such multiple choice, but {', '.join(kinds) or 'nothing'}"
        )
    chosen = suites or [name for name in ([SUITE] if SUITE in kinds else kinds) if kinds[name] == "choice"]
    found: list[Any] = []
    for name in chosen:
        form = "text" if name in rank_texts else "generate"
        docs = list(choices.read(str(folder), name, form)["test"])
        asked = [(doc, [{"role": "user", "content": choices.question(doc)}]) for doc in docs]
        found += [(doc, chat) for doc, chat in asked if fits(chat)]
    kept: list[Any] = spread(found, count)
    return kept


def right(doc: dict[str, Any], answer: str) -> bool:
    """Whether an answer in words commits to the right options and no other; to one of them where no options were shown."""
    from legal_tasks.evaluation import choices

    picked = set(choices.judge_words(doc, answer)["picked"])
    return bool(picked) and (picked <= set(doc["answer"]) if doc["form"] == "text" else picked == set(doc["answer"]))


def measure(url: str, key: str, asked: Sequence[tuple[dict[str, Any], list[dict[str, str]]]], seed: int = 0) -> dict[str, Any]:
    """{rows: [{temperature (None: none named), n, right, share, low, high}], items}: intervals are Wilson's, 95 %.

    The seed of the i-th question is `seed` + i, at every temperature.
    """
    import httpx

    from legal_tasks.evaluation.paired import wilson
    from legal_tasks.serving.backends import ask, question

    items: list[dict[str, Any]] = []
    rows = []
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(headers=headers, timeout=120, trust_env=False) as client, ThreadPoolExecutor(8) as pool:
        for temperature in TEMPERATURES:

            def one(number: int, temperature: float | None = temperature) -> str:
                sampling = {} if temperature is None else {"temperature": temperature, "seed": seed + number}
                body = question(asked[number][1], ANSWER_TOKENS, **sampling)
                return ask(client, f"{url}/v1/chat/completions", body)["choices"][0]["message"]["content"] or ""

            said = list(pool.map(one, range(len(asked))))
            judged = [right(doc, text) for (doc, _), text in zip(asked, said, strict=True)]
            items += [
                {"id": doc["id"], "temperature": temperature, "right": good, "answer": text}
                for (doc, _), good, text in zip(asked, judged, said, strict=True)
            ]
            n, hits = len(judged), sum(judged)
            low, high = wilson(hits / n, n, TWO_SIDED_Z)
            rows.append({"temperature": temperature, "n": n, "right": hits, "share": hits / n, "low": low, "high": high})
    return {"rows": rows, "answer_tokens": ANSWER_TOKENS, "seed": seed, "items": items}


def label(temperature: float | None) -> str:
    return "as by default" if temperature is None else f"temperature {temperature:g}"


def by_name(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows as a step's report has them, so that MLflow keeps their numbers: default, temperature_0_7, temperature_1."""

    def name(temperature: float | None) -> str:
        return "default" if temperature is None else f"temperature_{temperature:g}".replace(".", "_")  # a dot parts words

    return {name(row["temperature"]): dict(row) for row in rows}


def shown(row: dict[str, Any]) -> str:
    """A row in words."""
    share, low, high = (f"{100 * row[name]:.0f} %" for name in ("share", "low", "high"))
    return f"{row['right']} of {row['n']} right, {share} [{low}, {high}]"


def table(found: dict[str, Any]) -> str:
    """sampled.md: what is asked how, and what came of it."""
    lines = [f"| {label(row['temperature'])} | {shown(row)} |" for row in found["rows"]]
    about = f"Questions of the domain, answered in up to {found['answer_tokens']} tokens through the gateway; 95 % intervals."
    return "\n".join([about, "", "| asked | answered |", "|---|---|", *lines]) + "\n"
