"""Token counts in the gateway's access log, and what clients see of how they came there."""

import json
import os
import socket
import threading

import httpx
import pytest

from legal_tasks.serving import engines, gateway
from legal_tasks.serving.gateway import Route
from legal_tasks.setup import nginx_module

QUESTION = {"model": "legal-llm", "messages": [{"role": "user", "content": "什么是合同？"}]}
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


@pytest.fixture
def front(front):
    if nginx_module(gateway.SCRIPTS_MODULE) is None:
        pytest.skip("this nginx has no njs")
    return front


@pytest.fixture
def engine(var, make_model, front):
    port = engines.free_port(int(os.environ["LEXLOOP_ENGINE_PORT"]))
    one = engines.Engine.start(make_model("合同是协议").path / "gptq", port, var / "logs" / "e.log")
    one.wait_ready(10)
    front.start(Route.only(port, "7"))
    yield one
    one.stop()


@pytest.fixture
def logged(front, wait_for):
    """logged(answer) -> (prompt_tokens, answer_tokens) of its line in the access log."""

    def find(answer):
        lines = gateway.last_requests(front.root, 50)
        return next((line for line in lines if line["id"] == answer.headers["x-request-id"]), None)

    def look(answer):
        line = wait_for(lambda: find(answer))
        return line["prompt_tokens"], line["answer_tokens"]

    return look


class Upstream:
    """A server that answers once, with these pieces of bytes one after the other, and keeps the request's body."""

    def __init__(self, pieces):
        self.socket, self.pieces, self.body = socket.create_server(("127.0.0.1", 0)), pieces, b""
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.answer, daemon=True)
        self.thread.start()

    def answer(self):
        connection, _ = self.socket.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rwb", buffering=0) as file:
            length = 0
            while (line := file.readline()) not in (b"\r\n", b""):
                length = int(line.split(b":")[1]) if line.lower().startswith(b"content-length") else length
            while len(self.body) < length:
                self.body += file.read(length - len(self.body))
            file.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            for piece in self.pieces:
                file.write(piece)
        self.socket.close()


def events(*chunks):
    return (
        b"".join(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    )


def chunk(text, **more):
    return {"choices": [{"index": 0, "delta": {"content": text}}], **more}


def lines_of(answer):
    return [line for line in answer.text.splitlines() if line]


def test_an_answers_tokens_stand_beside_its_variant_model_key_and_status(front, engine, client, logged):
    answer = client.post("/v1/chat/completions", json=QUESTION)
    assert logged(answer) == (3, 5)  # the tiny engine counts characters: 合同是协议
    line = next(line for line in gateway.last_requests(front.root) if line["id"] == answer.headers["x-request-id"])
    assert (line["variant"], line["model"], line["client"], line["status"]) == ("production", "7", "probe", 200)
    assert logged(client.post("/v1/completions", json={"prompt": "合同", "max_tokens": 2})) == (3, 2)


def test_a_stream_is_counted_though_its_client_sees_no_usage(engine, client, logged):
    answer = client.post("/v1/chat/completions", json={**QUESTION, "stream": True})
    assert logged(answer) == (3, 5)
    assert "usage" not in answer.text and lines_of(answer)[-1] == "data: [DONE]"
    bare = httpx.post(f"{engine.url}/v1/chat/completions", json={**QUESTION, "stream": True}, trust_env=False)
    assert len(lines_of(answer)) == len(lines_of(bare))


def test_a_client_that_asks_for_the_usage_gets_it_and_is_counted(engine, client, logged):
    body = {**QUESTION, "stream": True, "stream_options": {"include_usage": True}}
    answer = client.post("/v1/chat/completions", json=body)
    assert logged(answer) == (3, 5)
    assert json.loads(lines_of(answer)[-2].removeprefix("data: "))["usage"] == USAGE


def test_what_tells_no_usage_is_null_not_zero(engine, client, logged):
    refused = {**QUESTION, "stream": True, "stream_options": {"include_usage": False}}
    assert logged(client.post("/v1/chat/completions", json=refused)) == (None, None)
    assert logged(client.post("/v1/chat/completions", json={**QUESTION, "max_tokens": -1})) == (None, None)
    assert logged(client.post("/v1/chat/completions", json=QUESTION, headers={"Authorization": ""})) == (None, None)
    assert logged(client.get("/v1/models")) == (None, None)


def test_an_answer_in_the_words_of_a_usage_is_not_taken_for_one(front, client, logged):
    said = '"usage":{"prompt_tokens":99,"completion_tokens":98}'
    server = Upstream([events(chunk(said), {"choices": [], "usage": USAGE})])
    front.start(Route.only(server.port, "7"))
    answer = client.post("/v1/chat/completions", json={**QUESTION, "stream": True})
    assert logged(answer) == (3, 5)
    assert answer.content == events(chunk(said))


def test_of_a_usage_with_every_chunk_the_last_counts(front, client, logged):
    sent = events(chunk("合", usage={**USAGE, "completion_tokens": 1}), chunk("同", usage=None), {"choices": [], "usage": USAGE})
    server = Upstream([sent])
    front.start(Route.only(server.port, "7"))
    asked = {"include_usage": True, "continuous_usage_stats": True}
    answer = client.post("/v1/chat/completions", json={**QUESTION, "stream": True, "stream_options": asked})
    assert logged(answer) == (3, 5) and answer.content == sent


def test_the_words_of_a_usage_after_the_usage_itself_are_not_counted(front, client, logged):
    said = json.dumps(
        {"usage": USAGE, "choices": [{"message": {"content": '"usage":{"prompt_tokens":99,"completion_tokens":98}'}}]}
    )
    server = Upstream([said.encode()])
    front.start(Route.only(server.port, "7"))
    assert logged(client.post("/v1/chat/completions", json=QUESTION)) == (3, 5)


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_stream_cut_anywhere_is_passed_on_whole(front, client, logged, size):
    sent = events(chunk("合同"), chunk("是𠮷协议"), {"choices": [], "usage": USAGE})
    server = Upstream([sent[at : at + size] for at in range(0, len(sent), size)])
    front.start(Route.only(server.port, "7"))
    answer = client.post("/v1/chat/completions", json={**QUESTION, "stream": True})
    assert answer.content == events(chunk("合同"), chunk("是𠮷协议"))
    assert logged(answer) == (3, 5)


def test_the_engine_gets_the_question_for_the_usage_beside_what_was_sent(front, client):
    body = {"stream": True, "messages": [{"role": "user", "content": '𠮷 "stream": false'}], "temperature": 1}
    for given, added in (({}, {"stream_options": {"include_usage": True}}), ({"stream": False}, {})):
        server = Upstream([events()])
        front.start(Route.only(server.port, "7"))
        client.post("/v1/chat/completions", json=body | given)
        server.thread.join(5)
        assert json.loads(server.body) == body | given | added


def test_without_njs_streams_pass_and_the_log_says_that_it_does_not_know(front, engine, client, logged):
    front.module = None
    front.apply(Route.only(engine.port, "8"))
    assert "js_import" not in front.config.read_text() and "load_module" not in front.config.read_text()
    answer = client.post("/v1/chat/completions", json={**QUESTION, "stream": True})
    assert logged(answer) == (None, None) and lines_of(answer)[-1] == "data: [DONE]"
