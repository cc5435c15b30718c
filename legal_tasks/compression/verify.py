"""Ask llama.cpp itself: does it read our GGUF file, split chats into the same tokens, and answer the same?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from legal_tasks.compression.rounding import keep_float32
from legal_tasks.step import StepError
from legal_tasks.training.chat import render

CLOSE = 0.05  # nats: two best tokens this near may change places between two ways of rounding


@dataclass(frozen=True)
class Agreement:
    """What llama.cpp and transformers agreed on."""

    chats: int  # whose token ids are equal, all of them
    answers: int  # greedy answers compared
    equal_answers: int
    largest_difference: float  # nats, of the log-probability of the first answered token


def verify(
    file: Path, model, tokenizer, chats: Sequence[Sequence[Mapping[str, str]]], answers: int = 8, tokens: int = 16
) -> Agreement:
    """Compare `file` in llama.cpp with `model` (the same file's weights in transformers) on chats that end with a question.

    Raises StepError where token ids differ, or a greedy answer leaves the other one at a token whose two best
    log-probabilities are not CLOSE.
    """
    server = _serve(file, max(len(render(tokenizer, chat, generation=True)) for chat in chats) + tokens + 8)
    prompts = [_equal_tokens(server.listening_address, tokenizer, chat) for chat in chats]
    equal, largest = 0, 0.0
    for prompt in prompts[:answers]:
        same, difference = _compare_answer(server.listening_address, model, prompt, tokens)
        equal += same
        largest = max(largest, difference)
    return Agreement(len(prompts), min(answers, len(prompts)), equal, largest)


def _serve(file: Path, context: int):
    """A llama.cpp server inside this process, on a free local port, with as many threads as torch has."""
    import torch
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel = context, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
    params.n_threads_http = 1
    keep_float32(params)
    params.use_jinja, params.warmup, params.verbosity = True, False, 0
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise StepError(f"llama.cpp does not read {file}: {error}") from error


def _post(address: str, path: str, body: dict) -> dict:
    import httpx

    answer = httpx.post(address + path, json=body, timeout=120, trust_env=False)
    answer.raise_for_status()
    return answer.json()


def _equal_tokens(address: str, tokenizer, chat: Sequence[Mapping[str, str]]) -> list[int]:
    wanted = render(tokenizer, chat, generation=True)
    text = _post(address, "/apply-template", {"messages": list(chat)})["prompt"]
    got = _post(address, "/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
    if got != wanted:
        at = next((i for i, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted)))
        raise StepError(
            f"llama.cpp splits a chat into other tokens than the tokenizer, from position {at} on "
            f"({got[at : at + 5]} against {wanted[at : at + 5]}): this vocabulary cannot be served as GGUF"
        )
    return wanted


def _compare_answer(address: str, model, prompt: list[int], tokens: int) -> tuple[bool, float]:
    """(are the greedy answers equal, difference of the first token's log-probability)."""
    import torch

    body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "return_tokens": True, "n_probs": 2, "cache_prompt": False}
    answer = _post(address, "/completion", body)
    ids, first = list(prompt), 0.0
    # The tokens are what was answered; the probabilities leave out tokens that are a part of a character (bytes).
    for number, token in enumerate(answer["tokens"]):
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
        if number == 0:
            point = answer["completion_probabilities"][0] if answer["completion_probabilities"] else None
            if point is not None and point["id"] == token:
                first = abs(float(scores[token]) - float(point["logprob"]))
        if int(scores.argmax()) != token:
            best, got = float(scores.max()), float(scores[token])
            if math.isclose(best, got, abs_tol=CLOSE):
                return False, first
            raise StepError(
                f"llama.cpp answers token {token} where the same weights in transformers prefer {int(scores.argmax())} "
                f"by {best - got:.3f} nats: the GGUF file does not hold the evaluated model"
            )
        ids.append(token)
    return True, first
