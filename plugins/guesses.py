"""Guessing passwords of Airflow's users is slow, and shuts nobody out.

The simple auth manager answers a wrong password at once, as often as it is asked. Here a wrong one is answered PAUSE_S later, and
while MOST wrong ones wait for their answer a further log-in is sent away (429) to come back. So a server process hears at most
MOST / PAUSE_S guesses a second; there is no count per user or address, with which somebody could lock others out.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from airflow.plugins_manager import AirflowPlugin

LOG_IN = ("/auth/token", "/auth/token/cli")
PAUSE_S = 2.0
MOST = 10


class Guesses:
    """ASGI middleware; everything but a POST that logs somebody in passes untouched."""

    def __init__(self, app: Any, pause_s: float = PAUSE_S, most: int = MOST):
        self.app, self.pause_s, self.most = app, pause_s, most
        self.waiting = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette._utils import get_route_path

        if scope["type"] != "http" or scope["method"] != "POST" or get_route_path(scope).rstrip("/") not in LOG_IN:
            return await self.app(scope, receive, send)
        if self.waiting >= self.most:
            return await self.send_away(send)

        async def later(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                self.waiting += 1
                try:
                    await asyncio.sleep(self.pause_s)
                finally:
                    self.waiting -= 1
            await send(message)

        await self.app(scope, receive, later)

    async def send_away(self, send: Any) -> None:
        wait = str(max(1, round(self.pause_s)))
        content = json.dumps({"detail": f"many wrong passwords are being tried; try again in {wait} s"}).encode()
        headers = [(b"content-type", b"application/json"), (b"retry-after", wait.encode())]
        headers.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class GuessesPlugin(AirflowPlugin):
    """Stands before Airflow's API server."""

    name = "lexloop_guesses"
    fastapi_root_middlewares = [{"middleware": Guesses, "name": "Slow down who guesses passwords"}]
