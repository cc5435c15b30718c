"""A model's answer is taken only if it keeps what the law is held to; without an endpoint nothing is asked."""

import datetime
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from legal_tasks.data import clean, rewrite
from legal_tasks.records import read_records
from legal_tasks.step import StepError

pytest.importorskip("rensa")
DAY = datetime.date(2026, 11, 1)
LAW = "# 河灯管理法\n\n2019年5月1日通过\n\n" + "".join(f"第{n}条 放河灯应当办理手续。\n\n" for n in "一二三四")


class Endpoint(ThreadingHTTPServer):
    """Answers as `says` tells, and remembers what it was asked. `fails`: statuses of the first answers."""

    def __init__(self, says, fails=()):
        super().__init__(("127.0.0.1", 0), Handler)
        self.says, self.fails, self.asked, self.keys = says, list(fails), [], []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.keys.append(self.headers["authorization"])
        self.server.asked.append(body)
        status = self.server.fails.pop(0) if self.server.fails else 200
        content, reason = self.server.says(body["messages"][1]["content"]), "stop"
        if isinstance(content, tuple):
            content, reason = content
        reply = {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": reason}]}
        data = json.dumps(reply if status == 200 and self.path == "/v1/chat/completions" else {"error": {}}).encode()
        self.send_response(status if self.path == "/v1/chat/completions" else 404)
        self.send_header("content-length", str(len(data)))
        self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(says, fails=()):
        servers.append(Endpoint(says, fails))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def seat(tmp_path, monkeypatch):
    """Collected items: a law, and questions 0 to 2 about it."""
    monkeypatch.setenv("LEXLOOP_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    monkeypatch.delenv(rewrite.KEY, raising=False)
    folder = tmp_path / "items"
    folder.mkdir()
    common = {"source": "s", "licence": "MIT", "format": "json"}
    items = [{"id": "law", "kind": "statute", "locator": "law.md", "text": LAW, **common}]
    for number in range(3):
        answer = f"第{number}例：根据《河灯管理法》第二条，放灯前应当在3日内备案，电话1380000000{number}可以咨询。"
        fields = {"query": f"第{number}次放河灯要办什么手续？" + "甲乙丙"[number] * 30, "response": answer}
        items.append({"id": f"q{number}", "kind": "consultation", "locator": "q", "fields": fields, **common})
    (folder / "items.jsonl").write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), "utf-8")
    (folder / "set_aside.jsonl").write_text("", "utf-8")
    (folder / "exam_questions.jsonl").write_text("", "utf-8")
    (folder / "exams").mkdir()
    return tmp_path


def go(seat, name, **changes):
    (seat / name).mkdir()
    report = clean.run(clean.Params(items=seat / "items", output=seat / name, as_of=DAY, **changes))
    return report, {record.provenance["id"]: record for record in read_records(seat / name / "records.jsonl")}


def better(asked):
    """The same answer with a frame: everything that must stay stays."""
    return "<think>想一想</think>\n简单说，" + asked.split("回答：\n")[1]


def test_good_answers_are_taken_masked_and_named_and_a_second_run_asks_nothing(seat, serve, monkeypatch, capsys):
    monkeypatch.setenv(rewrite.KEY, "canary-key")
    server = serve(better, fails=[503, 429])
    report, records = go(seat, "one", rewrite_url=server.url, rewrite_model="m")
    assert report.rewritten == {"asked": 3, "rewritten": 3} and set(server.keys) == {"Bearer canary-key"}
    assert records["q1"].output.startswith("简单说，第1例：根据《河灯管理法》第二条")
    assert records["q1"].provenance["rewritten"] == "m" and "rewritten" not in records["law.1"].provenance
    assert len(server.asked) == 5 and not any("1380000000" in json.dumps(body) for body in server.asked)
    again, _ = go(seat, "two", rewrite_url=server.url, rewrite_model="m")
    assert again.rewritten == report.rewritten and len(server.asked) == 5
    assert (seat / "one" / "records.jsonl").read_bytes() == (seat / "two" / "records.jsonl").read_bytes()
    said = capsys.readouterr()
    assert "canary-key" not in said.out + said.err


def test_without_an_endpoint_nothing_changes(seat, serve):
    report, records = go(seat, "plain")
    assert report.rewritten == {} and not any("rewritten" in record.provenance for record in records.values())
    server = serve(better)
    go(seat, "others", rewrite_url=server.url, rewrite_model="m", rewrite_categories=("case",))
    assert (
        server.asked == [] and (seat / "others" / "records.jsonl").read_bytes() == (seat / "plain" / "records.jsonl").read_bytes()
    )


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (lambda asked: better(asked).replace("第二条", "第三条"), "other citations"),
        (lambda asked: better(asked) + "《合同法》第五十二条也有规定。", "other citations"),
        (lambda asked: better(asked).replace("3日", "5日"), "other numbers"),
        (lambda asked: better(asked).replace("【", "").replace("】", ""), "other pseudonyms"),
        (lambda asked: better(asked) + "联系电话：13800138000。", "personal data"),
        (lambda asked: better(asked) + "作为一个AI语言模型，我建议咨询律师。", "self_mention"),
        (lambda asked: better(asked) + "还应当注意，", "truncated"),
        (lambda asked: (better(asked), "length"), "no answer"),
    ],
)
def test_an_answer_that_changes_the_law_or_breaks_a_rule_is_not_taken(seat, serve, says, why):
    _, plain = go(seat, "plain")
    report, records = go(seat, "asked", rewrite_url=serve(says).url, rewrite_model="m")
    assert report.rewritten == {"asked": 3, why: 3} and records == plain


def test_a_wrong_address_key_or_model_stops_with_what_to_look_at(seat, serve):
    server = serve(better, fails=[401] * 20)
    with pytest.raises(StepError, match="answered 401: look at the address"):
        go(seat, "key", rewrite_url=server.url, rewrite_model="m")
    with pytest.raises(StepError, match="answered 404"):
        go(seat, "path", rewrite_url=server.url.removesuffix("/v1"), rewrite_model="m")
    for values, words in (
        ({"rewrite_url": "http://user:word@h/v1", "rewrite_model": "m"}, "without a name or password"),
        ({"rewrite_url": "http://h/v1"}, "rewrite_model is needed"),
        ({"rewrite_categories": ("statute",)}, "articles keep their own words"),
    ):
        with pytest.raises(StepError, match=words) as raised:
            clean.Params(items=seat / "items", output=seat, as_of=DAY, **values)
        assert "word@" not in str(raised.value)


def test_the_key_may_lie_in_a_private_file(seat):
    (seat / "var").mkdir()
    file = seat / "var" / rewrite.KEY_FILE
    assert rewrite.read_key() == ""
    file.write_text("from-file\n")
    file.chmod(0o644)
    with pytest.raises(StepError, match="chmod 600"):
        rewrite.read_key()
    file.chmod(0o600)
    assert rewrite.read_key() == "from-file"


def test_a_run_sends_the_key_to_no_host_that_the_installation_does_not_name(seat, serve, monkeypatch):
    monkeypatch.setenv(rewrite.KEY, "canary-key")
    monkeypatch.setenv("LEXLOOP_DAG_RUN", "manual__1")
    monkeypatch.setenv("LEXLOOP_PROFILE", str(seat / "own.yaml"))
    server = serve(better)
    (seat / "own.yaml").write_text("data.clean: {rewrite_url: 'https://llm.example/v1', rewrite_model: m}\n", "utf-8")
    with pytest.raises(StepError, match=f"{rewrite.KEY} is not sent to '127.0.0.1'"):
        go(seat, "one", rewrite_url=server.url, rewrite_model="m")
    assert not server.asked
    (seat / "own.yaml").write_text(f"data.clean: {{rewrite_url: '{server.url}', rewrite_model: m}}\n", "utf-8")
    assert go(seat, "two", rewrite_url=server.url, rewrite_model="m")[0].rewritten["rewritten"] == 3
