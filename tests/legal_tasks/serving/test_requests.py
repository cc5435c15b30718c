"""What reaches an engine, whatever a client sends, and in which form it is refused: one gateway before a server that notes."""

import gzip
import json
import os
import re
from pathlib import Path

import httpx
import pytest

from legal_tasks.services import nginx_path
from legal_tasks.serving import engines, fields, gateway
from legal_tasks.serving.gateway import Gateway, Route
from legal_tasks.setup import nginx_module
from legal_tasks.step import StepError
from tests.legal_tasks.serving.noting import Engine, raw

CHAT, COMPLETION, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"
ASKED = {"model": "legal-llm", "messages": [{"role": "user", "content": "什么是合同？"}]}
ORIGIN = "https://desk.example.org"
FAILED = "the engine failed at this request; try again"
DOCS = Path(__file__).parents[3] / "docs" / "serving.md"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(gateway, engine behind it), the same for the whole file."""
    if nginx_path() is None or nginx_module(gateway.SCRIPTS_MODULE) is None:
        pytest.skip("there is no nginx with njs")
    engine = Engine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEXLOOP_VAR", str(tmp_path_factory.mktemp("var")))
        patch.setenv("LEXLOOP_CORS_ORIGINS", f"{ORIGIN}, http://127.0.0.1:3000")
        port = engines.free_port(20000 + os.getpid() % 200 * 100 + 40)
        front = Gateway(tmp_path_factory.mktemp("gateway"), port, "of-this-start")
        front.start(Route.only(engine.server_address[1], "7", 512, 1_790_000_000))
        yield front, engine
        front.stop()
    engine.close()


@pytest.fixture
def engine(place):
    place[1].seen.clear()
    place[1].answer = Engine.good
    return place[1]


@pytest.fixture
def client(place, engine):
    headers = {"Authorization": f"Bearer {place[0].probe_key}"}
    with httpx.Client(base_url=place[0].url, headers=headers, timeout=10, trust_env=False) as one:
        yield one


def code_of(answer):
    """(status, code) of an error, after its form was looked at."""
    assert answer.headers["content-type"] == "application/json", answer.text
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"} and list(error) == ["message", "type", "param", "code"]
    assert error["message"] and error["code"] and isinstance(error["code"], str)
    return answer.status_code, error["code"]


# Paths and methods

BEHIND = ("metrics", "tokenize", "v1/load_lora_adapter", "openapi.json", "v1/responses")
UP = ("/..", "/%2e%2e", "/%2E.", "/.%2e", "/./..", "//..", "/..;", "/..%00", "/%252e%252e", "\\..", "%5c..", "%2f..", "%2F%2e%2e")
PATHS = [
    *(f"/{name}{up}{end}" for name in BEHIND for up in UP for end in (MODELS, CHAT)),
    *(f"{start}{up}{up}/{name}" for start in (MODELS, CHAT) for up in UP for name in ("metrics", "tokenize")),
    *(
        "//v1/models",
        "/v1//models",
        "/./v1/models",
        "/v1/models/",
        "/v1/models;a=b",
        "/v1/models%3Ba",
        "/v1/models%00",
        "/v1/models?a=/metrics",
    ),
    *("/v1%2fmodels", "/v1%2Fchat%2fcompletions", "/%76%31/models", "/v1/chat/completions/..%2f..%2f..%2fmetrics", "/V1/models"),
    *(
        "http://x/metrics",
        "http://x/v1/models",
        "http://x/metrics/../v1/models",
        "//x/v1/models",
        "*",
        "x:443",
        "/v1/models#/metrics",
    ),
    *("/v1/chat/completions/render", "/v1/models/legal-llm", "/\u4e00".encode().decode("latin-1"), "/" + "a" * 40000),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_engine_sees_two_paths_only_however_a_path_is_written(place, engine, method):
    body = json.dumps(ASKED).encode() if method == "POST" else b""
    rest = (
        f"HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {place[0].probe_key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    assert len(PATHS) > 150
    for path in PATHS:
        said = raw(place[0].listen, f"{method} {path} ".encode("latin-1") + rest + body)
        assert said, path[:80]
        status = int(said.split(b" ", 2)[1])
        assert b"X-Request-Id" in said, (path[:80], said[:300])
        assert status == 200 or b'"error"' in said, (path[:80], said[:300])
    assert {(verb, path) for verb, path, _, _ in engine.seen} == ({("POST", CHAT)} if method == "POST" else set())


def test_each_path_has_its_methods(client, engine, place):
    wrong = {CHAT: ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"), MODELS: ("POST", "PUT", "DELETE", "OPTIONS")}
    wrong[COMPLETION] = wrong[CHAT]
    for path, methods in wrong.items():
        for method in methods:
            answer = client.request(method, path)
            assert answer.status_code == 405 and answer.headers["allow"] == ("GET, HEAD" if path == MODELS else "POST"), method
            assert method == "HEAD" or code_of(answer) == (405, "method_not_allowed")
    assert engine.seen == []
    assert client.head(MODELS).status_code == 200 and client.get(MODELS).status_code == 200
    assert b" 405 " in raw(place[0].listen, b"TRACE /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").splitlines()[0]
    assert engine.seen == [], "the list of models is the gateway's own"


def test_an_engine_hears_none_of_a_clients_headers(client, engine):
    headers = {
        "X-Data-Parallel-Rank": "3",
        "X-Session-Id": "a",
        "Origin": ORIGIN,
        "Cookie": "a=b",
        "X-Request-Id": "mine",
        "Te": "x",
    }
    answer = client.post(CHAT, json=ASKED, headers=headers)
    assert answer.status_code == 200
    ((_, path, seen, _),) = engine.seen
    assert path == CHAT
    assert {name.lower() for name in seen} == {
        "host",
        "connection",
        "content-type",
        "content-length",
        "x-request-id",
        "authorization",
    }
    assert seen["Authorization"] == "Bearer of-this-start", "its own key, and not the client's"
    assert seen["X-Request-Id"] == answer.headers["x-request-id"] != "mine"


def test_health_asks_the_engine_with_its_own_key(client, engine):
    assert client.get("/health", headers={"Cookie": "a=b"}).json() == {"status": "serving", "model": "7"}
    ((method, path, seen, _),) = engine.seen
    assert (method, path, seen["Authorization"]) == ("GET", "/health", "Bearer of-this-start")
    assert client.get("/engine").status_code == 404


def test_the_list_of_models_tells_the_defaults_and_no_folder(client):
    (one,) = client.get(MODELS).json()["data"]
    assert (one["id"], one["object"], one["created"], one["max_model_len"]) == ("legal-llm", "model", 1_790_000_000, 512)
    assert one["lexloop"] == {"version": "7", "defaults": {"temperature": 0}}
    assert set(one) == {"id", "object", "created", "owned_by", "max_model_len", "lexloop"}


# Keys


def test_the_scheme_has_no_case_and_may_stand_apart_from_the_key(place, client):
    key = place[0].probe_key
    for header in (f"bearer {key}", f"BEARER {key}", f"bEaReR   {key}"):
        assert client.get(MODELS, headers={"Authorization": header}).status_code == 200, header
    for header in (f"Bearer{key}", f"Bearer\t{key}", f"Bearer {key.upper()}", f"Token {key}", key, f"Bearer {key},{key}"):
        assert code_of(client.get(MODELS, headers={"Authorization": header})) == (401, "invalid_api_key"), header


def test_a_key_stands_in_no_other_place(place, client):
    key = place[0].probe_key
    for name in ("api-key", "X-Api-Key", "Proxy-Authorization", "Cookie"):
        assert client.get(MODELS, headers={"Authorization": "", name: f"Bearer {key}"}).status_code == 401
    for path in (f"{MODELS}?key={key}&api_key={key}", f"{MODELS}/{key}", f"/{key}"):
        for headers in ({}, {"Authorization": ""}):
            assert code_of(client.get(path, headers=headers)) == (400, "query_not_taken"), path
    assert client.get(MODELS, headers={"Authorization": ""}, auth=("", key)).status_code == 401


# What the gateway and the engine refuse


@pytest.mark.parametrize(
    ("status", "kind", "said", "expected"),
    [
        (404, "application/json", b'{"detail":"Not Found"}', (404, "not_found", "Not Found")),
        (405, "application/json", b'{"detail":"Method Not Allowed"}', (405, "bad_request", "Method Not Allowed")),
        (422, "application/json", b'{"detail":[{"msg":"bad"}]}', (422, "bad_request", '[{"msg":"bad"}]')),
        (400, "application/json", b'{"object":"error","message":"too long","code":40303}', (400, "bad_request", "too long")),
        (400, "application/json", b'{"error":{"message":"no","type":"Bad","param":"n","code":400}}', (400, "bad_request", "no")),
        (400, "application/json", b'{"error":"plain words","error_type":"validation"}', (400, "bad_request", "plain words")),
        (429, "text/plain", b"slowly", (429, "engine_busy", "slowly")),
        (415, "text/html", b"<html>", (415, "bad_request", "<html>")),
        (400, "text/plain", b"", (400, "bad_request", "the engine answers 400")),
        (500, "text/plain", b"Traceback /srv/store/ab12/gptq", (500, "engine_error", FAILED)),
        (503, "application/json", b'{"error":{"message":"/srv/x"}}', (503, "engine_busy", FAILED)),
    ],
)  # fmt: skip
def test_an_engines_errors_come_in_the_one_form(client, engine, status, kind, said, expected):
    engine.answer = (status, kind, said)
    for stream in (False, True):
        answer = client.post(CHAT, json={**ASKED, "stream": stream})
        assert (*code_of(answer), answer.json()["error"]["message"]) == expected
        assert answer.json()["error"]["type"] == ("invalid_request_error" if status < 500 else "server_error")
        assert ("retry-after" in answer.headers) == (status in (429, 500, 503))


def test_what_nginx_itself_refuses_comes_in_the_one_form(place, client, engine):
    key = f"Authorization: Bearer {place[0].probe_key}\r\n".encode()
    sent = {
        b"nonsense\r\n\r\n": (400, "bad_request"),
        b"GET /v1/models HTTP/1.1\r\n\r\n": (400, "bad_request"),
        b"GET /v1/models HTTP/3.7\r\nHost: x\r\n\r\n": (505, "bad_request"),
        b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n": (400, "bad_request"),
        b"GET /../.. HTTP/1.1\r\nHost: x\r\n\r\n": (400, "bad_request"),
        b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: x\r\n\r\n": (414, "uri_too_long"),
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 40000 + b"\r\n\r\n": (431, "headers_too_large"),
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nIf-Match: a\r\n" + key + b"\r\n": (412, "bad_request"),
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n" + key + b"Content-Length: 9999999\r\n\r\n": (413, "request_too_large"),
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n" + key + b"Transfer-Encoding: gzip\r\n\r\n": (501, "bad_request"),
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n" + key + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx": (
            400,
            "bad_request",
        ),
    }
    for request, expected in sent.items():
        head, _, body = raw(place[0].listen, request).partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        assert lines[b"content-type"] == b"application/json" and len(lines[b"x-request-id"]) == 32, (request[:80], head)
        error = json.loads(body)["error"]
        assert (int(head.split()[1]), error["code"]) == expected and list(error) == ["message", "type", "param", "code"]
    assert engine.seen == []


# Bodies


def sent_on(engine):
    """The one body that reached the engine."""
    ((_, _, _, body),) = engine.seen
    return json.loads(body, object_pairs_hook=lambda pairs: pairs)


def test_a_request_that_names_no_sampling_is_asked_greedily(client, engine):
    client.post(CHAT, json={**ASKED, "top_p": None, "temperature": None})
    assert dict(sent_on(engine))["temperature"] == 0 and "top_p" not in dict(sent_on(engine))
    engine.seen.clear()
    client.post(COMPLETION, json={"prompt": "合同", "temperature": 0.7})
    assert dict(sent_on(engine)) == {"prompt": "合同", "temperature": 0.7, "max_tokens": 16}


def test_what_is_checked_is_what_is_passed_on(client, engine):
    """Names that stand twice or in escapes: a reader of the first and a reader of the last would see two requests."""
    first, last = (json.dumps([{"role": "user", "content": text}]) for text in "ab")
    twice = f'{{"n": 1, "messages": {first}, "\\u006e": 3, "temperature": 1, "messages": {last}}}'.encode()
    assert client.post(CHAT, content=twice, headers={"Content-Type": "application/json"}).status_code == 200
    pairs = sent_on(engine)
    assert sorted(name for name, _ in pairs) == ["messages", "n", "temperature"] and dict(pairs)["n"] == 3
    assert dict(dict(pairs)["messages"][0])["content"] == "b"
    for body in (
        b'{"\\u006e": 16384, "n": 1, "n": 16384, "prompt": "a"}',
        b'{"prompt": "a", "ec\\u0068o": true}',
        b'{"prompt": "a", "__proto__": {"n": 9}}',
        b'{"prompt": "a", "constructor": 1}',
        b'{"prompt": "a", "N": 1}',
    ):
        engine.seen.clear()
        answer = client.post(COMPLETION, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400 and engine.seen == [], body


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        (b"", {}, (400, "bad_request")),
        (b"not json", {}, (400, "bad_request")),
        (b"[1]", {}, (400, "bad_request")),
        (b'"text"', {}, (400, "bad_request")),
        (b'{"prompt": "a", "seed": NaN}', {}, (400, "bad_request")),
        (b'{"prompt": "a"} {"n": 2}', {}, (400, "bad_request")),
        (b'{"prompt": "\xb0\xa1"}', {}, (400, "bad_request")),
        ('{"prompt": "a"}'.encode("utf-16"), {}, (400, "bad_request")),
        (b'{"prompt": ' + b"[" * 100_000, {}, (400, "bad_request")),
        (gzip.compress(b'{"prompt": "a"}'), {"Content-Encoding": "gzip"}, (415, "unsupported_media_type")),
        (b'{"prompt": "a"}', {"Content-Encoding": "br"}, (415, "unsupported_media_type")),
        (b'{"prompt": "a"}', {"Content-Type": "application/x-www-form-urlencoded"}, (415, "unsupported_media_type")),
        (b'{"prompt": "a"}', {"Content-Type": "application/json; charset=gbk"}, (415, "unsupported_media_type")),
        (b'{"prompt": "a"}', {"Content-Type": "multipart/form-data; boundary=a"}, (415, "unsupported_media_type")),
    ],
)
def test_a_body_that_is_no_plain_json_is_refused(client, engine, content, headers, expected):
    answer = client.post(COMPLETION, content=content, headers={"Content-Type": "application/json", **headers})
    assert code_of(answer) == expected and engine.seen == []


def test_a_body_in_chunks_behind_a_mark_and_with_any_text_arrives_whole(client, engine):
    text = '𠮷한\u2028\\"\n\x00' + "长" * 400_000
    body = b"\xef\xbb\xbf" + json.dumps({"prompt": text}, ensure_ascii=False).encode()
    pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    answer = client.post(COMPLETION, content=pieces, headers={"Content-Type": "Application/JSON; charset=UTF-8"})
    assert answer.status_code == 200 and dict(sent_on(engine))["prompt"] == text


PART = {"type": "text", "text": "甲"}
UNKNOWN = {
    **{"chat_template": "{{ cycler.__init__ }}", "chat_template_kwargs": {"enable_thinking": True}, "documents": [{"text": "a"}]},
    **{"add_generation_prompt": False, "continue_final_message": True, "add_special_tokens": True, "echo": True},
    **{"lora_request": {"path": "/etc"}, "lora_name": "a", "lora": [], "adapter_id": "a"},
    **{"guided_json": {}, "guided_regex": "(a+)+b", "guided_grammar": "", "guided_choice": ["a"], "guided_decoding_backend": "a"},
    **{"structured_outputs": {"regex": "(a+)+"}, "grammar": "root ::= a", "json_schema": {}, "mm_processor_kwargs": {}},
    **{"media_io_kwargs": {}, "prompt_embeds": "", "logits_processors": ["os"], "kv_transfer_params": {"host": 1}},
    **{"ec_transfer_params": {}, "vllm_xargs": {}, "best_of": 5, "use_beam_search": True, "tools": [], "tool_choice": ""},
    **{"functions": [], "function_call": "auto", "parallel_tool_calls": True, "priority": -9, "request_id": "", "session_id": ""},
    **{"cache_salt": "a", "min_tokens": 9, "ignore_eos": True, "stop_token_ids": [1], "bad_words": [], "allowed_token_ids": [1]},
    **{"prompt_logprobs": 5, "logprob_token_ids": [1], "truncate_prompt_tokens": 5, "skip_special_tokens": False},
    **{"include_stop_str_in_output": True, "spaces_between_special_tokens": False, "length_penalty": 2, "watermarking": True},
    **{"repetition_detection": {}, "thinking_token_budget": 9, "reasoning_effort": "high", "include_reasoning": False},
    **{"return_tokens_as_token_ids": True, "return_prompt_text": True, "stream_interval": 9, "modalities": [], "audio": {}},
    **{"web_search_options": {}, "store": True, "metadata": {}, "prediction": {}, "suffix": "a", "samplers": [], "n_probs": 9},
    **{"id_slot": 1, "t_max_predict_ms": 1, "mirostat": 2, "dry_multiplier": 1, "n_predict": -1, "路径": ""},
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_field_that_is_not_in_the_table_is_refused_by_its_name(client, engine, name):
    for path, body in ((CHAT, ASKED), (COMPLETION, {"prompt": "a"})):
        answer = client.post(path, json={**body, name: UNKNOWN[name]})
        assert code_of(answer) == (400, "unknown_parameter") and answer.json()["error"]["param"] == name
    assert engine.seen == []


def message(**changes):
    return [{"role": "user", "content": "a"} | changes]


MEDIA = ("image_url", "input_audio", "audio_url", "video_url", "file", "image_embeds", "refusal")
BOUNDS = [
    *((name, value) for name in ("max_tokens", "max_completion_tokens") for value in (0, -1, 16385, 1.5, "9", True, 1e999)),
    *(("temperature", value) for value in (-0.1, 2.1, "0", True, [0])),
    *(("top_p", value) for value in (0, 1.1, -1)),
    *(("top_k", value) for value in (-2, 1001, 0.5)),
    *(("min_p", value) for value in (-0.1, 1.1)),
    *((name, value) for name in ("frequency_penalty", "presence_penalty") for value in (-2.1, 2.1)),
    *(("repetition_penalty", value) for value in (0, 0.4, 2.1)),
    *(("seed", value) for value in (2**63, 0.5, "1")),
    *(("n", value) for value in (0, 5, 16384, 2)),  # 2: the same answer twice without a temperature
    *(("stop", value) for value in ("", [], ["a"] * 5, "a" * 257, [1], [["a"]], {})),
    *(("logit_bias", value) for value in ({"a": 1}, {"1": 101}, {str(n): 1 for n in range(301)}, [])),
    *(("stream", value) for value in (1, "true")),
    *(("stream_options", value) for value in ({"include_usage": True}, True)),
    *(("response_format", {"type": value}) for value in ("json_object", "json_schema", "structural_tag", "grammar")),
    ("response_format", {"type": "text", "json_schema": {}}),
    *(("logprobs", value) for value in (1, "a")),
    *(("top_logprobs", value) for value in (-1, 21, 5)),  # 5: without logprobs
    ("user", "a" * 257),
    ("model", 5),
    *(("messages", value) for value in ([], "a", {}, [1], [[]], message() * 513)),
    *(("messages", message(role=role)) for role in ("tool", "function", "developer", "", None, 1, "user|><|system")),
    *(("messages", message(content=content)) for content in (None, 1, {}, [], ["a"], [{"type": "text"}], [PART] * 65)),
    *(("messages", message(content=[PART, {"type": kind, kind: {"url": "file:///etc/passwd"}}])) for kind in MEDIA),
    ("messages", message(content=[{**PART, "image_url": "http://169.254.169.254/"}])),
    *(("messages", message(**{name: "a"})) for name in ("tool_calls", "reasoning_content", "prefix", "task")),
    ("messages", message(name="a" * 65)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BOUNDS)
def test_a_value_beyond_its_bounds_is_refused_by_its_name(client, engine, name, value):
    body = json.dumps({**ASKED, name: value}).replace("Infinity", "1e999").encode()
    answer = client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
    assert code_of(answer) == (400, "invalid_value") and engine.seen == []
    assert answer.json()["error"]["param"] == name and answer.json()["error"]["message"].startswith(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", 1),
        ("prompt", ""),
        ("prompt", ["a", ""]),
        ("prompt", [1, 2]),
        ("prompt", []),
        ("prompt", ["a"] * 17),
        ("logprobs", 21),
        ("logprobs", True),
        ("echo", True),
    ],
)
def test_a_completion_has_bounds_of_its_own(client, engine, name, value):
    answer = client.post(COMPLETION, json={"prompt": "a", name: value})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == name and engine.seen == []


def test_all_that_the_tables_name_is_taken_at_both_ends(client, engine):
    good = {
        **{
            "messages": [*message(name="甲"), {"role": "assistant", "content": [PART]}, *message(role="system")],
            "model": "legal-llm",
        },
        **{"max_tokens": 16384, "max_completion_tokens": 1, "temperature": 2, "top_p": 1, "top_k": -1, "min_p": 1},
        **{"frequency_penalty": -2, "presence_penalty": 2, "repetition_penalty": 0.5, "seed": -(2**53) + 1, "n": 4},
        **{"stop": ["a"] * 4, "logit_bias": {"5": -100}, "stream": True, "stream_options": {"include_usage": False}},
        **{"response_format": {"type": "text"}, "user": "somebody", "logprobs": True, "top_logprobs": 20},
    }
    assert set(good) == set(fields.CHAT)
    assert client.post(CHAT, json=good).status_code == 200
    assert dict(sent_on(engine)).keys() == good.keys() - {"response_format", "user"}


def test_what_an_answer_held_may_come_back_in_the_next_question(client, engine):
    empty = {"refusal": None, "annotations": None, "audio": None, "function_call": None, "tool_calls": None, "reasoning": None}
    body = {"messages": [*message(), {"role": "assistant", "content": "b", **empty}, *message()]}
    assert client.post(CHAT, json=body).status_code == 200
    assert [set(dict(one)) for one in dict(sent_on(engine))["messages"]] == [{"role", "content"}] * 3


def test_a_model_of_another_name_is_not_asked_for(client, engine):
    answer = client.post(CHAT, json={**ASKED, "model": "/srv/store/gptq"})
    assert code_of(answer) == (404, "model_not_found") and answer.json()["error"]["param"] == "model" and engine.seen == []
    assert code_of(client.post(CHAT, json={"model": "legal-llm"})) == (400, "missing_required_parameter")


def test_what_proves_is_asked_for_by_the_gateways_own_key_alone(place, engine):
    mine = gateway.keys.add("probe")
    place[0].refresh_keys()
    answers = []
    for key in (place[0].probe_key, mine):
        with httpx.Client(base_url=place[0].url, headers={"Authorization": f"Bearer {key}"}, trust_env=False) as one:
            answers.append(one.post(CHAT, json={**ASKED, "return_token_ids": True, "verbose": True}).status_code)
    assert answers == [200, 400]


# Pages of other origins


def test_pages_of_named_origins_may_ask(client, engine):
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = client.options(CHAT, headers={**asked, "Authorization": ""})
    assert answer.status_code == 204 and answer.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert answer.headers["access-control-allow-methods"] == "POST" and answer.headers["vary"] == "Origin"
    assert engine.seen == []
    for body, status in ((ASKED, 200), ({}, 400)):
        answer = client.post(CHAT, json=body, headers={"Origin": ORIGIN})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, ORIGIN)
        assert "access-control-allow-credentials" not in answer.headers
    answer = client.post(CHAT, json=ASKED, headers={"Origin": ORIGIN, "Authorization": ""})
    assert answer.status_code == 401 and answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize(
    "origin", ["https://evil.example.org", "null", f"{ORIGIN}.evil.net", f"{ORIGIN}:8443", "http://desk.example.org", "*"]
)
def test_pages_of_other_origins_may_not(client, origin):
    answer = client.options(CHAT, headers={"Origin": origin, "Access-Control-Request-Method": "POST", "Authorization": ""})
    assert answer.status_code == 401 and "access-control-allow-origin" not in answer.headers
    answer = client.post(CHAT, json=ASKED, headers={"Origin": origin})
    assert "access-control-allow-origin" not in answer.headers and answer.headers["vary"] == "Origin"


def test_no_origin_is_let_in_where_none_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("LEXLOOP_CORS_ORIGINS", raising=False)
    assert gateway.cors_origins() == ()
    text = gateway.render(tmp_path, 9000, Route.only(9001, "1"), "mark", module=tmp_path)
    assert "add_header Access-Control" not in text and "OPTIONS" not in text


@pytest.mark.parametrize(
    "value", ["*", "null", "https://a.example/", "a.example", "https://a.example; evil", "https://*.example", 'https://a"']
)
def test_an_origin_that_is_none_is_named(monkeypatch, value):
    monkeypatch.setenv("LEXLOOP_CORS_ORIGINS", f"https://good.example,{value}")
    with pytest.raises(StepError, match="LEXLOOP_CORS_ORIGINS"):
        gateway.cors_origins()


# Without njs, and the page


def test_without_njs_it_serves_only_where_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(gateway, "SCRIPTS_MODULE", "ngx_http_no_such_module.so")
    monkeypatch.delenv("LEXLOOP_GATEWAY_UNCHECKED", raising=False)
    with pytest.raises(StepError, match="libnginx-mod-http-js.*LEXLOOP_GATEWAY_UNCHECKED=yes"):
        Gateway(tmp_path, 9000)
    monkeypatch.setenv("LEXLOOP_GATEWAY_UNCHECKED", "yes")
    assert Gateway(tmp_path, 9000).module is None


def test_without_njs_paths_methods_and_headers_hold_all_the_same(tmp_path, monkeypatch, engine, place):
    monkeypatch.setattr(gateway, "SCRIPTS_MODULE", "ngx_http_no_such_module.so")
    monkeypatch.setenv("LEXLOOP_GATEWAY_UNCHECKED", "yes")
    front = Gateway(tmp_path / "plain", engines.free_port(place[0].listen + 1))
    front.start(Route.only(engine.server_address[1], "7"))
    try:
        headers = {"Authorization": f"Bearer {front.probe_key}", "X-Session-Id": "a"}
        with httpx.Client(base_url=front.url, headers=headers, timeout=10, trust_env=False) as one:
            assert one.post(CHAT, json=ASKED).status_code == 200
            assert (
                code_of(one.get(CHAT)) == (405, "method_not_allowed") and one.get(MODELS).json()["data"][0]["id"] == "legal-llm"
            )
            assert code_of(one.get("/metrics")) == (404, "unknown_url")
        raw(
            front.listen,
            f"GET /metrics/../v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {front.probe_key}\r\n\r\n".encode(),
        )
    finally:
        front.stop()
    ((method, path, seen, body),) = engine.seen
    assert (method, path, json.loads(body)) == ("POST", CHAT, ASKED) and "X-Session-Id" not in seen


def test_the_page_lists_the_fields_as_they_are_checked():
    text = DOCS.read_text("utf-8")
    assert fields.page(fields.CHAT) in text and fields.page(fields.COMPLETION) in text
