"""The list of tricks before a server that notes what reaches it; the injections S11, S12 and S20 send it to a real engine."""

import json

import httpx
import pytest

from legal_tasks.serving import gateway, limits
from legal_tasks.serving.gateway import Route
from legal_tasks.setup import nginx_module
from tests.legal_tasks.serving import tricks
from tests.legal_tasks.serving.noting import Engine

CONTEXT = 512
KNOWN = {*tricks.BODY, "temperature", "n", "seed"}


@pytest.fixture
def engine():
    one = Engine()
    yield one
    one.close()


@pytest.fixture
def key(front, engine):
    if nginx_module(gateway.SCRIPTS_MODULE) is None:
        pytest.skip("this nginx has no njs")
    key = gateway.keys.add("office", per_minute=100_000)
    front.start(Route.only(engine.server_address[1], "7", CONTEXT))
    return key


@pytest.fixture
def refused(front, key, engine):
    """refused(path, body) -> (status, field) of a body that reaches no engine."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=front.url, headers=headers, timeout=30, trust_env=False) as client:

        def post(path, body):
            answer = client.post(path, json=body)
            assert engine.seen == [], body
            return answer.status_code, answer.json()["error"]["param"]

        yield post


def test_every_trick_is_refused_or_answered_as_it_should_be(front, key, engine):
    workers, found = front.nginx.workers(), []
    for trick in tricks.TRICKS(key):
        engine.seen.clear()
        found += [problem] if (problem := tricks.wrong(front.listen, trick)) else []
        for method, path, _, body in engine.seen:
            asked = json.loads(body) if (method, path) == ("POST", tricks.CHAT) else {}
            if not trick.good or asked.get("messages") != tricks.BODY["messages"] or asked.keys() - KNOWN:
                found.append(f"{trick.name}: the engine was asked {method} {path} {body[:200]!r}")
    assert not found, "\n".join(found)
    assert tricks.statuses_of(tricks.tell(front.listen, tricks.request(key, tricks.CHAT, tricks.JSON))) == [200]
    assert front.nginx.workers() == workers, "a worker was lost"
    assert "cannot be counted" not in (front.root / "error.log").read_text()


def test_a_grammar_is_refused_by_the_field_that_holds_it(refused):
    for where, grammar in tricks.GRAMMARS.items():
        for expression in tricks.NESTED:
            for path, body in ((tricks.CHAT, tricks.BODY), (tricks.COMPLETION, {"prompt": "a", "max_tokens": 3})):
                assert refused(path, body | grammar(expression)) == (400, tricks.named(where)), where


def test_a_request_that_fans_out_is_refused_by_the_field_that_does(front, refused):
    bound = limits.of_engines(front.limits, [CONTEXT]).request
    for path, body, field in tricks.fan_out(bound, CONTEXT):
        assert refused(path, body) == (400, field), body
