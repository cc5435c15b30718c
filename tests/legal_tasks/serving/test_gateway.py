import os
import subprocess
import sys
import time

import httpx
import pytest

from legal_tasks.serving import engines, gateway
from legal_tasks.serving.gateway import Gateway, GatewayError, Route
from legal_tasks.step import StepError

QUESTION = {"model": "legal-llm", "messages": [{"role": "user", "content": "什么是合同？"}]}


@pytest.fixture
def front(var):
    one = Gateway(var / "gateway", engines.free_port(int(os.environ["LEXLOOP_GATEWAY_PORT"])))
    yield one
    one.stop()


@pytest.fixture
def engine(var, make_model):
    folder = make_model("合同是协议").path / "gptq"
    one = engines.Engine.start(folder, engines.free_port(int(os.environ["LEXLOOP_ENGINE_PORT"])), var / "logs" / "e.log")
    one.wait_ready(10)
    yield one
    one.stop()


@pytest.fixture
def client(front):
    headers = {"Authorization": f"Bearer {gateway.first_key()}"}
    with httpx.Client(base_url=front.url, headers=headers, timeout=10, trust_env=False) as one:
        yield one


def error_of(answer):
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-request-id"]) == 32
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["code"]


def test_before_any_release_it_says_so(front, client):
    front.start()
    assert error_of(client.post("/v1/chat/completions", json=QUESTION)) == (503, "503")
    health = client.get("/health", headers={"Authorization": ""})
    assert health.status_code == 200 and health.json()["model"] is None


def test_only_keys_get_in_and_only_below_v1(front, client, engine, var):
    front.start(Route(engine.port, "7"))
    for header in ("", "Bearer wrong", f"Basic {gateway.first_key()}", f"Bearer {gateway.first_key()}x"):
        assert error_of(client.post("/v1/chat/completions", json=QUESTION, headers={"Authorization": header})) == (401, "401")
    assert error_of(client.get("/metrics")) == (404, "404")
    assert error_of(client.get("/")) == (404, "404")
    answer = client.post("/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 200 and answer.headers["x-model-version"] == "7"
    seen = {name.lower(): value for name, value in client.get("/v1/models").json()["seen"].items()}
    assert "authorization" not in seen, "the key must not reach the engine"
    assert (var / "secrets" / "api_keys").stat().st_mode & 0o777 == 0o600
    assert (front.root / "keys.conf").stat().st_mode & 0o777 == 0o600


def test_the_log_has_a_line_per_request_without_key_or_question(front, client, engine, wait_for):
    front.start(Route(engine.port, "7"))
    identity = client.post("/v1/chat/completions", json=QUESTION).headers["x-request-id"]
    line = wait_for(lambda: next((line for line in gateway.last_requests(front.root) if line["id"] == identity), None))
    assert (line["status"], line["model"], line["client"], line["uri"]) == (200, "7", "default", "/v1/chat/completions")
    text = (front.root / "access.log").read_text()
    assert gateway.first_key() not in text and "合同" not in text


def test_a_stream_arrives_piece_by_piece(front, client, engine):
    front.start(Route(engine.port, "7"))
    moments = []
    with client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                moments.append((time.monotonic(), line))
    assert moments[-1][1] == "data: [DONE]"
    assert moments[-1][0] - moments[0][0] > 0.2, "the gateway held the stream back"


def test_a_dead_engine_is_a_502_in_the_same_form(front, client, engine):
    front.start(Route(engine.port, "7"))
    engine.stop()
    answer = client.post("/v1/chat/completions", json=QUESTION)
    assert error_of(answer) == (502, "502") and answer.headers["retry-after"] == "5"


def test_a_change_that_fails_its_probe_is_taken_back(front, client, engine):
    front.start(Route(engine.port, "7"))
    with pytest.raises(GatewayError, match="wrong answer"):
        front.apply(Route(1, "8"), lambda: "wrong answer")
    answer = client.post("/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 200 and answer.headers["x-model-version"] == "7"


def test_a_configuration_that_nginx_refuses_never_comes_into_force(front, client, engine):
    front.start(Route(engine.port, "7"))
    before = front.config.read_text()
    with pytest.raises(GatewayError, match="invalid port|host not found"):
        front.apply(Route(99999999, "8"))
    assert front.config.read_text() == before
    assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200


def test_changes_under_load_lose_no_request(front, client, engine, var, make_model):
    other = engines.Engine.start(make_model("另一个").path / "gptq", engines.free_port(engine.port + 1), var / "logs" / "f.log")
    try:
        other.wait_ready(10)
        front.start(Route(engine.port, "1"))
        script = (
            "import httpx, sys\n"
            "codes = []\n"
            "with httpx.Client(headers={'Authorization': 'Bearer ' + sys.argv[2]}, trust_env=False) as client:\n"
            "    for _ in range(150):\n"
            "        codes.append(client.get(sys.argv[1] + '/v1/models').status_code)\n"
            "print(codes.count(200))\n"
        )
        argv = [sys.executable, "-c", script, front.url, gateway.first_key()]
        load = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        changes = 0
        while any(one.poll() is None for one in load):
            front.apply(Route((other if changes % 2 == 0 else engine).port, str(changes + 2)))
            changes += 1
        assert changes >= 2
        assert [one.communicate()[0].strip() for one in load] == ["150", "150"]
    finally:
        other.stop()


def test_bad_keys_are_named_by_line(var):
    path = var / "secrets" / "api_keys"
    path.parent.mkdir()
    path.write_text('good:ll-0123456789abcdef\nbad:"; return 200; \n')
    with pytest.raises(StepError, match="line 2"):
        gateway.api_keys()
    path.write_text("# nobody\n")
    with pytest.raises(StepError, match="holds no key"):
        gateway.api_keys()


def test_the_rendered_file_listens_on_the_loopback_only(front):
    text = gateway.render(front.root, front.listen, Route(9000, "3"), "mark")
    assert f"listen 127.0.0.1:{front.listen};" in text and text.count("listen ") == 1
    assert text.count("127.0.0.1:9000") == 1


def test_nothing_of_the_engine_but_the_api_is_reachable(front, client, engine):
    front.start(Route(engine.port, "7"))
    for path in ("/tokenize", "/v1/load_lora_adapter", "/v1/models/../../tokenize", "/v1/chat/completions/more", "/v1"):
        assert error_of(client.post(path, json=QUESTION)) == (404, "404"), path
    assert error_of(client.post("/v1/chat/completions", content=b"x" * 3_000_000)) == (413, "413")


def test_a_port_that_another_gateway_holds_is_named(front, var):
    front.start()
    other = Gateway(var / "other", front.listen)
    with pytest.raises(GatewayError, match=f"{front.listen}.*in use"):
        other.start()
    assert front.pid() is not None


def test_the_next_engine_of_the_same_version_is_in_force_when_the_change_returns(front, client, engine):
    front.start(Route(engine.port, "7"))
    assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200
    front.apply(Route(engines.free_port(engine.port + 1), "7"))
    assert error_of(client.post("/v1/chat/completions", json=QUESTION)) == (502, "502")
    front.apply(Route(engine.port, "7"))
    assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200


def test_requests_under_way_end_on_the_old_route_and_are_waited_for(front, client, engine):
    front.start(Route(engine.port, "7"))
    with client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        front.apply(Route(None, "none"))
        assert front.draining()
        assert [line for line in lines if line][-1] == "data: [DONE]"
    deadline = time.monotonic() + 5
    while front.draining():
        assert time.monotonic() < deadline
        time.sleep(0.02)
