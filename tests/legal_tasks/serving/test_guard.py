"""An engine behind its guard answers to who knows the key of this start, whatever the path."""

import asyncio

import pytest

from legal_tasks.serving import backends, guard


async def application(scope, receive, send):
    await send({"type": "passed"})


def ask(kind, *headers):
    """What an application behind the guard sends."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "path": "/invocations", "headers": list(headers)}
    if kind == "lifespan":
        del scope["headers"]
    asyncio.run(guard.Guard(application)(scope, None, send))
    return sent


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(guard.VARIABLE, "of-this-start")


def test_who_knows_the_key_is_let_through():
    for kind in ("http", "websocket", "lifespan"):
        assert ask(kind, (b"host", b"x"), (b"authorization", b"Bearer of-this-start")) == [{"type": "passed"}]


@pytest.mark.parametrize(
    "value", [None, b"", b"Bearer", b"Bearer ", b"Bearer of-this-star", b"Bearer of-this-start ", b"of-this-start"]
)
def test_nobody_else_is(value):
    headers = [] if value is None else [(b"authorization", value)]
    start, body = ask("http", *headers)
    assert start["status"] == 401 and b"ask the gateway" in body["body"]
    assert ask("websocket", *headers) == [{"type": "websocket.close", "code": 1008}]


def test_vllm_gets_the_guard_and_the_key_only_where_there_is_one(tmp_path, monkeypatch):
    (tmp_path / "vllm" / "bin").mkdir(parents=True)
    (tmp_path / "vllm" / "bin" / "python").touch()
    (tmp_path / "config.json").write_text(
        '{"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8, "max_position_embeddings": 8}'
    )
    monkeypatch.setenv("LEXLOOP_ENV_DIR", str(tmp_path))
    for name in ("LEXLOOP_ENGINE_ARGV", guard.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    guarded, open_to_all = backends.Settings(key="of-this-start"), backends.Settings()
    words, values = backends.VLLM_BACKEND.argv(tmp_path, 1, guarded), backends.VLLM_BACKEND.environment(guarded)
    assert words[-2:] == ["--middleware", "legal_tasks.serving.guard.Guard"] and "of-this-start" not in " ".join(words)
    assert values[guard.VARIABLE] == "of-this-start" and values["PYTHONPATH"]
    assert "--middleware" not in backends.VLLM_BACKEND.argv(tmp_path, 1, open_to_all)
    assert guard.VARIABLE not in backends.VLLM_BACKEND.environment(open_to_all)
