import json
import os

import pytest

from legal_tasks.serving import engines, gateway, prove
from legal_tasks.serving.loadtest import arrivals, highest_rate, holds, quantiles, run_load
from legal_tasks.step import StepError, main
from tests.legal_tasks.training.tiny import make_base, make_exam, make_split

CHATS = [[{"role": "user", "content": "什么是合同？"}]]


@pytest.fixture
def engine(var, make_model):
    port = engines.free_port(int(os.environ["LEXLOOP_ENGINE_PORT"]))
    one = engines.Engine.start(make_model("合同是协议").path / "gptq", port, var / "logs" / "e.log")
    one.wait_ready(10)
    yield one
    one.stop()


def test_load_counts_first_token_and_whole_answer(engine):
    found = run_load(engine.url, "any", "legal-llm", CHATS, requests=20, rate=40, max_tokens=5)
    assert found["success_rate"] == 1.0 and found["errors"] == {}
    assert found["tokens_per_s"] > 0
    # The tiny engine sends a token every 0.05 s: five tokens take five pauses longer than the first.
    assert found["p50_short_answer_s"] - found["p50_first_token_s"] > 0.15


def test_load_does_not_wait_for_answers_before_it_sends_more(engine):
    one_after_the_other = 20 * 0.3
    assert run_load(engine.url, "any", "legal-llm", CHATS, requests=20, rate=100, max_tokens=5)["seconds"] < one_after_the_other


def test_what_fails_is_counted_by_reason(var):
    front = gateway.Gateway(var / "gateway", int(os.environ["LEXLOOP_GATEWAY_PORT"]))
    front.start()
    try:
        found = run_load(front.url, front.probe_key, "legal-llm", CHATS, requests=5, rate=100, max_tokens=5)
    finally:
        front.stop()
    assert found["success_rate"] == 0.0 and list(found["errors"].values()) == [5]
    assert "HTTP 503" in next(iter(found["errors"])) and "p95_first_token_s" not in found


def test_quantiles_are_measured_values():
    assert quantiles([5.0, 1.0, 2.0, 3.0, 4.0]) == {"p50": 3.0, "p95": 5.0, "p99": 5.0}
    assert quantiles([]) == {}


def test_arrivals_keep_the_rate_and_repeat_with_the_seed():
    times = arrivals(2000, 10.0, seed=1)
    assert times == arrivals(2000, 10.0, seed=1) != arrivals(2000, 10.0, seed=2)
    assert times[-1] == pytest.approx(200, rel=0.1) and times == sorted(times)


@pytest.mark.parametrize(("option", "value"), [("prompts", 0), ("requests", 0), ("rate", 0.0), ("max_tokens", -1)])
def test_settings_out_of_range_are_named(tmp_path, option, value):
    with pytest.raises(StepError, match=f"--{option.replace('_', '-')}"):
        prove.Params(tmp_path, tmp_path, tmp_path, **{option: value})


@pytest.mark.slow
def test_vllm_serves_what_was_evaluated(tmp_path, environments, monkeypatch):
    """Compress a small model, start the real engine and gateway for it, compare and measure (about two minutes)."""
    pytest.importorskip("gptqmodel")
    if not (environments / "vllm" / "bin" / "python").is_file():
        pytest.skip("the environment vllm is not built")
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("LEXLOOP_ENV_DIR", str(environments))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("LEXLOOP_ENGINE_ARGV", raising=False)
    base, split = make_base(tmp_path / "base"), make_split(tmp_path / "split", training=100, validation=20)
    common = ["--store", str(tmp_path / "store"), "--report"]
    made = tmp_path / "compress.json"
    arguments = ["--model", str(base), "--data", str(split), "--samples", "32", "--perplexity-records", "4", "--threads", "1"]
    assert main("legal_tasks.compression.compress", [*arguments, *common, str(made)]) == 0
    arguments = ["--model", json.loads(made.read_text())["artifact"], "--data", str(split), "--prompts", "100"]
    proved = tmp_path / "prove.json"
    arguments += ["--exams", str(make_exam(tmp_path / "exam")), "--requests", "40"]
    assert main("legal_tasks.serving.prove", [*arguments, *common, str(proved)]) == 0
    report = json.loads(proved.read_text())["report"]
    assert report["parity"]["identical_answers"] == report["parity"]["checked"] >= 200
    assert {name: part["engine"] for name, part in report["parity"]["formats"].items()} == {"gptq": "vllm", "gguf": "llama.cpp"}
    assert report["parity"]["formats"]["gptq"]["asked"]["as by default"] >= 100
    asked = {name: row["n"] for name, row in report["sampled"].items()}
    assert asked == {"default": 24, "temperature_0_7": 24, "temperature_1": 24}
    assert report["loadtest"]["success_rate"] == 1.0 and report["loadtest"]["p95_first_token_s"] > 0
    assert not list((tmp_path / "var" / "work").iterdir())


def capacity(limit):
    """run(requests, rate) of a server whose P95 is good up to `limit` requests per second."""

    def run(requests, rate):
        p95 = 0.1 if rate <= limit else 3.0
        return {
            "rate_per_s": rate,
            "requests": requests,
            "tokens_per_s": 10 * rate,
            "success_rate": 1.0,
            "p95_first_token_s": p95,
            "p95_short_answer_s": p95,
        }

    return run


def test_the_highest_rate_is_searched_by_doubling_and_one_step_between():
    run = capacity(50)
    found = highest_rate(run, run(160, 8.0), 1.0)
    assert [(step["rate_per_s"], step["held"]) for step in found["steps"]] == [
        (8.0, True), (16.0, True), (32.0, True), (64.0, False), (48.0, True),
    ]  # fmt: skip
    assert (found["rate_per_s"], found["tokens_per_s"], found["requests"]) == (48.0, 480.0, 192)


def test_where_the_first_rate_does_not_hold_there_is_no_highest():
    run = capacity(1)
    found = highest_rate(run, run(160, 8.0), 1.0)
    assert found["rate_per_s"] is None and [step["held"] for step in found["steps"]] == [False]


def test_a_rate_at_which_requests_fail_does_not_hold():
    good = capacity(50)(100, 8.0)
    assert holds(good, 1.0) and not holds({**good, "success_rate": 0.98}, 1.0)
    assert not holds({name: value for name, value in good.items() if name != "p95_first_token_s"}, 1.0)
