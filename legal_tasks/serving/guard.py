"""Inside vLLM (its option --middleware): no answer without the key of this start, which the releaser and its gateway know.

Every account of the machine reaches a port of 127.0.0.1. Without this it could ask the engine past the gateway's keys, limits and
checks: fields that run templates, tokenizer, adapters. vLLM's own --api-key leaves out /invocations, /tokenize and others.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable
from typing import Any

VARIABLE = "LEXLOOP_ENGINE_KEY"
PATH = f"{__name__}.Guard"
REFUSAL = b'{"error": {"message": "ask the gateway", "type": "invalid_request_error", "param": null, "code": "invalid_api_key"}}'


class Guard:
    """An ASGI application that lets through to `app` who sends `Authorization: Bearer KEY`."""

    def __init__(self, app: Callable[..., Awaitable[None]]):
        self.app, self.wanted = app, f"Bearer {os.environ[VARIABLE]}".encode()

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        kind = scope["type"]
        if kind == "lifespan" or any(
            name == b"authorization" and hmac.compare_digest(value, self.wanted) for name, value in scope["headers"]
        ):
            await self.app(scope, receive, send)
        elif kind == "http":
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(REFUSAL)).encode())]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSAL})
        else:
            await send({"type": "websocket.close", "code": 1008})
