import json
import os

import pytest

from legal_tasks.serving import engines, gateway, prove
from legal_tasks.serving.loadtest import arrivals, quantiles, run_load
from legal_tasks.step import StepError

CHATS = [[{"role": "user", "content": "什么是合同？"}]]


@pytest.fixture
def engine(var, make_model):
    port = engines.free_port(int(os.environ["LEXLOOP_ENGINE_PORT"]))
    one = engines.Engine.start(make_model("合同是协议").path / "gptq", port, var / "logs" / "e.log")
    one.wait_ready(10)
    yield one
    one.stop()


@pytest.fixture(scope="module")
def reference():
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, initializer_range=0.5)).eval()


def greedy(model, prompt, length):
    import torch

    ids = list(prompt)
    for _ in range(length):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_the_reference_finds_the_first_token_that_it_would_not_have_chosen(reference):
    prompt = [3, 7, 11]
    answer = greedy(reference, prompt, 6)
    assert prove.judge(reference, prompt, answer, "cpu") == (-1, 0.0)
    wrong = [*answer[:2], (answer[2] + 1) % 50]
    position, gap = prove.judge(reference, prompt, wrong, "cpu")
    assert position == 2 and gap > prove.TIE
    assert prove.judge(reference, prompt, [], "cpu") == (0, float("inf")), "no answer is no agreement"


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
        found = run_load(front.url, gateway.first_key(), "legal-llm", CHATS, requests=5, rate=100, max_tokens=5)
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


def test_questions_come_without_their_answers(tmp_path):
    path = tmp_path / "validation.jsonl"
    record = {"instruction": "问", "input": "详情", "output": "答", "history": [["早", "好"]]}
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for _ in range(3)), "utf-8")
    chats = prove.read_chats(path, 2)
    assert len(chats) == 2 and chats[0][-1] == {"role": "user", "content": "问\n详情"}
    with pytest.raises(StepError, match="is missing"):
        prove.read_chats(tmp_path / "none.jsonl", 2)


@pytest.mark.parametrize(("option", "value"), [("prompts", 0), ("requests", 0), ("rate", 0.0), ("max_tokens", -1)])
def test_settings_out_of_range_are_named(tmp_path, option, value):
    with pytest.raises(StepError, match=f"--{option.replace('_', '-')}"):
        prove.Params(tmp_path, tmp_path, tmp_path, **{option: value})
