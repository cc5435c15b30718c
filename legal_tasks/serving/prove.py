"""Prove that the served model is the evaluated one, and how fast it answers: parity of tokens and answers, load test.

The candidate gets an engine and a gateway of its own on free ports; production is not touched. Skipped as `unchanged`
where the candidate is what production runs and it answers.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from legal_tasks import artifacts
from legal_tasks.step import Input, Output, Runtime, Skip, StepError, main, progress, recomputing, var_folder

VERSION = 1
REUSE = "never"
PORT_OFFSET = 50  # engines of the releaser take the ports below
TIE = 0.05  # natural logarithm: two tokens closer than this are a draw between float16 and float32
EQUAL_SHARE = 0.95  # of the answers must be equal token by token; ties explain the rest, not everything
FULL_TOKENS = 128  # length of a full answer in the load test


@dataclass(frozen=True)
class Params:
    model: Annotated[Path, Input("folder made by compression.compress")]
    data: Annotated[Path, Input("folder made by data.split: questions of validation.jsonl, then of train.jsonl")]
    output: Annotated[Path, Output("folder with parity.json and loadtest.json")]
    prompts: Annotated[int, "questions whose answers are compared"] = 200
    max_tokens: Annotated[int, "length of a short answer, tokens"] = 32
    requests: Annotated[int, "requests of the load test"] = 160
    rate: Annotated[float, "requests per second, arriving at random"] = 5.0
    max_num_seqs: Annotated[int, "requests that the engine decodes together"] = 16
    device: Annotated[str, Runtime("where transformers computes the reference: cpu or cuda")] = "cpu"

    def __post_init__(self) -> None:
        for name in ("prompts", "max_tokens", "requests", "max_num_seqs"):
            if getattr(self, name) < 1:
                raise StepError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(self, name)}")
        if not 0 < self.rate <= 1000:
            raise StepError(f"--rate must be above 0 and at most 1000 requests per second, got {self.rate}")


@dataclass
class Report:
    parity: dict[str, Any]
    loadtest: dict[str, Any]
    engine_start_s: float
    engine: str = "gptq"
    files: list[str] = field(default_factory=lambda: ["parity.json", "loadtest.json"])


def skip_if_in_production(digest: str) -> None:
    """Skip("unchanged: ...") where production runs this digest and generates a token through its gateway."""
    from legal_tasks.serving import engines, gateway
    from legal_tasks.serving.releaser import read_status

    status = read_status()
    production = status["production"]
    if not status["alive"] or not production or production["digest"] != digest:
        return
    reason = engines.probe(status["gateway"], gateway.first_key())
    if reason is not None:
        print(f"the candidate is in production, but production does not answer ({reason}): proving it anew")
        return
    raise Skip(f"unchanged: {digest[:12]} is version {production['version']} in production and answers")


@contextmanager
def served(artifact: Path, work: Path, max_num_seqs: int, meanwhile: Callable[[], Any]) -> Iterator[tuple[Any, Any, float, Any]]:
    """(engine, gateway in front of it, seconds of starting, what `meanwhile()` gave while the engine was starting).

    Engine and gateway are the candidate's alone; both are ended whatever happens.
    """
    from legal_tasks.serving import engines, gateway
    from legal_tasks.serving.releaser import port_from

    folder = engines.admit(artifact)
    first = port_from("LEXLOOP_ENGINE_PORT", 8100) + PORT_OFFSET
    port = engines.free_port(first)
    front = gateway.Gateway(work / "gateway", engines.free_port(first, {port}))
    log = var_folder() / "logs" / f"engine-{port}.log"
    engine = engines.Engine.start(folder, port, log, engines.Settings(max_num_seqs=max_num_seqs))
    began = time.monotonic()
    try:
        prepared = meanwhile()
        engine.wait_ready()
        seconds = time.monotonic() - began
        front.start(gateway.Route(port, "candidate"))
        yield engine, front, seconds, prepared
    except engines.EngineError as error:
        raise StepError(f"the engine does not serve {folder}: {error}") from error
    finally:
        front.stop()
        engine.stop()


def read_chats(path: Path, count: int) -> list[list[dict[str, str]]]:
    """The first `count` records as chats that end with the question."""
    from legal_tasks.training.chat import messages

    if not path.is_file():
        raise StepError(f"--data: {path} is missing: name the folder made by data.split")
    chats: list[list[dict[str, str]]] = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if len(chats) == count:
                break
            chats.append(messages({**json.loads(line), "output": ""}))
    if not chats:
        raise StepError(f"--data: {path} holds no record: nothing can be compared")
    return chats


def read_questions(folder: Path, count: int) -> dict[str, list[dict[str, str]]]:
    """{name: chat} of `count` records: those of the validation set, then as many of the training set as are missing."""
    chats = {f"validation {n}": chat for n, chat in enumerate(read_chats(folder / "validation.jsonl", count), start=1)}
    if len(chats) < count:
        more = read_chats(folder / "train.jsonl", count - len(chats))
        chats |= {f"train {n}": chat for n, chat in enumerate(more, start=1)}
    return chats


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


def ask(engine_url: str, url: str, key: str, chat: Sequence[dict[str, str]], max_tokens: int) -> tuple[list[int], list[int]]:
    """(prompt ids by the engine's /tokenize, ids of its greedy answer through the gateway, with the end token if given).

    Raises StepError with the server's words where one of them is refused.
    """
    import httpx

    from legal_tasks.serving.engines import MODEL_NAME

    body = {"model": MODEL_NAME, "messages": list(chat)}
    options = {"max_tokens": max_tokens, "temperature": 0, "repetition_penalty": 1.0, "return_token_ids": True}
    replies = []
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=120, trust_env=False) as client:
        for address, extra in (
            (f"{engine_url}/tokenize", {"add_generation_prompt": True}),
            (f"{url}/v1/chat/completions", options),
        ):
            reply = client.post(address, json={**body, **extra})
            if reply.status_code != 200:
                raise StepError(f"{address} answers {reply.status_code} to a question of the proof: {reply.text[:300]}")
            replies.append(reply.json())
    return replies[0]["tokens"], replies[1]["choices"][0]["token_ids"]


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


def compare_answers(
    engine_url: str, url: str, key: str, model: Any, tokenizer: Any, chats: dict[str, list], max_tokens: int
) -> dict[str, Any]:
    """What parity.json holds: token ids of the prompts and greedy answers, served against transformers.

    `model` and `tokenizer` are the reference. `identical_answers` counts prompts with the same tokens whose answer is
    equal or differs by a tie; where fewer than EQUAL_SHARE are equal, ties no longer count.
    """
    from legal_tasks.training.chat import render

    context = model.config.max_position_embeddings
    asked = {**hard_chats(tokenizer), **chats}
    rendered = {name: (chat, render(tokenizer, chat, generation=True)) for name, chat in asked.items()}
    kept = {name: pair for name, pair in rendered.items() if len(pair[1]) + max_tokens <= context}
    if not kept.keys() & chats.keys():
        raise StepError(f"no question leaves room for {max_tokens} tokens of answer in the model's context: lower --max-tokens")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda pair: ask(engine_url, url, key, pair[0], max_tokens), kept.values()))
    items = []
    for number, ((name, (_, ids)), (served_ids, answer)) in enumerate(zip(kept.items(), replies, strict=True), start=1):
        differs, gap = judge(model, ids, answer, str(model.device))
        verdict = "equal" if differs < 0 else "tie" if gap <= TIE else "different"
        item = {"prompt": name, "tokens": len(ids), "tokens_equal": ids == served_ids, "answer": verdict, "gap": round(gap, 5)}
        if verdict != "equal" or ids != served_ids:
            item |= {"position": differs, "served_prompt": tokenizer.decode(served_ids), "served": tokenizer.decode(answer)}
        items.append(item)
        if number % 50 == 0:
            progress(number, len(kept))
    counts = {name: sum(item["answer"] == name for item in items) for name in ("equal", "tie", "different")}
    allowed = ("equal", "tie") if counts["equal"] >= EQUAL_SHARE * len(items) else ("equal",)
    return {
        "checked": len(kept),
        "identical_answers": sum(item["tokens_equal"] and item["answer"] in allowed for item in items),
        "identical_tokens": sum(item["tokens_equal"] for item in items),
        "answers": counts,
        "tie_tolerance_logprob": TIE,
        "equal_share": EQUAL_SHARE,
        "context": context,
        "too_long": len(rendered) - len(kept),
        "items": items,
    }


def measure_load(url: str, key: str, chats: dict[str, list], parity: dict[str, Any], params: Params) -> dict[str, Any]:
    """What loadtest.json holds: short answers at the asked rate; beside them some full ones, at a fifth of it.

    Asked are the questions of `parity` that leave room for the answer in the model's context.
    """
    from legal_tasks.serving.engines import MODEL_NAME
    from legal_tasks.serving.loadtest import run_load

    def fitting(tokens: int) -> list:
        names = [item["prompt"] for item in parity["items"] if item["tokens"] + tokens <= parity["context"]]
        return [chats[name] for name in names if name in chats]

    short, full = fitting(params.max_tokens), fitting(FULL_TOKENS)
    load = run_load(url, key, MODEL_NAME, short, requests=params.requests, rate=params.rate, max_tokens=params.max_tokens)
    few = max(1, params.requests // 16)
    if full:
        load["full"] = run_load(url, key, MODEL_NAME, full, requests=few, rate=params.rate / 5, max_tokens=FULL_TOKENS)
    return {**load, "processors": os.cpu_count()}


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")


def run(params: Params) -> Report:
    from legal_tasks.compression.load import load_model
    from legal_tasks.serving import engines, gateway

    if not recomputing():
        skip_if_in_production(artifacts.digest_path(params.model))
    chats = read_questions(params.data, params.prompts)
    # Airflow ends a task with TERM: as an exception it lets the engine and the gateway be ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    (var_folder() / "work").mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="prove-", dir=var_folder() / "work"))
    key = gateway.first_key()

    def reference() -> tuple[Any, Any]:
        return load_model(params.model / engines.VARIANT, "gptq", params.device)

    try:
        began = time.monotonic()
        with served(params.model, work, params.max_num_seqs, reference) as (engine, front, seconds, (model, tokenizer)):
            print(f"the engine generates after {seconds:.1f} s (pid {engine.pid}, log {engine.log})", flush=True)
            parity = compare_answers(engine.url, front.url, key, model, tokenizer, chats, params.max_tokens)
            print(f"parity: {json.dumps({k: v for k, v in parity.items() if k != 'items'})}", flush=True)
            load = measure_load(front.url, key, chats, parity, params)
            print(f"load test: {json.dumps(load)}", flush=True)
        print(f"proved in {time.monotonic() - began:.0f} s", flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _write(params.output / "parity.json", parity)
    _write(params.output / "loadtest.json", load)
    return Report({k: v for k, v in parity.items() if k != "items"}, load, round(seconds, 2))


if __name__ == "__main__":
    sys.exit(main("legal_tasks.serving.prove"))
