"""Prove that the served model is the evaluated one, and how fast it answers: parity of tokens and answers, load test.

How many questions are answered rightly as by default and by sampling is measured beside it, and shown.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from legal_tasks import artifacts
from legal_tasks.serving import cost, parity, sampled
from legal_tasks.serving.backends import BY_FORMAT, Backend, Settings
from legal_tasks.serving.cost import PRICES, read_prices
from legal_tasks.step import Input, Output, Runtime, Skip, StepError, main, recomputing, var_folder

VERSION = 4
REUSE = "never"
PORT_OFFSET = 50  # engines of the releaser take the ports below
LOAD_QUESTIONS = 500  # different questions of the load test
FULL_TOKENS = 128  # length of a full answer in the load test


@dataclass(frozen=True)
class Params:
    model: Annotated[Path, Input("folder made by compression.compress")]
    data: Annotated[Path, Input("folder made by data.split: questions of validation.jsonl, then of train.jsonl")]
    output: Annotated[Path, Output("folder with parity.json, loadtest.json and the cost page")]
    formats: Annotated[
        tuple[str, ...], "formats to prove: gptq (vLLM, the one that production serves), gguf (llama.cpp), gguf-q4_k_m, ..."
    ] = (
        "gptq",
        "gguf",
    )
    prompts: Annotated[int, "questions whose answers are compared, per format"] = 200
    max_tokens: Annotated[int, "length of a short answer, tokens"] = 32
    requests: Annotated[int, "requests of the load test"] = 160
    rate: Annotated[float, "requests per second, arriving at random"] = 8.0
    p95_s: Annotated[float, "P95 of first tokens and short answers that the highest rate must stay below, seconds"] = 1.0
    max_num_seqs: Annotated[int, "requests that the engine decodes together"] = 16
    card: Annotated[str, "what the engine runs on, as the price table names it: CPU, RTX 4090, ..."] = "CPU"
    prices: Annotated[Path, Input("price table of cards, YAML")] = PRICES
    exams: Annotated[
        Path | None, Input("artifact of data.collect or a folder of suites; without it sampled answers are not measured")
    ] = None
    suites: Annotated[
        tuple[str, ...], "suites asked by default and by sampling (default: legal_exam, else every multiple choice)"
    ] = ()
    rank_texts: Annotated[tuple[str, ...], "suites asked without their options, as in evaluation.harness"] = ()
    sampled: Annotated[int, "questions of the exams that are asked by default and by sampling; 0 for none"] = 60
    training: Annotated[Path | None, Input("artifact of training.lora: its hours enter the cost page")] = None
    seed: Annotated[int, "of the load test's questions"] = 0
    device: Annotated[str, Runtime("where transformers computes the reference: cpu or cuda")] = "cpu"

    def __post_init__(self) -> None:
        unknown = set(self.formats) - BY_FORMAT.keys()
        if unknown or "gptq" not in self.formats:
            others = ", ".join(name for name in BY_FORMAT if name != "gptq")
            raise StepError(
                f"--formats must hold gptq, which production serves, and may hold {others}, got {','.join(self.formats)!r}"
            )
        for name in ("prompts", "max_tokens", "requests", "max_num_seqs"):
            if getattr(self, name) < 1:
                raise StepError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(self, name)}")
        if self.sampled < 0:
            raise StepError(f"--sampled must be 0 or more, got {self.sampled}")
        if not 0 < self.rate <= 1000:
            raise StepError(f"--rate must be above 0 and at most 1000 requests per second, got {self.rate}")
        if not 0 < self.p95_s <= 600:
            raise StepError(f"--p95-s must be above 0 and at most 600 seconds, got {self.p95_s}")
        if self.card not in read_prices(self.prices):
            raise StepError(f"--card {self.card}: {self.prices} has no such card; it has {', '.join(read_prices(self.prices))}")


@dataclass
class Report:
    parity: dict[str, Any]
    loadtest: dict[str, Any]
    engine_start_s: dict[str, float]  # format -> seconds
    sampled: dict[str, dict[str, Any]]  # how it was asked -> n, right, share, low, high; empty where not measured
    cost: dict[str, Any]  # of the card that was measured; null = not measured, or no price
    files: list[str] = field(
        default_factory=lambda: ["parity.json", "loadtest.json", "sampled.json", "sampled.md", "cost.json", "cost.md", "cost.svg"]
    )


def skip_if_in_production(digest: str) -> None:
    """Skip("unchanged: ...") where production runs this digest, its engine works and the gateway sends there."""
    import httpx

    from legal_tasks.serving.status import read_status

    status = read_status()
    production = status["production"]
    if not status["alive"] or not production or production["digest"] != digest:
        return
    reason = None if production["ready"] else "the releaser has doubts about its engine"
    if reason is None:
        try:
            answer = httpx.get(f"{status['gateway']}/health", timeout=10, trust_env=False)  # it asks the engine
            routed = answer.headers.get("x-model-version")
            if answer.status_code != 200 or routed != production["version"]:
                reason = f"the gateway says {answer.status_code} and version {routed}"
        except httpx.HTTPError as error:
            reason = f"the gateway: {type(error).__name__}: {error}"
    if reason is not None:
        print(f"the candidate is in production, but production does not answer ({reason}): proving it anew")
        return
    raise Skip(f"unchanged: {digest[:12]} is version {production['version']} in production and answers")


@contextmanager
def served(
    artifact: Path, work: Path, settings: Settings, backend: Backend, meanwhile: Callable[[], Any]
) -> Iterator[tuple[Any, Any, float, Any]]:
    """(engine, gateway in front of it, seconds of starting, what `meanwhile()` gave while the engine was starting).

    Engine and gateway are the candidate's alone; both are ended whatever happens.
    """
    from legal_tasks.serving import engines, gateway
    from legal_tasks.serving.releaser import port_from

    model = engines.admit(artifact, backend)
    first = port_from("LEXLOOP_ENGINE_PORT", 8100) + PORT_OFFSET
    port = engines.free_port(first)
    front = gateway.Gateway(work / f"gateway-{backend.format}", engines.free_port(first, {port}))
    log = var_folder() / "logs" / f"engine-{port}.log"
    engine = engines.Engine.start(model, port, log, settings, backend)
    began = time.monotonic()
    try:
        prepared = meanwhile()
        engine.wait_ready()
        seconds = time.monotonic() - began
        front.start(gateway.Route.only(port, "candidate", engine.context()))
        print(f"{backend.name} generates after {seconds:.1f} s (pid {engine.pid}, log {engine.log})", flush=True)
        yield engine, front, seconds, prepared
    except engines.EngineError as error:
        raise StepError(f"{backend.name} does not serve {model}: {error}") from error
    finally:
        front.stop()
        engine.stop()


def measure_load(url: str, key: str, chats: dict[str, tuple[list[dict[str, str]], int]], params: Params) -> dict[str, Any]:
    """What loadtest.json holds: short answers at the asked rate, full ones at a fifth of it, the highest rate that holds.

    `chats`: {name: (chat, how many tokens its context leaves for the answer)}; they are asked in turn.
    """
    from legal_tasks.serving.backends import MODEL_NAME
    from legal_tasks.serving.loadtest import highest_rate, run_load

    short = [chat for chat, _ in chats.values()]
    full = [chat for chat, room in chats.values() if room >= FULL_TOKENS]

    def run(requests: int, rate: float) -> dict[str, Any]:
        return run_load(url, key, MODEL_NAME, short, requests=requests, rate=rate, max_tokens=params.max_tokens)

    load = run(params.requests, params.rate)
    few = max(1, params.requests // 16)
    if full:
        load["full"] = run_load(url, key, MODEL_NAME, full, requests=few, rate=params.rate / 5, max_tokens=FULL_TOKENS)
    load["sustained"] = highest_rate(run, load, params.p95_s)
    return {**load, "processors": os.cpu_count()}


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")


class Proof:
    """Both formats, one after the other; the load test runs on the one that production serves."""

    def __init__(self, params: Params, work: Path):
        from legal_tasks.compression.load import load_tokenizer

        self.params, self.work = params, work
        tokenizer = load_tokenizer(BY_FORMAT["gptq"].find(params.model))
        config = json.loads((params.model / "gptq" / "config.json").read_text("utf-8"))
        room = config["max_position_embeddings"] - params.max_tokens
        fits = partial(leaves_room, tokenizer, room)
        self.chats, self.too_long = parity.read_questions(params.data, params.prompts, fits)
        self.tokenizer, self.context = tokenizer, config["max_position_embeddings"]
        self.asked = parity.sample_questions(params.data, LOAD_QUESTIONS, params.seed, fits) or self.chats
        self.settings = Settings(max_num_seqs=params.max_num_seqs)
        self.seconds: dict[str, float] = {}
        self.load: dict[str, Any] = {}
        self.sampled: dict[str, Any] = {"rows": [], "items": []}
        self.exam = self._exam(partial(leaves_room, tokenizer, self.context - sampled.ANSWER_TOKENS))

    def prove(self, name: str) -> dict[str, Any]:
        """Parity of one format; for gptq the load is measured too."""
        from legal_tasks.compression.load import load_model

        backend = BY_FORMAT[name]

        def reference() -> tuple[Any, Any]:
            return load_model(backend.find(self.params.model), backend.format, self.params.device)

        with served(self.params.model, self.work, self.settings, backend, reference) as (engine, front, seconds, loaded):
            self.seconds[name] = round(seconds, 2)
            key = front.probe_key
            found = parity.compare_answers(backend, engine.url, front.url, key, loaded, self.chats, self.params.max_tokens)
            if name == "gptq":
                self.load = {**measure_load(front.url, key, self.rooms(), self.params), "prompt_tokens": self.lengths()}
                print(f"load test: {json.dumps(self.load)}", flush=True)
                if self.exam:
                    self.sampled = sampled.measure(front.url, key, self.exam, self.params.seed)
                    print(sampled.table(self.sampled), flush=True)
        return found

    def _exam(self, fits: Callable[[list[dict[str, str]]], bool]) -> list[tuple[dict[str, Any], list[dict[str, str]]]]:
        from legal_tasks.evaluation.harness import exams_folder

        if self.params.exams is None or not self.params.sampled:
            return []
        folder = exams_folder(self.params.exams)
        return sampled.questions(folder, self.params.suites, self.params.rank_texts, self.params.sampled, fits)

    def rooms(self) -> dict[str, tuple[list[dict[str, str]], int]]:
        return {
            name: (chat, self.context - length) for (name, chat), length in zip(self.asked.items(), self._tokens(), strict=True)
        }

    def lengths(self) -> dict[str, float]:
        """Quantiles of the load test's question lengths, tokens."""
        from legal_tasks.serving.loadtest import quantiles

        return quantiles([float(length) for length in self._tokens()])

    def _tokens(self) -> list[int]:
        from legal_tasks.training.chat import render

        return [len(render(self.tokenizer, chat, generation=True)) for chat in self.asked.values()]

    def run(self) -> dict[str, Any]:
        formats = {name: self.prove(name) for name in self.params.formats}
        found = {**parity.summary(formats), "too_long": self.too_long, "formats": formats}
        print(f"parity: {json.dumps(parity.without_items(found))}", flush=True)
        return found


def leaves_room(tokenizer: Any, room: int, chat: list[dict[str, str]]) -> bool:
    from legal_tasks.training.chat import render

    return len(render(tokenizer, chat, generation=True)) <= room


def run(params: Params) -> Report:
    if not recomputing():
        skip_if_in_production(artifacts.digest_path(params.model))
    # Airflow ends a task with TERM: as an exception it lets the engine and the gateway be ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    (var_folder() / "work").mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="prove-", dir=var_folder() / "work"))
    try:
        began = time.monotonic()
        proof = Proof(params, work)
        found = proof.run()
        print(f"proved in {time.monotonic() - began:.0f} s", flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _write(params.output / "parity.json", found)
    _write(params.output / "loadtest.json", proof.load)
    _write(params.output / "sampled.json", proof.sampled)
    (params.output / "sampled.md").write_text(sampled.table(proof.sampled) if proof.exam else "Not measured.\n", "utf-8")
    hours = cost.card_hours({"train": params.training, "compress": params.model}, time.monotonic() - began)
    costs = cost.write(params.output, params.model, params.prices, params.card, proof.load, hours)
    print((params.output / "cost.md").read_text("utf-8"), flush=True)
    row = costs["rows"][0]
    shown = {name: row[name] for name in ("card", "basis", "requests_per_s", "month_cny", "per_1000_answers_cny")}
    return Report(parity.without_items(found), proof.load, proof.seconds, sampled.by_name(proof.sampled["rows"]), shown)


if __name__ == "__main__":
    sys.exit(main("legal_tasks.serving.prove"))
