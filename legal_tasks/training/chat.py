"""The one place where a record becomes a chat, token ids and labels.

Training, evaluation, GPTQ calibration and the parity test all import this module, so they cannot render a
question differently. The template is the base's own (`tokenizer.chat_template`); its hash is the template's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from legal_tasks.step import StepError

IGNORED = -100  # torch.nn.CrossEntropyLoss' default ignore_index: a position that teaches nothing

Message = dict[str, str]


def messages(record: Mapping[str, Any]) -> list[Message]:
    """The turns of one record: its history, the question (instruction, then input on a new line), the answer.

    An exam question, which has no `output` yet, ends with the user's turn.
    """
    turns: list[Message] = []
    for user, assistant in record.get("history") or ():
        turns.append({"role": "user", "content": user})
        turns.append({"role": "assistant", "content": assistant})
    extra = record.get("input") or ""
    turns.append({"role": "user", "content": record["instruction"] + (f"\n{extra}" if extra else "")})
    if record.get("output"):
        turns.append({"role": "assistant", "content": record["output"]})
    return turns


def render(tokenizer, messages: Sequence[Mapping[str, str]], generation: bool) -> list[int]:
    """Token ids of a chat by the tokenizer's own template; `generation` opens the assistant's turn at the end."""
    require_template(tokenizer)
    ids = tokenizer.apply_chat_template(list(messages), tokenize=True, add_generation_prompt=generation, return_dict=False)
    return [int(i) for i in ids]


def labelled(tokenizer, record: Mapping[str, Any], max_length: int) -> dict[str, list[int]]:
    """{input_ids, labels}, both of the same length (tokens, at most `max_length`).

    Learned are the assistant's answers, each with the end token that closes it; everything else (questions, role
    marks, whatever a template writes after the end token) is IGNORED. Earlier answers of a dialog are learned only
    where the template renders them in the whole chat as it rendered them when they were the last turn (Qwen3's
    template, for one, rewrites older turns). Too long chats lose their end: the caller sees it by the length.

    Raises StepError if the template does not close an answer with the tokenizer's end token, or does not begin a
    finished chat with the very tokens of its prompt: such a model would never stop, or answer another prompt.
    """
    turns = messages(record)
    if turns[-1]["role"] != "assistant":
        raise StepError("a record without an answer cannot be trained on: its field output is empty")
    ids = render(tokenizer, turns, generation=False)
    labels = [IGNORED] * len(ids)
    for position in range(1, len(turns), 2):
        prompt = render(tokenizer, turns[:position], generation=True)
        last = position == len(turns) - 1
        chat = ids if last else render(tokenizer, turns[: position + 1], generation=False)
        end = _end_of_answer(tokenizer, chat, len(prompt))
        if chat[: len(prompt)] != prompt or end is None:
            raise StepError(_template_fault(tokenizer, end))
        if chat[:end] == ids[:end]:
            labels[len(prompt) : end] = ids[len(prompt) : end]
    return {"input_ids": ids[:max_length], "labels": labels[:max_length]}


def _end_of_answer(tokenizer, chat: list[int], start: int) -> int | None:
    """Index after the last end token of `chat`, or None if none follows `start`."""
    for index in range(len(chat) - 1, start - 1, -1):
        if chat[index] == tokenizer.eos_token_id:
            return index + 1
    return None


def _template_fault(tokenizer, end: int | None) -> str:
    if end is None:
        return (
            f"the chat template of {tokenizer.name_or_path} closes an answer without the end token "
            f"{tokenizer.eos_token!r}: the model would never learn to stop; set eos_token to the template's own mark"
        )
    return (
        f"the chat template of {tokenizer.name_or_path} renders a finished chat with another beginning than its "
        "prompt: training and answering would differ; use the template that the base was published with"
    )


def require_template(tokenizer) -> str:
    """The tokenizer's chat template; StepError if it has none or several, or no end token."""
    template = tokenizer.chat_template
    if not isinstance(template, str) or not template:
        raise StepError(
            f"the tokenizer of {tokenizer.name_or_path} has no single chat template; "
            "put chat_template.jinja beside its tokenizer.json"
        )
    if tokenizer.eos_token_id is None:
        raise StepError(f"the tokenizer of {tokenizer.name_or_path} has no end token; set eos_token")
    return template


def template_hash(tokenizer) -> str:
    """sha256 (hex) of the chat template's text: equal hashes mean equal chats."""
    return hashlib.sha256(require_template(tokenizer).encode()).hexdigest()
