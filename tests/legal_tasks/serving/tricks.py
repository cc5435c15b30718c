"""Requests and tricks that the gateway has to hold, as one list: for a test before a stub and an injection before an engine.

`TRICKS(key)` are bytes as they are sent, with the statuses that may come back; only those that are `good` may reach an
engine. `FAN_OUT` and `GRAMMARS` are bodies that would keep an engine busy; each names the field that is refused.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import zlib
from dataclasses import dataclass

CHAT, COMPLETION, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"
BODY = {"model": "legal-llm", "messages": [{"role": "user", "content": "什么是合同？"}], "max_tokens": 3}
JSON = json.dumps(BODY).encode()


@dataclass(frozen=True)
class Trick:
    """`statuses`: that may come back (0: an answer without a status line, or none at all)."""

    name: str
    sent: bytes
    statuses: tuple[int, ...]
    good: bool = False  # it may reach the engine, as an ordinary question


def request(
    key: str | None,
    path: str = MODELS,
    body: bytes | None = None,
    lines: tuple[str, ...] = (),
    method: str = "",
    http: str = "1.1",
) -> bytes:
    """A request as it should be, unless its parts say otherwise; `lines` come before our own headers."""
    head = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/{http}", "Host: x", *lines]
    head += [f"Authorization: Bearer {key}"] if key else []
    named = {line.split(":")[0].strip().lower() for line in lines}
    if body is not None and "content-type" not in named:
        head.append("Content-Type: application/json")
    if body is not None and not named & {"content-length", "transfer-encoding"}:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def chunks(*parts: bytes, extension: bytes = b"") -> bytes:
    return b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in (*parts, b""))


def statuses_of(said: bytes) -> list[int]:
    """Of every answer in what came back, of which there must not be two; "100 Continue" is none."""
    return [int(found) for found in re.findall(rb"(?:^|(?<=[\n}]))HTTP/1\.[01] ([2-9]\d\d) ", said)]


def tell(port: int, sent: bytes, patience_s: float = 30) -> bytes:
    """Send, say that nothing follows, and read until the end."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as line:
        try:
            line.sendall(sent)
            while piece := line.recv(65536):
                said += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # refused before it was sent whole
    return said


def wrong(port: int, trick: Trick) -> str:
    """What is wrong with how a trick was answered; '' where nothing is."""
    said = tell(port, trick.sent)
    found = statuses_of(said)
    if len(found) > 1:
        return f"{trick.name}: {len(found)} answers to one request: {found}"
    status = found[0] if found else 0
    if status not in trick.statuses:
        return f"{trick.name}: {status}, not {trick.statuses}: {said[-300:]!r}"
    if status >= 400:
        error = json.loads(said.partition(b"\r\n\r\n")[2])["error"]
        if list(error) != ["message", "type", "param", "code"] or not error["code"]:
            return f"{trick.name}: an error of another form: {error}"
    return ""


def keys(key: str) -> list[Trick]:
    start, identity, secret = key.split("-", 2)

    def sent(*lines: str) -> bytes:
        return request(None, lines=lines)

    forged = {
        "none": (),
        "empty": ("Authorization:",),
        "scheme alone": ("Authorization: Bearer",),
        "in capitals": (f"Authorization: Bearer {key.upper()}",),
        "secret in capitals": (f"Authorization: Bearer {start}-{identity}-{secret.swapcase()}",),
        "a tab": (f"Authorization: Bearer\t{key}",),
        "a blank within": (f"Authorization: Bearer {start}-{identity} -{secret}",),
        "a blank of another kind": (f"Authorization: Bearer\u00a0{key}",),
        "a word more": (f"Authorization: Bearer {key} x",),
        "two in one": (f"Authorization: Bearer {key}, Bearer {key}",),
        "a letter more": (f"Authorization: Bearer {key}A",),
        "a letter less": (f"Authorization: Bearer {key[:-1]}",),
        "another id": (f"Authorization: Bearer {start}-00000000-{secret}",),
        "another secret": (f"Authorization: Bearer {start}-{identity}-{'A' * 43}",),
        "no secret": (f"Authorization: Bearer {start}-{identity}-",),
        "lookalikes": (f"Authorization: Bearer \u00d0\u00ce{key[1:]}",),
        "full width": (f"Authorization: Bearer {key}".replace("ll-", "\u00ef\u00bd\u008c\u00ef\u00bd\u008c-"),),
        "quoted": (f'Authorization: Bearer "{key}"',),
        "percent": (f"Authorization: Bearer {key.replace('-', '%2d')}",),
        "Basic": (f"Authorization: Basic {key}",),
        "another header": (f"X-Api-Key: {key}", f"Api-Key: {key}", f"Cookie: Authorization=Bearer {key}"),
        "underscores": (f"Authorization_: Bearer {key}",),
        "long": (f"Authorization: Bearer {key}{'A' * 6000}",),
        "a star": ("Authorization: Bearer *",),
    }
    found = [Trick(f"key: {name}", sent(*lines), (401, 429)) for name, lines in forged.items()]
    found += [
        Trick("key: of 40 kB", sent(f"Authorization: Bearer {'A' * 40_000}"), (431,)),
        Trick("key: twice, the wrong one last", sent(f"Authorization: Bearer {key}", "Authorization: Bearer x"), (400, 401)),
        Trick("key: twice, the wrong one first", sent("Authorization: Bearer x", f"Authorization: Bearer {key}"), (400, 401)),
        Trick("key: a NUL", sent(f"Authorization: Bearer \0{key}"), (400,)),
        Trick("key: in the query", request(None, f"{MODELS}?api_key={key}"), (400,)),
        Trick("key: in the path", request(None, f"{MODELS}/{key}"), (400,)),
        Trick("key: on a line of its own", sent("Authorization: Bearer", f" {key}"), (400, 401)),
    ]
    return found


def framing(key: str) -> list[Trick]:
    """Requests that two readers could end at different bytes; what would be left over asks for the engine's metrics."""
    left = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    te, cl = "Transfer-Encoding: chunked", f"Content-Length: {len(JSON)}"

    def post(*lines: str, body: bytes = JSON, http: str = "1.1") -> bytes:
        return request(key, CHAT, body, lines, http=http)

    variants = ("xchunked", "chunked, chunked", "identity", "gzip, chunked", "chunked;q=1", '"chunked"', "\x0bchunked", "cow")
    return [
        Trick("length and chunks", post(cl, te, body=chunks(JSON) + left), (400,)),
        Trick("chunks and length", post(te, "Content-Length: 4", body=chunks(JSON) + left), (400,)),
        Trick("two lengths", post(cl, "Content-Length: 5", body=JSON + left), (400,)),
        Trick("one length twice", post(cl, cl, body=JSON + left), (400,)),
        Trick("lengths in a list", post(f"{cl}, {len(JSON)}", body=JSON + left), (400,)),
        *(Trick(f"a length of {value}", post(f"Content-Length: {value}"), (400, 413))
          for value in ("-1", "+5", "0x10", "5 5", "1e3", "99999999999999999999", "")),
        Trick("a blank before the colon", post(f"Content-Length : {len(JSON)}"), (400,)),
        Trick("chunks with a blank before the colon", post("Transfer-Encoding : chunked", body=chunks(JSON)), (400,)),
        Trick("chunks on a folded line", post("X-A: b", " Transfer-Encoding: chunked", cl), (400,)),
        Trick("a folded header", request(key, lines=("X-A: b", "\tc: d")), (400,)),
        Trick("a header without a colon", request(key, lines=("X-A",)), (200, 400)),
        *(Trick(f"encoding {value!r}", post(f"Transfer-Encoding: {value}", body=chunks(JSON) + left), (400, 501))
          for value in variants),
        Trick("chunks twice", post(te, te, body=chunks(JSON) + left), (400, 501)),
        Trick("chunks in HTTP/1.0", post(te, body=chunks(JSON) + left, http="1.0"), (400,)),
        Trick("a chunk of -1", post(te, body=b"-1\r\n" + JSON + b"\r\n0\r\n\r\n"), (400,)),
        Trick("a chunk of 0x5", post(te, body=b"0x5\r\nabcde\r\n0\r\n\r\n"), (400,)),
        Trick("a chunk of 20 digits", post(te, body=b"f" * 20 + b"\r\n" + JSON), (400, 413)),
        Trick("a chunk too long", post(te, body=b"2\r\n" + JSON + b"\r\n0\r\n\r\n"), (400,)),
        Trick("chunks with extensions", post(te, body=chunks(JSON[:9], JSON[9:], extension=b";a=b")), (200,), good=True),
        Trick("chunks with a trailer", post(te, body=chunks(JSON)[:-2] + b"Content-Length: 99\r\n\r\n"), (200,), good=True),
        Trick("bare line feeds", post(cl).replace(b"\r\n", b"\n"), (200,), good=True),
        Trick("bare carriage returns", b"GET /v1/models HTTP/1.1\rHost: x\r\r", (400, 0)),
        Trick("a carriage return in a header", request(key, lines=("X-A: b\rX-C: d",)), (200, 400)),
        Trick("a second request behind the first", post(body=JSON) + left, (200,), good=True),
        Trick("a second request behind a refused one", request(None, CHAT, JSON) + left, (401, 429)),
        Trick("a second request behind a list", request(key) + left, (200,)),
        Trick("HTTP/1.0", post(http="1.0"), (200,), good=True),
        Trick("HTTP/0.9", b"GET /v1/models\r\n", (0,)),
        Trick("HTTP/2.0 in words", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 405, 505)),
        Trick("HTTP/9.9", request(key, http="9.9"), (400, 505)),
        Trick("no host", b"GET /v1/models HTTP/1.1\r\n\r\n", (400,)),
        Trick("two hosts", request(key, lines=("Host: y",)), (400,)),
        Trick("a host with a path", b"GET /v1/models HTTP/1.1\r\nHost: x/metrics\r\n\r\n", (400, 401)),
        Trick("Expect", post("Expect: 100-continue"), (200,), good=True),
        Trick("an unknown Expect", post("Expect: 200-ok"), (200, 417), good=True),
        Trick("Upgrade", request(key, lines=("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings")), (200,)),
        Trick("headers that Connection names", request(key, lines=("Connection: close, Authorization",)), (200,)),
        Trick("headers of 64 kB", request(key, lines=tuple(f"X-{n}: {'a' * 1000}" for n in range(64))), (431,)),
        Trick("one header of 64 kB", request(key, lines=(f"X-A: {'a' * 65_536}",)), (431,)),
        Trick("5,000 headers", request(key, lines=tuple(f"X-{n}: a" for n in range(5000))), (200, 431)),
    ]  # fmt: skip


BEHIND = ("metrics", "tokenize", "v1/load_lora_adapter", "openapi.json", "v1/responses")
UP = ("/..", "/%2e%2e", "/%2E.", "/.%2e", "/./..", "//..", "/..;", "/..%00", "/%252e%252e", "\\..", "%5c..", "%2f..", "%2F%2e%2e")
# Each with the statuses that it may have for GET. Those that Nginx reads as one of our two paths may ask, by POST.
PATHS = [
    *(f"/{name}{up}{end}" for name in BEHIND for up in UP for end in (MODELS, CHAT)),
    *(f"{start}{up}{up}/{name}" for start in (MODELS, CHAT) for up in UP for name in ("metrics", "tokenize")),
    *("//v1/models", "/v1//models", "/./v1/models", "/v1/models/", "/v1/models;a=b", "/v1/models%3Ba", "/v1/models%00"),
    *("/v1%2fmodels", "/v1%2Fchat%2fcompletions", "/%76%31/models", "/v1/chat/completions/..%2f..%2f..%2fmetrics", "/V1/models"),
    *("http://x/metrics", "http://x/v1/models", "http://x/metrics/../v1/models", "//x/v1/models", "*", "x:443"),
    *("/v1/models#/metrics", "/v1/models.", "/v1/models..", "/v1/models%20", "/v1/models%0a", "/v1/models%0d%0aX-A:%20b"),
    *("/v1/models?a=/metrics", "/v1/models?", "/metrics?/../v1/models", "/v1/models%3fa", "http://127.0.0.1:8100/metrics"),
    *("/v1/chat/completions/render", "/v1/models/legal-llm", "/\u4e00".encode().decode("latin-1"), "/%c0%ae%c0%ae/metrics"),
    *("/v1/\\..\\metrics", "/v1/models\\", "/%2e/metrics", "/metrics/", "/Metrics", "/health/../metrics", "/error/bad_request"),
    *("/@chat", "/@invalid_api_key", "/nothing", "/ping", "/version", "/server_info", "/reset_prefix_cache", "/v1/embeddings"),
    *("/" + "a" * length for length in (1000, 7000, 8100, 40_000)),
    *("/" + "%41" * 10_000, "/" + "../" * 5000),
    *("/report" + "r" * length for length in (0, 1, 255, 256, 4080, 8150, 8180, 8192, 16_384, 32_768, 70_000)),
]  # fmt: skip


def paths(key: str) -> list[Trick]:
    refused = (400, 404, 405, 414)
    found = [Trick(f"GET {path[:60]}", request(key, path), (200, *refused)) for path in PATHS]
    return found + [Trick(f"POST {path[:60]}", request(key, path, JSON), (200, *refused), good=True) for path in PATHS]


def methods(key: str) -> list[Trick]:
    names = ("TRACE", "CONNECT", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "MOVE", "LOCK", "PURGE", "get", "G E T", "")
    found = []
    for name in names:
        for path in (CHAT, MODELS, "/metrics", "127.0.0.1:8100"):
            sent = request(key, path, method="X").replace(b"X ", name.encode() + b" ", 1)
            found.append(Trick(f"{name} {path}", sent, (400, 404, 405)))
    override = ("X-HTTP-Method-Override: POST", "X-Method-Override: POST")
    return [*found, Trick("a method in a header", request(key, CHAT, lines=override), (405,))]


def bodies(key: str) -> list[Trick]:
    def post(body: bytes, *lines: str, path: str = CHAT) -> bytes:
        return request(key, path, body, lines)

    def kind(value: str) -> str:
        return f"Content-Type: {value}"

    text = JSON.decode()
    packed = {"gzip": gzip.compress(JSON), "deflate": zlib.compress(JSON), "br": JSON, "gzip, gzip": gzip.compress(JSON)}
    part = b'--a\r\nContent-Disposition: form-data; name="n"\r\n\r\n' + JSON + b"\r\n--a--\r\n"
    types = ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/jsonp", "")
    broken = {
        "cut off": JSON[:-1],
        "two values": JSON + JSON,
        "a comment": JSON[:-1] + b"/**/}",
        "a comma more": JSON[:-1] + b",}",
        "single quotes": JSON.replace(b'"', b"'"),
        "NaN": JSON[:-1] + b', "seed": NaN}',
        "Infinity": JSON[:-1] + b', "seed": -Infinity}',
        "1e999": JSON[:-1] + b', "temperature": 1e999}',
        "-1e999": JSON[:-1] + b', "temperature": -1e999}',
        "a number of 4,000 digits": JSON[:-1] + b', "seed": ' + b"9" * 4000 + b"}",
        "hexadecimal": JSON[:-1] + b', "seed": 0x10}',
        "100,000 brackets": b"[" * 100_000,
        "100,000 brackets in a field": JSON[:-1] + b', "a": ' + b"[" * 100_000 + b"}",
        "50,000 levels": JSON[:-1] + b', "a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        "50,000 levels of objects": JSON[:-1] + b', "stop": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
        "100,000 fields": b"{" + b",".join(b'"%x": 1' % n for n in range(100_000)) + b"}",
        "a byte that is no UTF-8": JSON.replace(b"legal-llm", b"legal-\xff"),
        "a surrogate in UTF-8": JSON.replace(b"legal-llm", b"legal-\xed\xa0\x80"),
        "more than UTF-8 holds": JSON.replace(b"legal-llm", b"\xf8\x88\x80\x80\x80"),
        "a list": b"[" + JSON + b"]",
        "a text": json.dumps(text).encode(),
        "nothing": b"",
        "UTF-16": text.encode("utf-16"),
        "UTF-32": text.encode("utf-32"),
        "a NUL behind": JSON + b"\0",
        "__proto__": JSON[:-1] + b', "__proto__": {"n": 9}}',
        "a field in escapes": JSON[:-1] + b', "ignore\\u005feos": true}',
        "a field in capitals": JSON[:-1] + b', "N": 1}',
        "a field with a blank": JSON[:-1] + b', "n ": 1}',
        "n in escapes, and beyond": JSON[:-1] + b', "\\u006e": 16384}',
        "stream: 1": JSON[:-1] + b', "stream": 1}',
        'stream: "true"': JSON[:-1] + b', "stream": "true"}',
    }
    good = {
        "a mark before": b"\xef\xbb\xbf" + JSON,
        "a field twice, the last counts": b'{"max_tokens": 999999, "n": 16384, "n": 1, ' + JSON[1:],
        "half a pair of surrogates": JSON.replace(b'legal-llm"', b'legal-llm", "user": "\\ud800"'),
        "blanks before": b" " * 5000 + JSON,
        "a number with zeros before, which goes on without": JSON[:-1] + b', "seed": 007}',
    }
    return [
        *(Trick(f"body: {name}", post(body), (400,)) for name, body in broken.items()),
        *(Trick(f"body: {name}", post(body), (200,), good=True) for name, body in good.items()),
        *(Trick(f"body: type {name or 'empty'}", post(JSON, kind(name)), (415,)) for name in types),
        Trick("body: in parts", post(part, kind("multipart/form-data; boundary=a")), (415,)),
        *(Trick(f"body: {name}", post(body, f"Content-Encoding: {name}"), (415,)) for name, body in packed.items()),
        Trick("body: of 3 MiB", post(b" " * 3 * 2**20 + JSON), (413, 0)),
        Trick("body: with GET", request(key, CHAT, JSON, method="GET"), (405,)),
    ]


def TRICKS(key: str) -> list[Trick]:
    return [*keys(key), *framing(key), *paths(key), *methods(key), *bodies(key)]


NESTED = ("(a+)+b", "((a*)*)*b", "(((a|b)+)+)+c", "(x{1,64}){1,64}", "((\\w{1,99}){1,99}){1,99}", "(.*)*(.*)*(.*)*z")
# Where an engine of some release takes a grammar: (field that is named, value around the expression).
GRAMMARS = {
    "guided_regex": lambda x: {"guided_regex": x},
    "guided_grammar": lambda x: {"guided_grammar": f"root ::= {json.dumps(x)}+"},
    "guided_json": lambda x: {"guided_json": {"type": "string", "pattern": x}},
    "guided_choice": lambda x: {"guided_choice": [x] * 1000},
    "guided_decoding_backend": lambda x: {"guided_decoding_backend": "outlines", "guided_regex": x},
    "structured_outputs": lambda x: {"structured_outputs": {"regex": x}},
    "response_format": lambda x: {"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": x}}}},
    "response_format of a regex": lambda x: {"response_format": {"type": "regex", "value": x}},
    "response_format of text and more": lambda x: {"response_format": {"type": "text", "schema": {"pattern": x}}},
    "grammar": lambda x: {"grammar": f"root ::= ({x})+"},
    "json_schema": lambda x: {"json_schema": {"type": "string", "pattern": x}},
    "regex": lambda x: {"regex": x},
    "ebnf": lambda x: {"ebnf": x},
    "structural_tag": lambda x: {"structural_tag": {"structures": [{"begin": x}]}},
    "tools": lambda x: {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"pattern": x}}}]},
    "extra_body": lambda x: {"extra_body": {"extra_body": {"guided_regex": x}}},
    "vllm_xargs": lambda x: {"vllm_xargs": {"guided_regex": x}},
    "sampling_params": lambda x: {"sampling_params": {"structured_outputs": {"regex": x}}},
    "nvext": lambda x: {"nvext": {"guided_regex": x}},
    "logits_processors": lambda x: {"logits_processors": [x]},
    "bad_words": lambda x: {"bad_words": [x] * 1000},
    "stop": lambda x: {"stop": [x] * 1000},
    "messages": lambda x: {"messages": [{"role": "user", "content": "a", "structured_outputs": {"regex": x}}]},
    "logit_bias": lambda x: {"logit_bias": {x: 1}},
}


def named(where: str) -> str:
    """The field that a refusal names."""
    return where.partition(" ")[0]


def fan_out(request_tokens: int, context: int) -> list[tuple[str, dict, str]]:
    """(path, body, field) of requests that ask for very many answers, or for a little more than one request may."""
    prompts = request_tokens // 128 + 1  # of 128 tokens each
    return [
        (CHAT, {**BODY, "n": 16384, "max_tokens": 400, "ignore_eos": True}, "n"),
        (CHAT, {**BODY, "ignore_eos": True}, "ignore_eos"),
        (CHAT, {**BODY, "min_tokens": 400}, "min_tokens"),
        (CHAT, {**BODY, "n": 5, "temperature": 1}, "n"),
        (COMPLETION, {"prompt": ["合同"] * 1024, "max_tokens": 500}, "prompt"),
        (COMPLETION, {"prompt": ["合同"] * prompts, "max_tokens": 128}, "max_tokens" if prompts <= 16 else "prompt"),
        (COMPLETION, {"prompt": ["合同"] * 16, "max_tokens": context}, "max_tokens"),
        (COMPLETION, {"prompt": ["合同"] * 16, "n": 4, "temperature": 1, "max_tokens": request_tokens // 64 + 1}, "max_tokens"),
        (COMPLETION, {"prompt": "合同", "best_of": 20}, "best_of"),
        (COMPLETION, {"prompt": "合同", "n": 4, "best_of": 4, "temperature": 1}, "best_of"),
        (COMPLETION, {"prompt": "合同", "use_beam_search": True, "n": 4}, "use_beam_search"),
        (COMPLETION, {"prompt": "合同", "prompt_logprobs": 20}, "prompt_logprobs"),
        (COMPLETION, {"prompt": "合同", "logprobs": 1000}, "logprobs"),
        (COMPLETION, {"prompt": "合同", "echo": True}, "echo"),
        (CHAT, {**BODY, "logprobs": True, "top_logprobs": 1000}, "top_logprobs"),
    ]
