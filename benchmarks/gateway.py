"""What the gateway costs: throughput before a real engine, time to the first token before an upstream of fixed latency.

    make bench NAME=gateway

Pairs of runs, with and without the gateway in turn, on the same engine. The engine is vLLM, once with the base that the embedded
loop serves, once with a smaller random model that never ends its answers: on two cores, which engine, client and Nginx share, the
second shows the gateway at its worst. The upstream answers after 50 ms whatever it is asked.

The key is one as `make key` makes them: every request is checked and counted as a user's is. Its bounds alone are wider, so that
none is sent away.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from legal_tasks.serving.limits import Params as Limits

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "gateway.json"
PAIRS = 21  # one pair of two busy cores differs from the next by a tenth and more
LATENCY_S = 0.05
COUNTED = Limits(total_answers=100_000, key_share=0.99)
EMBEDDED = REPOSITORY / "legal_tasks" / "embedded" / "base"
CHATS = [[{"role": "user", "content": f"第{number}条规定租赁合同期限不得超过二十年吗？"}] for number in range(40)]
Load = Callable[[str, str], dict[str, Any]]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
    await reader.readexactly(length)
    await asyncio.sleep(LATENCY_S)
    parts = [{"choices": [{"delta": {"content": "是"}, "finish_reason": None}]}]
    parts += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": {"completion_tokens": 1}}]
    body = "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n\n"
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + body.encode())
    await writer.drain()
    writer.close()


async def upstream(port: int) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


def pairs(load: Load, engine: str, front: str, key: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(through the gateway, bare) of PAIRS pairs; who goes first alternates. One run of each before that is thrown away."""
    load(engine, key)
    load(front, key)
    found = []
    for number in range(PAIRS):
        order = ((front, engine), (engine, front))[number % 2]
        runs = {url: load(url, key) for url in order}
        if any(run["success_rate"] < 1 for run in runs.values()):
            raise RuntimeError(f"requests failed, the runs cannot be compared: {[run['errors'] for run in runs.values()]}")
        found.append((runs[front], runs[engine]))
        print(f"pair {number + 1} of {PAIRS}", flush=True)
    return found


def comparison(peer: str, settings: str, unit: str, values: list[tuple[float, float]], better_is_more: bool) -> dict[str, Any]:
    """`values`: (ours, theirs) of each pair."""
    ratios = [ours / theirs if better_is_more else theirs / ours for ours, theirs in values]
    return {
        "peer": peer,
        "settings": settings,
        "ours": statistics.median(ours for ours, _ in values),
        "theirs": statistics.median(theirs for _, theirs in values),
        "unit": unit,
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "runs": [{"ours": ours, "theirs": theirs} for ours, theirs in values],
    }


def against_vllm(folder: Path, base: Path, about: str) -> dict[str, Any]:
    """`base`: the model that the engine serves; `about`: what it is."""
    from legal_tasks.serving import engines, gateway, keys
    from legal_tasks.serving.backends import MODEL_NAME
    from legal_tasks.serving.loadtest import run_load

    first = int(os.environ["LEXLOOP_ENGINE_PORT"])
    engine = engines.Engine.start(base, engines.free_port(first), folder / "engine.log")
    front = gateway.Gateway(folder / "gateway", engines.free_port(first + 10))
    front.limits = COUNTED

    def load(url: str, key: str) -> dict[str, Any]:
        # More than the engine can take at once, so that it never waits for the client.
        return run_load(url, key, MODEL_NAME, CHATS, requests=192, rate=1000, max_tokens=64)

    try:
        print(f"vLLM generates after {engine.wait_ready():.0f} s", flush=True)
        key = keys.add("bench", per_minute=100_000, at_once=10_000)
        front.start(gateway.Route.only(engine.port, "1"))
        found = pairs(load, engine.url, front.url, key)
    finally:
        front.stop()
        engine.stop()
    values = [(ours["tokens_per_s"], theirs["tokens_per_s"]) for ours, theirs in found]
    settings = f"192 streams of up to 64 tokens at once, field list and limits on, {about}, CPU"
    return comparison("bare vLLM engine", settings, "tokens/s", values, better_is_more=True)


def against_upstream(folder: Path) -> dict[str, Any]:
    from legal_tasks.serving import engines, gateway, keys
    from legal_tasks.serving.backends import MODEL_NAME
    from legal_tasks.serving.loadtest import run_load

    first = int(os.environ["LEXLOOP_ENGINE_PORT"])
    port = engines.free_port(first)
    argv = [sys.executable, "-m", "benchmarks.gateway", "--upstream", str(port)]
    server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    front = gateway.Gateway(folder / "gateway-fixed", engines.free_port(first + 10))
    front.limits = COUNTED

    def load(url: str, key: str) -> dict[str, Any]:
        return run_load(url, key, MODEL_NAME, CHATS, requests=90, rate=30, max_tokens=1)

    try:
        assert server.stdout is not None
        server.stdout.readline()
        key = keys.add("bench-fixed", per_minute=100_000, at_once=10_000)
        front.start(gateway.Route.only(port, "1"))
        found = pairs(load, f"http://127.0.0.1:{port}", front.url, key)
    finally:
        front.stop()
        server.terminate()
        server.wait()
    values = [(ours["p95_first_token_s"], theirs["p95_first_token_s"]) for ours, theirs in found]
    made = comparison(
        "fixed-latency upstream", f"{LATENCY_S * 1000:.0f} ms, 90 streams at 30/s", "s, P95 of the first token", values, False
    )
    made["added_ms"] = {
        "median": round(1000 * statistics.median(ours - theirs for ours, theirs in values), 2),
        "max": round(1000 * max(ours - theirs for ours, theirs in values), 2),
    }
    return made


def main() -> int:
    if sys.argv[1:2] == ["--upstream"]:
        asyncio.run(upstream(int(sys.argv[2])))
        return 0
    from tests.legal_tasks.training.tiny import make_base

    before = os.getloadavg()
    os.environ.setdefault("LEXLOOP_ENGINE_PORT", "8160")
    with tempfile.TemporaryDirectory(prefix="lexloop-bench-") as name:
        os.environ["LEXLOOP_VAR"] = name
        folder = Path(name)
        comparisons = [
            against_upstream(folder),
            against_vllm(folder / "embedded", EMBEDDED, "the embedded base"),
            against_vllm(folder / "random", make_base(folder / "base"), "random model of 0.5 M parameters"),
        ]
    result = {
        "name": "gateway",
        "comparisons": comparisons,
        "machine": {
            "processors": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            "load_average": {"before": before, "after": os.getloadavg()},
            "shared": before[0] > 0.5,  # somebody else was computing when it began
        },
        "date": datetime.date.today().isoformat(),
        "command": "make bench NAME=gateway",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    for one in comparisons:
        added = f", {one['added_ms']['median']:+.1f} ms" if "added_ms" in one else ""
        both = f"{one['ours']:.4g} against {one['theirs']:.4g} {one['unit']}"
        print(f"{one['peer']} ({one['settings']}): {both}, ratio {one['ratio']['median']:.3f}{added}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
