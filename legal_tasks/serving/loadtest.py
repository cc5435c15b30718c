"""Open-loop load on an OpenAI-compatible server: requests leave at their time, whether or not earlier ones were answered.

A closed loop slows down with the server and hides its queues; here latency counts from the planned moment of sending.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from legal_tasks.step import progress

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
SUCCESS = 0.99  # of the requests of a rate must be answered, or it does not hold
STEP_S, STEP_REQUESTS = 4.0, 40  # a rate is tried for so long, and with so many requests, whichever is more
HIGHEST_RATE = 4096.0  # requests per second; beyond it one client process measures itself


@dataclass(frozen=True)
class Timing:
    """One request: seconds from the planned start to the first token and to the end, tokens, and what went wrong."""

    first_token: float | None
    total: float | None
    tokens: int
    error: str | None

    @property
    def per_token(self) -> float | None:
        """Seconds from one token to the next, averaged over the answer; None for answers of one token."""
        if self.first_token is None or self.total is None or self.tokens < 2:
            return None
        return (self.total - self.first_token) / (self.tokens - 1)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 by the nearest rank (a value that was measured), seconds; {} without values."""
    ordered = sorted(values)
    return {name: round(ordered[max(0, math.ceil(q * len(ordered)) - 1)], 4) for name, q in QUANTILES.items()} if ordered else {}


def arrivals(count: int, rate: float, seed: int) -> list[float]:
    """Seconds after the start at which requests leave: a Poisson process of `rate` per second."""
    source = random.Random(seed)
    times, now = [], 0.0
    for _ in range(count):
        times.append(now)
        now += source.expovariate(rate)
    return times


async def _one(client: Any, url: str, body: dict[str, Any], planned: float) -> Timing:
    import httpx

    await asyncio.sleep(max(0.0, planned - time.monotonic()))
    first, tokens, done = None, 0, False
    try:
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                text = (await answer.aread()).decode(errors="replace")
                return Timing(None, None, 0, f"HTTP {answer.status_code}: {text[:200]}")
            async for line in answer.aiter_lines():
                if not line.startswith("data:"):
                    continue
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    done = True
                    continue
                part = json.loads(data)
                if part.get("usage"):
                    tokens = part["usage"]["completion_tokens"]
                # The first chunk carries the role only; an empty answer ends with a finish_reason.
                for choice in part.get("choices", []):
                    if first is None and (choice.get("delta", {}).get("content") or choice.get("finish_reason")):
                        first = time.monotonic() - planned
    except (httpx.HTTPError, ValueError) as error:
        return Timing(first, None, tokens, f"{type(error).__name__}: {error}")
    if not done or first is None:
        return Timing(first, None, tokens, "the stream ended before [DONE]")
    return Timing(first, time.monotonic() - planned, tokens, None)


async def _all(
    url: str, key: str, bodies: list[dict[str, Any]], times: list[float], timeout_s: float
) -> tuple[list[Timing], float]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    headers = {"Authorization": f"Bearer {key}"}
    ended = 0
    async with httpx.AsyncClient(timeout=timeout_s, limits=limits, headers=headers, trust_env=False) as client:
        start = time.monotonic()

        async def counted(body: dict[str, Any], planned: float) -> Timing:
            nonlocal ended
            timing = await _one(client, url, body, planned)
            ended += 1
            if ended % 20 == 0:
                progress(ended, len(bodies))
            return timing

        found = await asyncio.gather(*(counted(b, start + t) for b, t in zip(bodies, times, strict=True)))
        return list(found), time.monotonic() - start


def run_load(
    url: str,
    key: str,
    model: str,
    chats: Sequence[Sequence[dict[str, str]]],
    *,
    requests: int,
    rate: float,
    max_tokens: int,
    seed: int = 0,
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Send `requests` chats (taken in turn) at `rate` per second and tell first-token and short-answer times, seconds."""
    bodies = [
        {
            "model": model,
            "messages": list(chats[i % len(chats)]),
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for i in range(requests)
    ]
    timings, seconds = asyncio.run(_all(url, key, bodies, arrivals(requests, rate, seed), timeout_s))
    good = [t for t in timings if t.error is None]
    errors: dict[str, int] = {}
    for timing in timings:
        if timing.error:
            errors[timing.error] = errors.get(timing.error, 0) + 1
    first = quantiles([t.first_token for t in good if t.first_token is not None])
    whole = quantiles([t.total for t in good if t.total is not None])
    each = quantiles([pause for t in good if (pause := t.per_token) is not None])
    return {
        "requests": requests,
        "rate_per_s": rate,
        "max_tokens": max_tokens,
        "seconds": round(seconds, 2),
        **{f"{name}_first_token_s": value for name, value in first.items()},
        **{f"{name}_short_answer_s": value for name, value in whole.items()},
        **{f"{name}_per_token_s": value for name, value in each.items()},
        "success_rate": len(good) / requests,
        "tokens_per_s": round(sum(t.tokens for t in good) / seconds, 2),
        "errors": errors,
    }


def holds(load: Mapping[str, Any], limit_s: float) -> bool:
    """Whether P95 of first token and of short answers stay below `limit_s` and nearly all requests succeed."""
    names = ("p95_first_token_s", "p95_short_answer_s")
    return load["success_rate"] >= SUCCESS and all(load.get(name, math.inf) < limit_s for name in names)


def highest_rate(run: Callable[[int, float], dict[str, Any]], first: dict[str, Any], limit_s: float) -> dict[str, Any]:
    """The highest rate that held: doubled from that of `first` until one does not hold, then the middle of the two.

    `run(requests, rate)` measures one rate as `run_load` does. {limit_s, steps: [{rate_per_s, held, ...}], and of the best
    one rate_per_s, tokens_per_s, requests: None where none held}.
    """
    tried = [first]
    while holds(tried[-1], limit_s) and tried[-1]["rate_per_s"] < HIGHEST_RATE:
        rate = 2 * tried[-1]["rate_per_s"]
        tried.append(run(max(STEP_REQUESTS, round(rate * STEP_S)), rate))
    if len(tried) > 1 and not holds(tried[-1], limit_s):
        rate = (tried[-2]["rate_per_s"] + tried[-1]["rate_per_s"]) / 2
        tried.append(run(max(STEP_REQUESTS, round(rate * STEP_S)), rate))
    best = max((load for load in tried if holds(load, limit_s)), key=lambda load: load["rate_per_s"], default=None)
    shown = ("rate_per_s", "requests", "tokens_per_s", "success_rate", "p95_first_token_s", "p95_short_answer_s")
    steps = [{**{name: load.get(name) for name in shown}, "held": holds(load, limit_s)} for load in tried]
    chosen = {name: best[name] if best else None for name in ("rate_per_s", "tokens_per_s", "requests")}
    return {"limit_s": limit_s, **chosen, "steps": steps}
