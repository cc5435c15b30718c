"""Parity: what is served against what was evaluated, with servers that are right, wrong in one thing, or llama.cpp."""

import copy
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from legal_tasks.compression.load import load_model
from legal_tasks.serving import backends, parity, prove
from legal_tasks.serving.backends import LLAMA_BACKEND, VLLM_BACKEND
from legal_tasks.step import StepError
from legal_tasks.training.chat import render
from tests.legal_tasks.training.tiny import make_base, make_split


@pytest.fixture(scope="module")
def reference():
    transformers = pytest.importorskip("transformers")
    import torch

    torch.set_num_threads(1)
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
    assert parity.judge(reference, prompt, answer, "cpu") == (-1, 0.0)
    wrong = [*answer[:2], (answer[2] + 1) % 50]
    position, gap = parity.judge(reference, prompt, wrong, "cpu")
    assert position == 2 and gap > parity.TIE
    assert parity.judge(reference, prompt, [], "cpu") == (0, float("inf")), "no answer is no agreement"


class Served(ThreadingHTTPServer):
    """/tokenize and /v1/chat/completions, computed greedily by a model in this process."""

    daemon_threads = True

    def __init__(self, model, tokenizer, twist=None, draws=False):
        self.draws = draws  # answers are greedy only to a request that asks for that
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
                if self.server.draws and body.get("temperature") != 0:
                    answer = [*answer[:-1], (answer[-1] + 1) % 250]
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
        return parity.compare_answers(VLLM_BACKEND, served.url, served.url, "key", tiny, questions(20), 4)
    finally:
        served.shutdown()
        served.server_close()


def test_the_same_model_behind_the_same_template_is_identical(tiny):
    found = compare(tiny, Served(*tiny))
    assert found["checked"] == found["identical_answers"] == found["identical_tokens"]
    assert found["asked"] == {"as by default": 20 + len(parity.hard_chats(tiny[1])), "temperature 0": 20}
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


def test_an_engine_that_draws_where_nobody_asked_for_it_is_not_what_was_evaluated(tiny):
    found = compare(tiny, Served(*tiny, draws=True))
    assert {item["asked"] for item in found["items"] if item["answer"] == "equal"} == {"temperature 0"}
    assert found["identical_answers"] == found["asked"]["temperature 0"] == 20


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


def test_an_answer_that_stops_before_the_model_would_is_different(tiny):
    found = compare(tiny, Served(*tiny, lambda answer: answer[:2]))
    assert found["answers"]["different"] == found["checked"] and found["identical_answers"] == 0


def test_questions_come_without_their_answers(tmp_path):
    path = tmp_path / "validation.jsonl"
    record = {"instruction": "问", "input": "详情", "output": "答", "history": [["早", "好"]]}
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for _ in range(3)), "utf-8")
    chats = list(parity.read_chats(path))
    assert len(chats) == 3 and chats[0][-1] == {"role": "user", "content": "问\n详情"}
    with pytest.raises(StepError, match="is missing"):
        next(parity.read_chats(tmp_path / "none.jsonl"))


def test_missing_questions_come_from_the_training_set(tmp_path):
    make_split(tmp_path, training=6, validation=3)
    names = list(parity.read_questions(tmp_path, 5)[0])
    assert names == ["validation 1", "validation 2", "validation 3", "train 1", "train 2"]
    assert len(parity.read_questions(tmp_path, 100)[0]) == 9


def test_questions_that_leave_no_room_are_passed_over_and_counted(tmp_path):
    make_split(tmp_path, training=6, validation=3)
    first = next(parity.read_chats(tmp_path / "validation.jsonl"))
    chats, too_long = parity.read_questions(tmp_path, 5, lambda chat: chat != first)
    assert list(chats) == ["validation 2", "validation 3", "train 1", "train 2", "train 3"] and too_long == 1
    with pytest.raises(StepError, match="--max-tokens"):
        parity.read_questions(tmp_path, 5, lambda chat: False)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model that has learned its records, so that it is sure of its answers to questions like theirs."""
    import torch

    from legal_tasks.training.rows import collate, encode, load
    from legal_tasks.training.trainer import answer_loss

    torch.set_num_threads(1)
    folder = make_base(tmp_path_factory.mktemp("trained") / "model")
    split = make_split(tmp_path_factory.mktemp("split"), training=64)
    model, tokenizer = load_model(folder)
    model.train()
    batch = collate(encode(tokenizer, load(split / "train.jsonl"), 128).rows, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        loss = answer_loss(model, **batch) / (batch["labels"] >= 0).sum()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def through_llama(var, environments, monkeypatch):
    """through_llama(artifact, reference) -> parity of the GGUF file, by llama.cpp's server behind a gateway."""
    monkeypatch.setenv("LEXLOOP_ENV_DIR", str(environments))

    def run(artifact, reference):
        settings = backends.Settings(max_num_seqs=4)
        with prove.served(artifact, var, settings, LLAMA_BACKEND, lambda: reference) as (engine, front, _, loaded):
            metrics = backends.read_metrics(httpx.get(f"{engine.url}/metrics", trust_env=False).text, LLAMA_BACKEND)
            props = httpx.get(f"{engine.url}/props", trust_env=False).json()["default_generation_settings"]["params"]
            metrics["sampling"] = {name: props[name] for name in ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")}
            found = parity.compare_answers(LLAMA_BACKEND, engine.url, front.url, front.probe_key, loaded, questions(20), 8)
        return found, metrics

    return run


def test_llama_cpp_behind_the_gateway_serves_the_file_that_was_evaluated(base, make_gguf, through_llama):
    artifact = make_gguf(base)
    found, metrics = through_llama(artifact, load_model(LLAMA_BACKEND.find(artifact), "gguf"))
    assert found["identical_tokens"] == found["checked"] >= 25
    wrong = [item for item in found["items"] if item["prompt"].startswith("validation") and item["answer"] == "different"]
    assert not wrong, wrong
    neutral = {"temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0, "repeat_penalty": 1}
    assert metrics.pop("sampling") == neutral, "what the engine does by itself"
    assert metrics.keys() == LLAMA_BACKEND.metrics.keys() and metrics["answer_tokens"] >= 1


def test_a_file_with_another_template_is_not_what_was_evaluated(base, make_gguf, through_llama, tmp_path):
    reference = load_model(LLAMA_BACKEND.find(make_gguf(base)), "gguf")
    other = shutil.copytree(base, tmp_path / "other")
    template = other / "chat_template.jinja"
    template.write_text(template.read_text().replace("'<|assistant|>'", "'<|assistant|>是'"))
    found, _ = through_llama(make_gguf(other, "other"), reference)
    assert found["identical_tokens"] == found["identical_answers"] == 0


def test_a_metric_that_is_gone_is_named():
    page = 'vllm:num_requests_running{engine="0"} 1.0\nvllm:num_requests_running{engine="1"} 2.0\n'
    with pytest.raises(StepError, match="vllm:num_requests_waiting"):
        backends.read_metrics(page, VLLM_BACKEND)
    rest = [name for name in VLLM_BACKEND.metrics.values() if name != "vllm:time_to_first_token_seconds"][1:]
    page += "".join(f"{name} 5\n" for name in rest) + "vllm:time_to_first_token_seconds_count 7\n"
    found = backends.read_metrics(page, VLLM_BACKEND)
    assert (found["running"], found["waiting"], found["first_token"]) == (3.0, 5.0, 7.0)


def test_the_legacy_command_is_pinned_offline_and_on_the_loopback(tmp_path):
    words = backends.tgi_command(tmp_path, 8123, 512, backends.Settings())
    assert backends.TGI_IMAGE.rpartition(":")[2] not in ("", "latest") and backends.TGI_IMAGE in words
    pairs = dict(zip(words, words[1:], strict=False))
    assert pairs["-p"] == "127.0.0.1:8123:80" and pairs["-v"] == f"{tmp_path}:/model:ro"
    assert (pairs["--quantize"], pairs["--max-total-tokens"], pairs["--max-input-tokens"]) == ("gptq", "512", "511")


def test_adapters_may_be_loaded_only_where_the_setting_says_so(tmp_path):
    config = {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 64, "max_position_embeddings": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    plain, adapters = backends.Settings(), backends.Settings(adapters=True)
    assert "--enable-lora" not in VLLM_BACKEND.arguments(tmp_path, 1, plain)
    assert "--enable-lora" in VLLM_BACKEND.arguments(tmp_path, 1, adapters)
    name = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
    assert name not in VLLM_BACKEND.environment(plain) and VLLM_BACKEND.environment(adapters)[name] == "True"
