"""Requests that would take the engine from the others, or reach more of it than two paths: before vLLM and a random model."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from legal_tasks.serving import backends, engines, keys, limits
from legal_tasks.serving.gateway import Gateway, Route
from legal_tasks.serving.loadtest import quantiles
from tests.faults._seats import ask, seat, wait_for
from tests.legal_tasks.serving import tricks as listed
from tests.legal_tasks.training.tiny import make_base

SLOW_S = 15  # the gateway's patience with a body
DONE_S = 60.0
FLOOD_S = 20.0
THREADS = 24


@dataclass(frozen=True)
class Place:
    """vLLM behind a gateway, with a key that misbehaves and one that does not."""

    engine: engines.Engine
    front: Gateway
    bad: str
    good: str
    bounds: limits.Limits
    client: httpx.Client

    def metrics(self) -> dict[str, float]:
        text = self.client.get(f"{self.engine.url}/metrics").text
        return backends.read_metrics(text, backends.VLLM_BACKEND)

    def idle(self) -> bool:
        now = self.metrics()
        return now["running"] == now["waiting"] == 0

    def paths(self) -> Counter[str]:
        """How often each method and path was asked of the engine, by its own log; the metrics are ours."""
        return Counter(re.findall(r'"([^"]* HTTP/[^"]*)" \d{3}', self.engine.text()))

    def post(self, key: str, path: str, body: Any) -> httpx.Response:
        return self.client.post(f"{self.front.url}{path}", json=body, headers={"Authorization": f"Bearer {key}"})


@contextlib.contextmanager
def place(folder: Path) -> Iterator[Place]:
    base = make_base(folder / "base")
    with seat(folder, tiny=False) as var:
        port = int(os.environ["LEXLOOP_ENGINE_PORT"])
        engine = engines.Engine.start(base, port, var / "logs" / "engine.log")
        front = Gateway(var / "gateway", int(os.environ["LEXLOOP_GATEWAY_PORT"]))
        bad, good = keys.add("bad", per_minute=100_000, at_once=1000), keys.add("good")
        try:
            engine.wait_ready()
            context = engine.context()
            front.start(Route.only(port, "1", context))
            with httpx.Client(timeout=DONE_S, trust_env=False) as client:
                yield Place(engine, front, bad, good, limits.of_engines(front.limits, [context]), client)
            assert engine.alive() and ask(front.url, good, max_tokens=3).status_code == 200, "the engine is gone"
        finally:
            front.stop()
            engine.stop()


def times_of(there: Place, count: int) -> list[float]:
    """Seconds of `count` ordinary questions of the good key, one after the other; each must be answered."""
    times = []
    for _ in range(count):
        began = time.monotonic()
        answer = there.post(there.good, listed.CHAT, {**listed.BODY, "max_tokens": 8})
        assert answer.status_code == 200, answer.text
        times.append(time.monotonic() - began)
    return times


def flood(there: Place, until: threading.Event) -> Iterator[int]:
    """Of the bad key, again and again: as many answers as one request may ask for, long ones and many short ones."""
    bound, context = there.bounds.request, there.bounds.context
    many = {"prompt": ["合同"] * 16, "n": 4, "temperature": 1, "max_tokens": bound // 64}
    four = {**listed.BODY, "n": 4, "temperature": 1, "max_tokens": context}
    one = {"messages": listed.BODY["messages"]}
    while not until.is_set():
        for path, body in ((listed.COMPLETION, many), (listed.CHAT, four), (listed.CHAT, one)):
            with contextlib.suppress(httpx.TransportError):
                yield there.post(there.bad, path, body).status_code


def fan_out(folder: Path) -> str:
    with place(folder) as there:
        for path, body, field in listed.fan_out(there.bounds.request, there.bounds.context):
            answer = there.post(there.bad, path, body)
            assert answer.status_code == 400 and answer.json()["error"]["param"] == field, (body, answer.text)
        quiet, until, waiting = times_of(there, 12), threading.Event(), []
        with ThreadPoolExecutor(THREADS) as pool:
            parts = [pool.submit(lambda: Counter(flood(there, until))) for _ in range(THREADS)]
            try:
                loud, ends = [], time.monotonic() + FLOOD_S
                while time.monotonic() < ends:
                    loud += times_of(there, 1)
                    waiting.append(there.metrics()["waiting"])
            finally:
                until.set()
            seen = sum((part.result() for part in parts), Counter())
        wait_for(there.idle, DONE_S, "the engine's rest")
        counted = [name for name in os.listdir(limits.folder(there.front.root)) if not name.endswith(".0")]
        assert not counted, f"counted, and ended: {counted}"
        after = times_of(there, 3)
    # 64 answers of one request, and what a key may have beside them.
    most = 64 + limits.LEAST * there.bounds.key_share * there.bounds.total
    assert seen.keys() <= {200, 429} and seen[200] and seen[429], seen
    assert max(waiting) <= most, f"{max(waiting):.0f} answers waited at the engine"
    return (
        f"{seen[429]} of {seen.total()} requests sent away, at most {max(waiting):.0f} answers waiting at the engine; all of "
        f"{len(loud)} questions of the other key answered, P95 {quantiles(quiet)['p95']:.2f} s before, "
        f"{quantiles(loud)['p95']:.2f} s in the flood, {max(after):.2f} s after; the same engine"
    )


def grammars(folder: Path) -> str:
    with place(folder) as there:
        times_of(there, 1)
        wait_for(there.idle, DONE_S, "the engine's rest")
        before, asked, count = there.metrics(), there.paths(), 0
        for where, grammar in listed.GRAMMARS.items():
            for expression in listed.NESTED:
                for path, body in ((listed.CHAT, listed.BODY), (listed.COMPLETION, {"prompt": "合同", "max_tokens": 3})):
                    answer = there.post(there.bad, path, body | grammar(expression))
                    error = answer.json()["error"]
                    assert (answer.status_code, error["param"]) == (400, listed.named(where)), answer.text
                    count += 1
        assert there.metrics() == before, "the engine has worked on one"
        more = there.paths() - asked
        assert set(more) <= {"GET /metrics HTTP/1.1"}, more
    return f"{count} requests with grammars in {len(listed.GRAMMARS)} places: each 400 with the field's name; the engine saw none"


def slow(there: Place) -> list[float]:
    """Seconds after which the gateway gives up on bodies that do not come to their end: one in each way."""
    sent = listed.request(there.bad, listed.CHAT, listed.JSON)
    chunked = listed.request(there.bad, listed.CHAT, b"ff\r\n{", ("Transfer-Encoding: chunked",))

    def lasts(piece: bytes) -> float:
        began = time.monotonic()
        said = listed.tell(there.front.listen, piece, 4 * SLOW_S)
        assert listed.statuses_of(said) in ([], [400]), said
        return time.monotonic() - began

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lasts, (sent[:-5], sent[: -len(listed.JSON)], chunked, sent[:40])))


def tricks(folder: Path) -> str:
    with place(folder) as there:
        wait_for(lambda: ask(there.front.url, there.good, max_tokens=3).status_code == 200, DONE_S, "the first answer")
        asked, workers, found = there.paths(), there.front.nginx.workers(), []
        every = listed.TRICKS(there.bad)
        for trick in every:
            found += [problem] if (problem := listed.wrong(there.front.listen, trick)) else []
        assert not found, "\n".join(found)
        ends = slow(there)
        more = there.paths() - asked
        assert set(more) == {"POST /v1/chat/completions HTTP/1.1"}, more
        good = sum(trick.good for trick in every)
        assert more.total() <= good, f"{more.total()} questions reached the engine, of {good} that may"
        assert there.front.nginx.workers() == workers, "a worker of Nginx was lost"
        log = (there.front.root / "error.log").read_text()
        assert there.bad.split("-", 2)[2] not in log and "?" not in log, "a key or a query is in the error log"
    return (
        f"{len(every)} requests and tricks, each refused or answered as it should be; {more.total()} reached the engine, all as "
        f"questions; bodies that stop cut off after {max(ends):.0f} s"
    )
