"""The official Python client, unmodified, against the gateway: what its users rely on."""

import json
import os

import httpx
import pytest

from legal_tasks.serving import engines, keys
from legal_tasks.serving.backends import VLLM_BACKEND, read_metrics
from legal_tasks.serving.gateway import Route, last_requests
from tests.legal_tasks.training.tiny import make_base

openai = pytest.importorskip("openai")
CHAT = [{"role": "user", "content": "什么是合同？"}]


@pytest.fixture
def engine(var, make_model):
    folder = make_model("合同是协议").path / "gptq"
    one = engines.Engine.start(folder, engines.free_port(int(os.environ["LEXLOOP_ENGINE_PORT"])), var / "logs" / "e.log")
    one.wait_ready(20)
    yield one
    one.stop()


@pytest.fixture
def client(front):
    return openai.OpenAI(base_url=f"{front.url}/v1", api_key=keys.add("office"), max_retries=0, timeout=20)


def test_chat_completion_logprobs_models_and_the_request_id(front, engine, client):
    front.start(Route.only(engine.port, "7"))
    answer = client.chat.completions.create(model="legal-llm", messages=CHAT, logprobs=True, top_logprobs=1, max_tokens=4)
    assert answer.choices[0].message.content == "合同是协" and answer.usage.completion_tokens == 4
    assert [part.token for part in answer.choices[0].logprobs.content] == list("合同是协")
    assert len(answer._request_id) == 32
    assert client.completions.create(model="legal-llm", prompt="合同", max_tokens=2).choices[0].text == "合同"
    assert [model.id for model in client.models.list()] == ["legal-llm"]


def test_a_stream_ends_with_the_usage_chunk(front, engine, client):
    front.start(Route.only(engine.port, "7"))
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(model="legal-llm", messages=CHAT, **options))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "合同是协议"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 5


def test_each_fault_is_the_clients_own_exception(front, engine, client):
    front.start(Route.only(engine.port, "7"))

    def ask(one=client, **changes):
        one.chat.completions.create(**{"model": "legal-llm", "messages": CHAT} | changes)

    with pytest.raises(openai.AuthenticationError) as wrong:
        ask(client.with_options(api_key="ll-00000000-" + "x" * 43))
    assert wrong.value.code == "invalid_api_key" and len(wrong.value.request_id) == 32
    with pytest.raises(openai.NotFoundError, match="no model other"):
        ask(model="other")
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        ask(max_tokens=-1)
    with pytest.raises(openai.APIStatusError) as large:
        ask(messages=[{"role": "user", "content": "长" * 1_000_000}])
    assert large.value.status_code == 413 and large.value.code == "request_too_large"
    engine.stop()
    with pytest.raises(openai.InternalServerError) as gone:
        ask()
    assert gone.value.code == "engine_unavailable" and gone.value.response.headers["retry-after"] == "5"


def test_a_client_over_its_limit_waits_as_it_is_told_and_comes_through(front, engine):
    """30 requests a minute, a sixth of which may come at once: one and five pass, the next must wait two seconds."""
    mine = keys.add("slow", per_minute=30, at_once=5)
    front.start(Route.only(engine.port, "7"))
    client = openai.OpenAI(base_url=f"{front.url}/v1", api_key=mine, max_retries=0, timeout=20)
    for _ in range(6):
        client.models.list()
    with pytest.raises(openai.RateLimitError) as limit:
        client.models.list()
    assert limit.value.code == "rate_limit_exceeded" and limit.value.response.headers["retry-after"] == "2"
    patient = client.with_options(max_retries=2)
    assert [model.id for model in patient.models.list()] == ["legal-llm"]
    other = openai.OpenAI(base_url=f"{front.url}/v1", api_key=front.probe_key, max_retries=0, timeout=20)
    assert other.models.list().data, "one key's limit is not another's"


def said_by(url, key, **sampling):
    body = {"model": "legal-llm", "messages": CHAT, "max_tokens": 12, **sampling}
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def chat_lines(front, count):
    """The access log's lines of chats, once there are `count`."""
    lines = [line for line in last_requests(front.root) if line["uri"] == "/v1/chat/completions"]
    return lines if len(lines) == count else None


@pytest.mark.slow
def test_the_client_works_with_vllm_itself(var, front, client, environments, tmp_path, monkeypatch, wait_for):
    """The engine of production, on a random model: what the tiny server imitates is what vLLM does (about a minute)."""
    if not (environments / "vllm" / "bin" / "python").is_file():
        pytest.skip("the environment vllm is not built")
    monkeypatch.setenv("LEXLOOP_ENV_DIR", str(environments))
    monkeypatch.delenv("LEXLOOP_ENGINE_ARGV")
    port = engines.free_port(int(os.environ["LEXLOOP_ENGINE_PORT"]))
    base = make_base(tmp_path / "base")
    sampled = {"do_sample": True, "temperature": 1.9, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.3, "eos_token_id": 5}
    (base / "generation_config.json").write_text(json.dumps(sampled))
    engine = engines.Engine.start(base, port, var / "logs" / "vllm.log")
    try:
        engine.wait_ready()
        for url, key in ((engine.url, "any"), (front.url, front.probe_key)):
            if url == front.url:
                front.start(Route.only(port, "7", engine.context()))
            said = {said_by(url, key) for _ in range(5)}
            assert said == {said_by(url, key, temperature=0, repetition_penalty=1)}, "the engine samples by itself"
            assert len({said_by(url, key, temperature=1.9, seed=seed) for seed in range(5)}) > 1
        (card,) = client.models.list().data
        assert card.max_model_len == engine.context() == 256 and str(tmp_path) not in card.model_dump_json()
        answer = client.chat.completions.create(
            model="legal-llm", messages=CHAT, max_tokens=4, logprobs=True, top_logprobs=2, temperature=0
        )
        assert 1 <= answer.usage.completion_tokens <= 4 and len(answer._request_id) == 32
        first = answer.choices[0].logprobs.content[0]
        assert first.logprob <= 0 and len(first.top_logprobs) == 2
        options = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 4}
        chunks = list(client.chat.completions.create(model="legal-llm", messages=CHAT, **options))
        assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 4
        plain = list(client.chat.completions.create(model="legal-llm", messages=CHAT, stream=True, max_tokens=4, temperature=0))
        assert all(chunk.choices and chunk.usage is None for chunk in plain)
        if front.module is not None:
            counts = wait_for(lambda: chat_lines(front, 14))[-1]
            assert counts["prompt_tokens"] == chunks[-1].usage.prompt_tokens and 1 <= counts["answer_tokens"] <= 4
        assert client.completions.create(model="legal-llm", prompt="合同", max_tokens=2).usage.completion_tokens <= 2
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="other", messages=CHAT)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="legal-llm", messages=CHAT, max_tokens=-1)
        metrics = httpx.get(f"{engine.url}/metrics", trust_env=False).text
        assert read_metrics(metrics, VLLM_BACKEND)["answer_tokens"] >= 1
    finally:
        engine.stop()
