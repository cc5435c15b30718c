"""Messages reach each kind of channel in its own form, signed; nothing secret is said."""

import base64
import email
import email.header
import hashlib
import hmac
import json
import subprocess
import sys
import time
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import REPOSITORY
from tests.plugins.orchestrator import command
from tests.plugins.servers import connection, http_server, smtp_server

CANARY = "canary-4f1d"
MESSAGE = {
    "event": "failed",
    "title": "[LexLoop] 再训练失败 · run failed",
    "lines": ["task train, try 2", "no room: 3 bytes & <more>"],
    "links": {"Airflow": "http://127.0.0.1:8080/dags/x"},
}


def deliver(home, **connections) -> tuple[dict, subprocess.CompletedProcess]:
    """(answer of the probe, the process) with these Connections only."""
    home.mkdir(exist_ok=True)
    named = {f"AIRFLOW_CONN_LEXLOOP_{name.upper()}": value for name, value in connections.items()}
    question = json.dumps({"message": MESSAGE})
    done = command(home, ["tests/plugins/notify_probe.py", question], AIRFLOW__LOGGING__LOGGING_LEVEL="INFO", **named)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().split("\n")[-1]), done


def answer_well(method, path, body):
    return 200, json.dumps({"errcode": 0, "errmsg": "ok", "code": 0, "msg": "success"})


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """One message to all five channels at once: {channel: request}, the mails, the process."""
    with http_server(answer_well) as (port, seen), smtp_server("robot", f"{CANARY}-smtp") as (mail_port, mails):
        base = f"http://127.0.0.1:{port}"
        extra = {
            "from_email": "lexloop@example.com",
            "disable_ssl": True,
            "disable_tls": True,
            "to": "a@example.com, b@example.com",
        }
        answer, done = deliver(
            tmp_path_factory.mktemp("home"),
            wecom=connection(conn_type="http", password=f"{base}/cgi-bin/webhook/send?key={CANARY}-wecom"),
            dingtalk=connection(
                conn_type="http",
                password=f"{base}/robot/send?access_token={CANARY}-ding",
                extra=json.dumps({"secret": f"SEC{CANARY}+/="}),
            ),
            feishu=connection(
                conn_type="http",
                password=f"{base}/open-apis/bot/v2/hook/{CANARY}-feishu",
                extra=json.dumps({"secret": f"{CANARY}-sign"}),
            ),
            webhook=connection(
                conn_type="http", password=f"{base}/hook?token={CANARY}-web", extra=json.dumps({"secret": f"{CANARY}-body"})
            ),
            smtp=connection(
                conn_type="smtp",
                host="127.0.0.1",
                port=mail_port,
                login="robot",
                password=f"{CANARY}-smtp",
                extra=json.dumps(extra),
            ),
        )
        assert answer == {"taken": ["wecom", "dingtalk", "feishu", "smtp", "webhook"], "trouble": []}
        places = {"/cgi": "wecom", "/robot": "dingtalk", "/open-apis": "feishu", "/hook": "webhook"}
        found = {places[next(p for p in places if request["path"].startswith(p))]: request for request in seen}
        yield found, mails, done


def test_wecom_gets_markdown_at_its_key(sent):
    request = sent[0]["wecom"]
    assert request["path"] == f"/cgi-bin/webhook/send?key={CANARY}-wecom"
    body = json.loads(request["body"])
    assert body["msgtype"] == "markdown" and body["markdown"]["content"].startswith("**[LexLoop] 再训练失败")
    assert "[Airflow](http://127.0.0.1:8080/dags/x)" in body["markdown"]["content"]


def test_dingtalk_gets_markdown_with_a_signature_that_its_secret_explains(sent):
    request = sent[0]["dingtalk"]
    query = {name: values[0] for name, values in parse_qs(urlsplit(request["path"]).query, strict_parsing=True).items()}
    assert query["access_token"] == f"{CANARY}-ding" and abs(int(query["timestamp"]) / 1000 - time.time()) < 120
    secret = f"SEC{CANARY}+/="
    expected = hmac.digest(secret.encode(), f"{query['timestamp']}\n{secret}".encode(), "sha256")
    assert query["sign"] == base64.b64encode(expected).decode()
    body = json.loads(request["body"])
    assert body["msgtype"] == "markdown" and body["markdown"]["title"] == MESSAGE["title"]
    assert "no room: 3 bytes & <more>" in body["markdown"]["text"]


def test_feishu_gets_text_with_a_signature_whose_key_is_time_and_secret(sent):
    body = json.loads(sent[0]["feishu"]["body"])
    assert body["msg_type"] == "text" and "task train, try 2" in body["content"]["text"]
    assert abs(int(body["timestamp"]) - time.time()) < 120
    expected = hmac.digest(f"{body['timestamp']}\n{CANARY}-sign".encode(), b"", "sha256")
    assert body["sign"] == base64.b64encode(expected).decode()


def test_a_plain_webhook_gets_the_message_with_its_bytes_signed(sent):
    request = sent[0]["webhook"]
    body = json.loads(request["body"])
    assert {name: body[name] for name in MESSAGE} == MESSAGE and abs(body["time"] - time.time()) < 120
    expected = hmac.new(f"{CANARY}-body".encode(), request["body"], hashlib.sha256).hexdigest()
    assert request["headers"]["X-LexLoop-Signature"] == f"sha256={expected}"


def test_the_mail_is_logged_in_for_and_reaches_every_receiver(sent):
    [mail] = sent[1]
    assert mail["login"] == ("robot", f"{CANARY}-smtp") and mail["to"] == ["a@example.com", "b@example.com"]
    read = email.message_from_string(mail["data"])
    assert str(email.header.make_header(email.header.decode_header(read["Subject"]))) == MESSAGE["title"]
    part = read.get_payload()[0] if read.is_multipart() else read
    text = part.get_payload(decode=True).decode()
    assert "no room: 3 bytes &amp; &lt;more&gt;" in text and 'href="http://127.0.0.1:8080/dags/x"' in text


def test_a_delivery_says_no_secret(sent):
    assert CANARY not in sent[2].stdout + sent[2].stderr


def test_trouble_is_told_without_the_secret_and_does_not_stop_the_others(tmp_path):
    def refuse(method, path, body):
        if path.startswith("/cgi"):
            return 200, json.dumps({"errcode": 93000, "errmsg": f"invalid webhook url {path}"})
        if path.startswith("/robot"):
            return 502, f"no upstream for {path}"
        return 200, "{}"

    with http_server(refuse) as (port, _), smtp_server("robot", "another") as (mail_port, _):
        extra = json.dumps({"from_email": "l@example.com", "disable_ssl": True, "disable_tls": True, "to": "a@example.com"})
        answer, done = deliver(
            tmp_path / "home",
            wecom=connection(conn_type="http", password=f"http://127.0.0.1:{port}/cgi-bin/webhook/send?key={CANARY}-w"),
            dingtalk=connection(conn_type="http", password=f"http://127.0.0.1:{port}/robot/send?access_token={CANARY}-d"),
            feishu=connection(conn_type="http", password=f"http://127.0.0.1:1/open-apis/bot/v2/hook/{CANARY}-f"),
            smtp=connection(
                conn_type="smtp", host="127.0.0.1", port=mail_port, login="robot", password=f"{CANARY}-m", extra=extra
            ),
            webhook=connection(conn_type="http", password=f"http://127.0.0.1:{port}/hook?token={CANARY}-b"),
        )
    assert answer["taken"] == ["webhook"]
    wecom, dingtalk, feishu, smtp = answer["trouble"]
    assert wecom.startswith("wecom: refused: ") and "93000" in wecom
    assert dingtalk.startswith("dingtalk: answered 502") and feishu.startswith("feishu: ConnectError")
    assert smtp.startswith("smtp: SMTPAuthenticationError") and "535" in smtp
    assert CANARY not in json.dumps(answer) + done.stdout + done.stderr


def test_a_long_message_is_cut_to_what_the_channel_takes(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "plugins"), *sys.path])
    import notify

    message = notify.Message(**MESSAGE | {"lines": ("法" * 9000,)})
    with http_server(answer_well) as (port, seen):
        address = f"http://127.0.0.1:{port}"
        to = {name: SimpleNamespace(password=f"{address}/{name}", extra_dejson={}) for name in ("wecom", "feishu", "dingtalk")}
        assert notify.deliver(message, to) == (["wecom", "feishu", "dingtalk"], [])
    wecom, feishu, dingtalk = (json.loads(request["body"]) for request in seen)
    text = wecom["markdown"]["content"]
    assert 4090 <= len(text.encode()) <= 4096 and text.endswith("法\n…")
    assert len(seen[1]["body"]) <= 20 * 1024 and feishu["content"]["text"].endswith("法\n…")
    assert 19990 <= len(dingtalk["markdown"]["text"].encode()) <= 20000
