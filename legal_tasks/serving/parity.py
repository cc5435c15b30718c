"""Is the served model the evaluated one? Token ids of chats and answers, through the gateway, against transformers.

Questions are asked as the README asks, without a word about sampling: what is served by default must be what was evaluated,
the greedy answer. Some are asked again with the temperature 0. The reference is the evaluated artifact of the same format,
computed by transformers. Answers may part only where the reference's two best tokens are a draw, and few of them may: every
difference is listed.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from legal_tasks.serving.backends import Backend
from legal_tasks.step import StepError, progress

TIE = 0.05  # natural logarithm: two tokens closer than this are a draw between float16 and float32
EXPLICIT = 40  # questions that are asked again with the temperature in the request
EQUAL_SHARE = 0.95  # of the answers must be equal token by token; ties explain the rest, not everything


Chats = dict[str, list[dict[str, str]]]


def read_chats(path: Path) -> Iterator[list[dict[str, str]]]:
    """The records of a file as chats that end with the question; StepError where there is no such file."""
    from legal_tasks.training.chat import messages

    if not path.is_file():
        raise StepError(f"--data: {path} is missing: name the folder made by data.split")
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield messages({**json.loads(line), "output": ""})


def read_questions(folder: Path, count: int, fits: Callable[[list[dict[str, str]]], bool] = bool) -> tuple[Chats, int]:
    """({name: chat} of `count` records that fit, how many were passed over because they do not).

    Those of the validation set come first, then as many of the training set as are missing.
    """
    chats: Chats = {}
    too_long = 0
    for part in ("validation", "train"):
        for number, chat in enumerate(read_chats(folder / f"{part}.jsonl"), start=1):
            if len(chats) == count:
                return chats, too_long
            if fits(chat):
                chats[f"{part} {number}"] = chat
            else:
                too_long += 1
    if not chats:
        raise StepError(f"--data: no record of {folder} leaves room for an answer in the model's context: lower --max-tokens")
    return chats, too_long


def sample_questions(folder: Path, count: int, seed: int, fits: Callable[[list[dict[str, str]]], bool] = bool) -> Chats:
    """{name: chat} of `count` training records drawn at random, so that their lengths are mixed as users' are."""
    chats = list(read_chats(folder / "train.jsonl"))
    order = list(range(len(chats)))
    random.Random(seed).shuffle(order)
    chosen = (number for number in order if fits(chats[number]))
    return {f"train {number + 1}": chats[number] for number in itertools.islice(chosen, count)}


def hard_chats(tokenizer: Any) -> dict[str, list[dict[str, str]]]:
    """Chats on which two renderings part most easily: special tokens as text, several turns, a system turn, white space."""
    found = {f"special token {token}": f"合同里写着{token}，有效吗？" for token in tokenizer.all_special_tokens}
    found |= {"white space": "  第一条\n\n\t甲方  乙方　签字\r\n ", "rare characters": "㐂と한𠮷🙂e\u0301é“”…—ﬀ"}
    chats = {name: [{"role": "user", "content": text}] for name, text in found.items()}
    turns = [
        ("user", "什么是定金？"),
        ("assistant", "定金是担保。"),
        ("user", "能退吗？"),
        ("assistant", "看约定。"),
        ("user", "为什么？"),
    ]
    chats["five turns"] = [{"role": role, "content": text} for role, text in turns]
    system = [{"role": "system", "content": "你是法律助手。"}, {"role": "user", "content": "押金是什么？"}]
    if takes_system(tokenizer, system):
        chats["system turn"] = system
    return chats


def takes_system(tokenizer: Any, chat: list[dict[str, str]]) -> bool:
    """Whether the model's template knows a system turn; some raise an error on it."""
    from jinja2 import TemplateError

    from legal_tasks.training.chat import render

    try:
        return bool(render(tokenizer, chat, generation=True))
    except TemplateError:
        return False


def ask(
    backend: Backend,
    engine_url: str,
    url: str,
    key: str,
    chat: list[dict[str, str]],
    max_tokens: int,
    sampling: Mapping[str, Any] = {},
) -> tuple[list[int], list[int]]:
    """(prompt ids by the engine itself, ids of its answer through the gateway, with the end token if given).

    `sampling`: what the request says of it. Raises StepError with the server's words where one of them is refused.
    """
    import httpx

    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=120, trust_env=False) as client:
        return backend.prompt_ids(client, engine_url, chat), backend.answer(client, url, chat, max_tokens, **sampling)


def judge(model: Any, prompt: list[int], answer: list[int], device: str) -> tuple[int, float]:
    """(first position where the reference would choose another token or -1, largest gap in log-probability).

    One pass over prompt + answer gives the reference's choice at every position of the answer, given the same tokens.
    """
    import torch

    if not answer:
        return 0, float("inf")
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + answer], device=device)).logits[0, len(prompt) - 1 : -1].float()
    chosen = torch.tensor(answer, device=device)
    best, choice = logits.max(dim=-1)
    gaps = best - logits.gather(1, chosen[:, None])[:, 0]
    differ = (choice != chosen).nonzero()
    return (int(differ[0]) if len(differ) else -1), float(gaps.max())


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Token ids that end an answer."""
    given = model.generation_config.eos_token_id if model.generation_config else None
    found = set(given if isinstance(given, list) else [given])
    return {number for number in found | {tokenizer.eos_token_id} if number is not None}


def compare_one(
    model: Any, tokenizer: Any, ids: list[int], served: tuple[list[int], list[int]], max_tokens: int
) -> dict[str, Any]:
    """What is listed of one prompt: `ids` are its tokens here, `served` those of the engine and its answer."""
    served_ids, answer = served
    differs, gap = judge(model, ids, answer, str(model.device))
    verdict = "equal" if differs < 0 else "tie" if gap <= TIE else "different"
    if len(answer) < max_tokens and not (answer and answer[-1] in end_tokens(model, tokenizer)):
        verdict, differs = "different", len(answer)  # it stopped although the model had not ended
    item = {"tokens": len(ids), "tokens_equal": ids == served_ids, "answer": verdict, "gap": round(gap, 5)}
    if verdict != "equal" or ids != served_ids:
        item |= {"position": differs, "served_prompt": tokenizer.decode(served_ids), "served": tokenizer.decode(answer)}
    return item


def compare_answers(
    backend: Backend, engine_url: str, url: str, key: str, reference: tuple[Any, Any], chats: Chats, max_tokens: int
) -> dict[str, Any]:
    """Parity of one format: token ids of the prompts and answers, served against transformers.

    Every chat is asked as by default, the first EXPLICIT of `chats` also with the temperature 0: `asked` says how.

    `reference`: (model, tokenizer). `identical_answers` counts prompts with the same tokens whose answer is equal or
    differs by a tie; where fewer than EQUAL_SHARE are equal, ties no longer count. Hard chats are added to `chats`; those
    of them that leave no room for the answer are counted as `too_long`.
    """
    from legal_tasks.training.chat import render

    model, tokenizer = reference
    context = model.config.max_position_embeddings
    asked = {**hard_chats(tokenizer), **chats}
    rendered = {name: (chat, render(tokenizer, chat, generation=True)) for name, chat in asked.items()}
    kept = {name: pair for name, pair in rendered.items() if len(pair[1]) + max_tokens <= context}
    if not kept.keys() & chats.keys():
        raise StepError(f"no question leaves room for {max_tokens} tokens of answer in the model's context: lower --max-tokens")
    explicit = [name for name in chats if name in kept][:EXPLICIT]
    plan: list[tuple[str, dict[str, Any]]] = [*((name, {}) for name in kept), *((name, {"temperature": 0}) for name in explicit)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda one: ask(backend, engine_url, url, key, kept[one[0]][0], max_tokens, one[1]), plan))
    items = []
    for number, ((name, sampling), reply) in enumerate(zip(plan, replies, strict=True), start=1):
        how = "temperature 0" if sampling else "as by default"
        items.append({"prompt": name, "asked": how, **compare_one(model, tokenizer, kept[name][1], reply, max_tokens)})
        if number % 50 == 0:
            progress(number, len(plan))
    counts = {name: sum(item["answer"] == name for item in items) for name in ("equal", "tie", "different")}
    allowed = ("equal", "tie") if counts["equal"] >= EQUAL_SHARE * len(items) else ("equal",)
    return {
        "engine": backend.name,
        "checked": len(items),
        "asked": {how: sum(item["asked"] == how for item in items) for how in ("as by default", "temperature 0")},
        "identical_answers": sum(item["tokens_equal"] and item["answer"] in allowed for item in items),
        "identical_tokens": sum(item["tokens_equal"] for item in items),
        "answers": counts,
        "tie_tolerance_logprob": TIE,
        "equal_share": EQUAL_SHARE,
        "context": context,
        "too_long": len(rendered) - len(kept),
        "items": items,
    }


def summary(formats: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All formats added up: one prompt that differs in any of them is one that differs."""
    numbers = ("checked", "identical_answers", "identical_tokens")
    return {name: sum(part[name] for part in formats.values()) for name in numbers}


def without_items(parity: dict[str, Any]) -> dict[str, Any]:
    """The numbers of parity.json, for reports and logs."""
    formats = {name: {k: v for k, v in part.items() if k != "items"} for name, part in parity["formats"].items()}
    return {**parity, "formats": formats}
