import copy
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from legal_tasks.serving import engines, gateway, prove
from legal_tasks.serving.loadtest import arrivals, quantiles, run_load
from legal_tasks.step import StepError, main
from legal_tasks.training.chat import render
from tests.legal_tasks.training.tiny import make_base, make_split

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


class Served(ThreadingHTTPServer):
    """/tokenize and /v1/chat/completions, computed greedily by a model in this process."""

    daemon_threads = True

    def __init__(self, model, tokenizer, twist=None):
        super().__init__(("127.0.0.1", 0), Answering)
        self.model, self.tokenizer, self.twist, self.lock = model, tokenizer, twist, threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            prompt = render(self.server.tokenizer, body["messages"], generation=True)
            if self.path == "/tokenize":
                value = {"tokens": prompt}
            else:
                answer = greedy(self.server.model, prompt, body["max_tokens"])
                value = {"choices": [{"token_ids": self.server.twist(answer) if self.server.twist else answer}]}
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(model, tokenizer) with answers that depend on the question."""
    transformers = pytest.importorskip("transformers")
    import torch

    folder = make_base(tmp_path_factory.mktemp("base"), hidden=32)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def questions(count):
    return {f"validation {n}": [{"role": "user", "content": f"第{n}条规定租赁合同期限不得超过{n}年吗？"}] for n in range(count)}


def compare(tiny, served):
    try:
        return prove.compare_answers(served.url, served.url, "key", *tiny, questions(20), 4)
    finally:
        served.shutdown()
        served.server_close()


def test_the_same_model_behind_the_same_template_is_identical(tiny):
    found = compare(tiny, Served(*tiny))
    assert found["checked"] == found["identical_answers"] == found["identical_tokens"] == 20 + len(prove.hard_chats(tiny[1]))
    assert found["answers"]["equal"] == found["checked"]
    names = {item["prompt"] for item in found["items"]}
    assert {"special token <|end|>", "five turns", "system turn", "white space"} <= names


def test_another_template_in_the_engine_leaves_nothing_identical(tiny):
    model, tokenizer = tiny
    other = copy.deepcopy(tokenizer)
    other.chat_template = tokenizer.chat_template.replace("'<|assistant|>'", "'<|assistant|>是'")
    found = compare(tiny, Served(model, other))
    assert found["identical_tokens"] == found["identical_answers"] == 0
    assert found["items"][0]["served_prompt"].endswith("是")


def test_one_other_answer_is_found_and_listed(tiny):
    calls = []

    def twist(answer):
        calls.append(answer)
        return [answer[0], (answer[1] + 1) % 250, *answer[2:]] if len(calls) == 5 else answer

    found = compare(tiny, Served(*tiny, twist))
    assert found["answers"]["different"] == 1 and found["identical_answers"] == found["checked"] - 1
    listed = [item for item in found["items"] if item["answer"] != "equal"]
    assert [item["position"] for item in listed] == [1] and listed[0]["served"]


def test_ties_explain_a_few_differences_but_not_most(tiny):
    import torch

    undecided = copy.deepcopy(tiny[0])
    with torch.no_grad():
        undecided.model.norm.weight.mul_(1e-3)  # the same choices, every other token within a hair
    level = (undecided, tiny[1])
    calls = []

    def seldom(answer):
        calls.append(answer)
        return [(answer[0] + 1) % 250, *answer[1:]] if len(calls) == 3 else answer

    few = compare(level, Served(*level, seldom))
    assert few["answers"]["tie"] == 1 and few["identical_answers"] == few["checked"]
    many = compare(level, Served(*level, lambda answer: [(answer[0] + 1) % 250, *answer[1:]]))
    assert many["answers"]["tie"] > many["checked"] / 2 and many["identical_answers"] == many["answers"]["equal"]


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


def test_missing_questions_come_from_the_training_set(tmp_path):
    make_split(tmp_path, training=6, validation=3)
    names = list(prove.read_questions(tmp_path, 5))
    assert names == ["validation 1", "validation 2", "validation 3", "train 1", "train 2"]
    assert len(prove.read_questions(tmp_path, 100)) == 9


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
    assert main("legal_tasks.serving.prove", [*arguments, "--requests", "40", *common, str(proved)]) == 0
    report = json.loads(proved.read_text())["report"]
    assert report["parity"]["identical_answers"] == report["parity"]["checked"] >= 100
    assert report["loadtest"]["success_rate"] == 1.0 and report["loadtest"]["p95_first_token_s"] > 0
    assert not list((tmp_path / "var" / "work").iterdir())
