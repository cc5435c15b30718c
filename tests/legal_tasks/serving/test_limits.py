"""One key cannot take the engine from the others: what a request, a key and all of them together may have under way."""

import contextlib
import json
import os
import select
import signal
import socket

import httpx
import pytest
import yaml

from legal_tasks.serving import gateway, keys, limits
from legal_tasks.serving.gateway import Route
from legal_tasks.setup import nginx_module
from legal_tasks.step import StepError
from tests.legal_tasks.serving.noting import Engine

CHAT, COMPLETION, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"
MESSAGES = {"messages": [{"role": "user", "content": "什么是合同？"}]}
CONTEXT = 512
# One engine that writes 16 answers at a time: 4 × 16 answers in all, a fifth of them (12.8) for a key that is alone.
TOTAL, REQUEST = 64, 2048


@pytest.fixture
def engine():
    one = Engine()
    yield one
    one.close()


@pytest.fixture
def front(front, engine):
    if nginx_module(gateway.SCRIPTS_MODULE) is None:
        pytest.skip("this nginx has no njs")
    front.start(Route.only(engine.server_address[1], "7", CONTEXT))
    return front


@pytest.fixture
def new_key(front):
    """new_key("office") -> a key that is in force."""

    def make(name, **values):
        key = keys.add(name, **values)
        front.refresh_keys()
        return key

    return make


@pytest.fixture
def ask(front):
    """ask(key, path, **body) -> the answer."""

    def post(key, path=CHAT, content=None, **body):
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        return httpx.post(f"{front.url}{path}", content=content or json.dumps(body), headers=headers, timeout=30, trust_env=False)

    return post


class Crowd:
    """Requests that are sent and not waited for."""

    def __init__(self, front, engine):
        self.front, self.engine, self.lines = front, engine, []

    def send(self, key, **body):
        """True once the request is at the engine, False once it was refused."""
        text = json.dumps(MESSAGES | body).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        line = socket.create_connection(("127.0.0.1", self.front.listen), timeout=30)
        self.lines.append(line)
        seen = len(self.engine.seen)
        line.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)
        while len(self.engine.seen) == seen:
            if select.select([line], [], [], 0.01)[0]:
                assert b" 429 " in line.recv(65536).splitlines()[0]
                return False
        return True

    def fill(self, key, **body):
        """How many are let in until one is refused."""
        count = 0
        while self.send(key, **body):
            count += 1
            assert count < 1000, "nothing holds it back"
        return count

    def finish(self):
        """The engine answers, and the answers are read."""
        self.engine.go.set()
        for line in self.lines:
            while line.recv(65536):
                pass
        self.leave()

    def leave(self):
        for line in self.lines:
            line.close()
        self.lines.clear()


@pytest.fixture
def crowd(front, engine):
    engine.go.clear()
    one = Crowd(front, engine)
    yield one
    one.leave()


def under_way(front):
    """{key's id: tokens} as the gateway counts them, of all workers that live."""
    names = [name.split(".") for name in os.listdir(limits.folder(front.root))]
    alive = {str(pid) for pid, _ in front.nginx.workers()}
    found = {}
    for worker, key, tokens in names:
        if worker in alive and int(tokens):
            found[key] = found.get(key, 0) + int(tokens)
    return found


def error_of(answer):
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"] and answer.headers["content-type"] == "application/json"
    return answer.status_code, error["code"], error["param"]


def log_line(front, wait_for, answer):
    """Of a request, in the access log: it is written after the answer has gone."""
    identity = answer.headers["x-request-id"]
    return wait_for(lambda: next((line for line in gateway.last_requests(front.root) if line["id"] == identity), None))


# What is set


def test_the_bounds_follow_the_context_and_the_engines():
    assert limits.of_engines(limits.Params(), [CONTEXT]) == limits.Limits(CONTEXT, REQUEST, TOTAL, 0.2)
    assert limits.of_engines(limits.Params(), [CONTEXT, 1024]) == limits.Limits(1024, 4096, 2 * TOTAL, 0.2)
    assert limits.of_engines(limits.Params(), [None]).context == limits.of_engines(limits.Params(), []).context == 16384
    assert limits.of_engines(limits.Params(100, 8, 0.5), [CONTEXT]) == limits.Limits(CONTEXT, 100, 8, 0.5)


def test_the_installations_profile_sets_them(tmp_path, monkeypatch):
    own = tmp_path / "own.yaml"
    monkeypatch.setenv("LEXLOOP_PROFILE", str(own))
    own.write_text(yaml.safe_dump({"serving.limits": {"total_answers": 50, "key_share": 0.5}}))
    assert limits.read() == limits.Params(None, 50, 0.5)
    for values in ({"total_answers": 0}, {"request_tokens": -1}, {"key_share": 1}, {"key_share": 0}, {"tokens": 1}):
        own.write_text(yaml.safe_dump({"serving.limits": values}))
        with pytest.raises(StepError, match=f"serving.limits.{next(iter(values))}"):
            limits.read()


# One request


def test_a_request_asks_for_so_many_tokens_and_no_more(new_key, ask, engine, wait_for, front):
    mine = new_key("office")
    drawn = {"temperature": 1}
    for path, body, let_in in (
        (CHAT, {**MESSAGES, "n": 4, **drawn}, True),  # as long as the context: 4 × 512
        (CHAT, {**MESSAGES, "n": 4, **drawn, "max_tokens": 16384}, True),  # no answer is longer than the context
        (COMPLETION, {"prompt": ["a"] * 16, "max_tokens": 128}, True),
        (COMPLETION, {"prompt": ["a"] * 16, "max_tokens": 129}, False),
        (COMPLETION, {"prompt": ["a"] * 16}, True),  # 16 tokens each: the default that is written into it
        (COMPLETION, {"prompt": ["a"] * 16, "n": 4, **drawn, "max_tokens": 32}, True),
        (COMPLETION, {"prompt": ["a"] * 16, "n": 4, **drawn, "max_tokens": 33}, False),
        (COMPLETION, {"prompt": ["a"] * 5, "max_tokens": 16384}, False),
        (COMPLETION, {"prompt": ["a"] * 4, "n": 4, **drawn, "max_tokens": 512}, False),
    ):
        engine.seen.clear()
        wait_for(lambda: under_way(front) == {})
        answer = ask(mine, path, **body)
        assert len(engine.seen) == let_in, body
        if let_in:
            assert answer.status_code == 200
            continue
        assert error_of(answer) == (400, "invalid_value", "max_tokens")
        product = min(body["max_tokens"], CONTEXT) * len(body["prompt"]) * body.get("n", 1)
        message = answer.json()["error"]["message"]
        assert f"= {product} tokens" in message and str(REQUEST) in message and "n × prompt × max_tokens" in message


def test_the_longer_of_two_lengths_counts(front, new_key, ask, engine):
    front.limits = limits.Params(request_tokens=100)
    front.apply(front.route)
    mine = new_key("office")
    for both in ({"max_tokens": 1, "max_completion_tokens": 101}, {"max_tokens": 101, "max_completion_tokens": 1}):
        answer = ask(mine, **MESSAGES, **both)
        assert error_of(answer) == (400, "invalid_value", "max_completion_tokens") and engine.seen == []
    answer = ask(mine, **MESSAGES)
    assert error_of(answer)[2] == "max_tokens" and "left out: the context" in answer.json()["error"]["message"]
    assert ask(mine, **MESSAGES, max_tokens=100).status_code == 200


# Keys beside each other


def test_a_key_that_fills_everything_leaves_room_for_the_others(front, new_key, ask, engine, crowd):
    greedy, others = new_key("greedy"), [new_key(f"other{n}") for n in range(5)]
    assert crowd.fill(greedy) == 12
    refused = ask(greedy, **MESSAGES)
    assert error_of(refused) == (429, "engine_busy", None) and refused.headers["retry-after"] == "2"
    assert refused.json()["error"]["type"] == "rate_limit_error" and "0.8 more" in refused.json()["error"]["message"]
    reached = len(engine.seen)
    assert ask(greedy, **MESSAGES, max_tokens=103).status_code == 429 and len(engine.seen) == reached
    # (64 - 12) / 5, (64 - 12 - 10) / 5 and so on: each finds less, and each finds room.
    counts = [crowd.fill(key) for key in others]
    assert counts == [10, 8, 6, 5, 4]
    assert sum(under_way(front).values()) == (12 + sum(counts)) * CONTEXT < TOTAL * CONTEXT
    newcomer = new_key("newcomer")
    assert crowd.send(newcomer, n=4, temperature=1) and not crowd.send(greedy)


def test_the_total_is_never_passed(front, new_key, ask, crowd):
    front.limits = limits.Params(total_answers=2, key_share=0.5)
    front.apply(front.route)
    one, two, three = (new_key(name) for name in ("one", "two", "three"))
    assert crowd.fill(one) == 1 == crowd.fill(two)
    refused = ask(three, **MESSAGES, max_tokens=1)
    assert error_of(refused) == (429, "engine_busy", None) and "0.0 more" in refused.json()["error"]["message"]


def test_short_answers_count_in_part_and_their_questions_count_too(front, new_key, crowd):
    for tokens, counted in ((1, 32), (16, 64), (127, 508), (128, 512), (400, 512)):
        mine = new_key(f"of-{tokens}")
        assert crowd.send(mine, max_tokens=tokens)
        assert under_way(front)[mine.split("-")[1]] == counted


def test_what_ends_is_counted_out_however_it_ends(front, new_key, ask, engine, crowd, wait_for):
    mine = new_key("office")
    assert crowd.fill(mine) == 12
    crowd.leave()  # clients hang up
    wait_for(lambda: under_way(front) == {})
    assert crowd.fill(mine) == 12
    crowd.finish()
    wait_for(lambda: under_way(front) == {})
    engine.answer = (500, "text/plain", b"broken")
    assert [ask(mine, **MESSAGES).status_code for _ in range(14)] == [500] * 14
    engine.close()
    answers = [ask(mine, **MESSAGES) for _ in range(14)]
    assert [one.status_code for one in answers] == [502] * 14
    wait_for(lambda: under_way(front) == {})
    line = log_line(front, wait_for, answers[-1])
    assert (line["asked_tokens"], line["status"], line["answer_tokens"]) == (512, 502, None)


def test_a_worker_that_is_killed_takes_its_counts_with_it(front, new_key, ask, engine, crowd, wait_for):
    mine = new_key("narrow", at_once=3)
    assert [crowd.send(mine, max_tokens=9) for _ in range(4)] == [True, True, True, False]
    ((worker, _),) = before = front.nginx.workers()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: front.nginx.workers() and not front.nginx.workers() & before)
    crowd.leave()
    assert [crowd.send(mine, max_tokens=9) for _ in range(4)] == [True, True, True, False]
    crowd.finish()
    front.apply(front.route)
    assert not [name for name in os.listdir(limits.folder(front.root)) if name.startswith(f"{worker}.")]


def test_what_is_under_way_while_the_configuration_changes_is_counted_out_by_its_worker(front, new_key, engine, crowd, wait_for):
    mine = new_key("office")
    assert crowd.send(mine) and under_way(front) == {mine.split("-")[1]: 512}
    front.apply(front.route)
    assert crowd.fill(mine) == 11, "the new worker counts what the old one still has"
    crowd.finish()
    wait_for(lambda: under_way(front) == {})


def test_without_its_folder_the_gateway_answers_all_the_same(front, new_key, ask):
    mine = new_key("office")
    limits.folder(front.root).rmdir()
    assert ask(mine, **MESSAGES).status_code == 200
    assert "cannot be counted" in (front.root / "error.log").read_text()


def until_429(post):
    """(how often `post()` is answered before it is sent away, that answer): more are sent than are let in meanwhile."""
    for count in range(200):
        answer = post()
        if answer.status_code == 429:
            assert answer.headers["retry-after"] and error_of(answer)[1]
            return count, answer
    raise AssertionError("it is never sent away")


def test_large_bodies_are_fewer_a_minute_than_small_ones(new_key, ask):
    mine, other = new_key("office"), new_key("other")
    large = json.dumps({"prompt": "a" * 100_000})
    assert until_429(lambda: ask(mine, COMPLETION, large))[0] >= 11
    assert until_429(lambda: ask(other, COMPLETION, iter([b'{"prompt"', b': "a"}'])))[0] >= 11, "of no told length"
    assert ask(mine, COMPLETION, '{"prompt": "a"}').status_code == 200
    assert ask(new_key("third"), COMPLETION, large).status_code == 200


# Wrong keys, and what stands in the logs


def test_wrong_keys_from_an_address_are_slowed_and_a_valid_one_is_not(front, new_key, ask):
    mine = new_key("office")
    with httpx.Client(base_url=front.url, trust_env=False) as client:
        guess = {"Authorization": f"Bearer ll-00000000-{'x' * 43}"}
        assert error_of(client.get(MODELS, headers=guess)) == (401, "invalid_api_key", None)
        count, slowed = until_429(lambda: client.post(CHAT, json=MESSAGES, headers=guess))
        assert count >= 30 and error_of(slowed) == (429, "too_many_wrong_keys", None) and slowed.headers["x-request-id"]
        assert ask(mine, **MESSAGES).status_code == 200
        assert client.get(MODELS).status_code == 401, "no key is no guess"


def test_no_key_in_a_wrong_place_enters_a_log(front, new_key, engine, wait_for):
    mine = new_key("office")
    secret = mine.split("-", 2)[2]
    good = {"Authorization": f"Bearer {mine}"}
    engine.close()  # each error of an engine is a line of the error log, with the request's own first line
    with httpx.Client(base_url=front.url, trust_env=False) as client:
        for path in (f"{CHAT}?api_key={mine}", f"{CHAT}?{secret}", f"{CHAT}/{mine}", f"/health?key={secret}"):
            for body in (json.dumps(MESSAGES), "x" * 3_000_000):
                with contextlib.suppress(httpx.WriteError):  # it is refused before it has been read
                    answer = client.post(path, content=body, headers={**good, "Content-Type": "application/json"})
                    assert error_of(answer) == (400, "query_not_taken", None)
        page = {"Referer": f"http://127.0.0.1:3000/?key={mine}"}
        assert error_of(client.post(CHAT, json=MESSAGES, headers=good | page)) == (400, "query_not_taken", None)
        page = {"Referer": "http://127.0.0.1:3000/?chat=1"}  # whatever it asks of another server
        assert client.post(CHAT, json=MESSAGES, headers=good | page).status_code == 502
        failed = client.post(CHAT, json=MESSAGES, headers=good)
        assert failed.status_code == 502 and log_line(front, wait_for, failed)["uri"] == CHAT
    assert "upstream" in (front.root / "error.log").read_text()
    assert not [path for path in front.root.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
