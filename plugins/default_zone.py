"""Times on Airflow's pages in Asia/Shanghai unless a reader has chosen another zone.

Airflow's pages take the browser's zone and keep a reader's choice in the browser; no setting of the server's decides it (3.3).
The start page therefore gets a line that makes ours the choice of who has made none. Can go when Airflow has such a setting.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin
from due_dates import ZONE

SCRIPT = f"""<script>
try {{ if (localStorage.getItem("timezone") === null) localStorage.setItem("timezone", '"{ZONE}"') }} catch (error) {{ }}
</script>"""
PAGE, BEFORE = b'<div id="root"', b"<script type="  # of Airflow's start page, whatever its address; before what reads the choice
LONGEST = 100_000  # bytes; Airflow's start page has less than a thousand


class DefaultZone:
    """ASGI middleware: puts SCRIPT into Airflow's start page and leaves everything else as it is."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        held: dict[str, Any] = {}

        async def pass_on(message: Any) -> None:
            if message["type"] == "http.response.start" and is_plain_page(message["headers"]):
                held.update(start=message, body=b"")
                return
            if "start" not in held:
                await send(message)
                return
            held["body"] += message.get("body", b"")
            if message.get("more_body") and len(held["body"]) < LONGEST:
                return
            start, body = held.pop("start"), held["body"]
            if not message.get("more_body"):  # else it is a long page, and none of Airflow's
                body = with_script(body)
                kept = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
                start["headers"] = [*kept, (b"content-length", str(len(body)).encode())]
            await send(start)
            await send({**message, "body": body})

        await self.app(scope, receive, pass_on)


def is_plain_page(headers: Any) -> bool:
    """Whether an answer is HTML that can be read."""
    known = {name.lower(): value for name, value in headers}
    return known.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in known


def with_script(body: bytes) -> bytes:
    """The start page with SCRIPT before its own first one; another page as it is."""
    if PAGE not in body or BEFORE not in body:
        return body
    return body.replace(BEFORE, SCRIPT.encode() + BEFORE, 1)


class DefaultZonePlugin(AirflowPlugin):
    """The line in Airflow's start page."""

    name = "default_zone"
    fastapi_root_middlewares = [{"middleware": DefaultZone, "name": "default zone"}]
