"""Send a message to the channels of the team: WeCom, DingTalk, Feishu, e-mail, a plain webhook.

A channel is an Airflow Connection with a fixed name; a channel without one is not used. Its secrets stay there:

| Connection | type | fields |
|---|---|---|
| `lexloop_wecom` | http | password: the whole address of the group's bot (the key in it is the secret) |
| `lexloop_dingtalk` | http | password: the whole address; extra `{"secret": "SEC..."}` where the bot demands a signature |
| `lexloop_feishu` | http | password: the whole address; extra `{"secret": "..."}` where the bot demands a signature |
| `lexloop_webhook` | http | password: the whole address; extra `{"secret": "..."}`: the body is signed with it |
| `lexloop_smtp` | smtp | as Airflow's SMTP hook wants it, with `from_email`; extra `to`: addresses by comma |
| `lexloop_heartbeat` | http | password: the whole address that is asked (GET) after each look that ended well; no channel |

No address and no secret is ever printed: what a channel answers is cleaned of them first.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

# Its line per request holds the whole address, and with it the key.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

TIMEOUT_S = 10.0
WECOM_BYTES = 4096  # developer.work.weixin.qq.com, group bots, markdown
DINGTALK_BYTES = 20000  # open.dingtalk.com, custom bots
FEISHU_BYTES = 18000  # open.feishu.cn, custom bots: the whole request at most 20 KB
CUT = "\n…"


class ChannelError(Exception):
    """A channel did not take the message; the text names the channel and its answer, no address and no secret."""


@dataclass(frozen=True)
class Message:
    """What happened: a line for the subject, lines of detail, and {label: address} to follow."""

    event: str
    title: str
    lines: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        return "\n".join([self.title, *self.lines, *(f"{label}: {address}" for label, address in self.links.items())])

    def markdown(self, line_end: str = "\n") -> str:
        links = [f"[{label}]({address})" for label, address in self.links.items()]
        return line_end.join([f"**{self.title}**", *self.lines, *links])


def cut(text: str, most: int) -> str:
    """At most `most` bytes of UTF-8, whole characters, with a mark where something is left out."""
    data = text.encode("utf-8")
    if len(data) <= most:
        return text
    return data[: most - len(CUT.encode("utf-8"))].decode("utf-8", "ignore") + CUT


def sign_dingtalk(secret: str, milliseconds: int) -> str:
    """base64(HMAC-SHA256(key=secret, "<milliseconds>\\n<secret>")), goes into the address."""
    digest = hmac.new(secret.encode(), f"{milliseconds}\n{secret}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def sign_feishu(secret: str, seconds: int) -> str:
    """base64(HMAC-SHA256(key="<seconds>\\n<secret>", empty message)), goes into the body."""
    return base64.b64encode(hmac.new(f"{seconds}\n{secret}".encode(), b"", hashlib.sha256).digest()).decode()


def send_wecom(connection: Any, message: Message, now: float) -> None:
    body = {"msgtype": "markdown", "markdown": {"content": cut(message.markdown(), WECOM_BYTES)}}
    _expect("wecom", connection, post("wecom", connection, body), "errcode")


def send_dingtalk(connection: Any, message: Message, now: float) -> None:
    content = cut(message.markdown("\n\n"), DINGTALK_BYTES)
    body = {"msgtype": "markdown", "markdown": {"title": message.title, "text": content}}
    secret, milliseconds = _secret(connection), round(now * 1000)
    query = {"timestamp": str(milliseconds), "sign": sign_dingtalk(secret, milliseconds)} if secret else {}
    _expect("dingtalk", connection, post("dingtalk", connection, body, query), "errcode")


def send_feishu(connection: Any, message: Message, now: float) -> None:
    body: dict[str, Any] = {"msg_type": "text", "content": {"text": cut(message.text(), FEISHU_BYTES)}}
    secret = _secret(connection)
    if secret:
        body |= {"timestamp": str(int(now)), "sign": sign_feishu(secret, int(now))}
    _expect("feishu", connection, post("feishu", connection, body), "code")


def send_webhook(connection: Any, message: Message, now: float) -> None:
    """JSON {event, title, lines, links, time}; signed, the header X-LexLoop-Signature holds sha256=<hex of the HMAC>."""
    body = {"event": message.event, "title": message.title, "lines": list(message.lines), "links": dict(message.links)}
    post("webhook", connection, body | {"time": int(now)}, signed=True)


def send_smtp(connection: Any, message: Message, now: float) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    to = [part.strip() for part in str(connection.extra_dejson.get("to", "")).split(",") if part.strip()]
    if not to:
        raise ChannelError("smtp: the Connection lexloop_smtp names no receiver; add `to` to its extra")
    links = [f'<a href="{html.escape(address)}">{html.escape(label)}</a>' for label, address in message.links.items()]
    body = "<br>\n".join([*(html.escape(line) for line in (message.title, *message.lines)), *links])
    try:
        with SmtpHook(smtp_conn_id="lexloop_smtp") as hook:
            hook.send_email_smtp(to=to, subject=message.title, html_content=f"<p>{body}</p>")
    except Exception as error:  # the library raises many kinds; none is swallowed
        raise ChannelError(f"smtp: {_clean(f'{type(error).__name__}: {error}', connection)}") from None


Sender = Callable[[Any, Message, float], None]
CHANNELS: dict[str, Sender] = {
    "wecom": send_wecom,
    "dingtalk": send_dingtalk,
    "feishu": send_feishu,
    "smtp": send_smtp,
    "webhook": send_webhook,
}


def post(
    channel: str, connection: Any, body: Mapping[str, Any], query: Mapping[str, str] | None = None, signed: bool = False
) -> str:
    """POST JSON to the Connection's address; the answer's text. ChannelError where it is not 2xx."""
    import httpx

    address = web_address(channel, connection)
    data = json.dumps(body, ensure_ascii=False).encode("utf-8")
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if signed and _secret(connection):
        digest = hmac.new(_secret(connection).encode(), data, hashlib.sha256).hexdigest()
        headers["X-LexLoop-Signature"] = f"sha256={digest}"
    try:
        with httpx.Client(timeout=TIMEOUT_S) as client:
            answer = client.post(httpx.URL(address).copy_merge_params(query or {}), content=data, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ChannelError(f"{channel}: {_clean(f'{type(error).__name__}: {error}', connection)}") from None
    if not 200 <= answer.status_code < 300:
        raise ChannelError(f"{channel}: answered {answer.status_code}: {_clean(answer.text[:200], connection)}")
    return answer.text


def _expect(channel: str, connection: Any, text: str, name: str) -> None:
    """The bots answer 200 also where they refuse: the code in the body decides."""
    try:
        code = json.loads(text).get(name)
    except (json.JSONDecodeError, AttributeError):
        code = None
    if code != 0:
        raise ChannelError(f"{channel}: refused: {_clean(text[:200], connection)}")


def _secret(connection: Any) -> str:
    return str(connection.extra_dejson.get("secret", "") or "")


def _clean(text: str, connection: Any) -> str:
    """Without the Connection's secrets, whole or in part."""
    address = connection.password or ""
    parts = urlsplit(address) if "://" in address else None
    hidden = [address, _secret(connection)]
    if parts:
        hidden += [parts.query, *(value for _, value in parse_qsl(parts.query)), parts.path.rsplit("/", 1)[-1], parts.password]
    for secret in sorted({part for part in hidden if part and len(part) > 3}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def find_connection(name: str) -> Any:
    """Airflow's Connection, or None."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(name)
    except AirflowNotFoundException:
        return None


def channels(find: Callable[[str], Any] = find_connection) -> dict[str, Any]:
    """{channel: its Connection} of those that have one."""
    found = {name: find(f"lexloop_{name}") for name in CHANNELS}
    return {name: connection for name, connection in found.items() if connection is not None}


def deliver(message: Message, to: Mapping[str, Any], now: float | None = None) -> tuple[list[str], list[str]]:
    """(channels that took the message, what the others said). One channel's trouble does not keep the rest from it."""
    taken, trouble = [], []
    for name, connection in to.items():
        try:
            CHANNELS[name](connection, message, time.time() if now is None else now)
            taken.append(name)
        except ChannelError as error:
            trouble.append(str(error))
    return taken, trouble


def beat(find: Callable[[str], Any] = find_connection) -> bool:
    """Tell the address of `lexloop_heartbeat` that all is well; False without one. ChannelError where it does not take it."""
    import httpx

    connection = find("lexloop_heartbeat")
    if connection is None:
        return False
    address = web_address("heartbeat", connection)
    try:
        with httpx.Client(timeout=TIMEOUT_S) as client:
            answer = client.get(address)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ChannelError(f"heartbeat: {_clean(f'{type(error).__name__}: {error}', connection)}") from None
    if not 200 <= answer.status_code < 300:
        raise ChannelError(f"heartbeat: answered {answer.status_code}: {_clean(answer.text[:200], connection)}")
    return True


def web_address(channel: str, connection: Any) -> str:
    """The Connection's whole address; ChannelError where it is none."""
    address = connection.password or ""
    if urlsplit(address).scheme not in ("http", "https"):
        raise ChannelError(f"{channel}: the password of the Connection lexloop_{channel} must be the whole http(s) address")
    return address


def names() -> Iterable[str]:
    """Names of the Connections that are looked for."""
    return [f"lexloop_{name}" for name in CHANNELS]
