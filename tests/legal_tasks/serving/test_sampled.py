"""Sampled answers: which questions are asked, what counts as right, and what is written of it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from legal_tasks.evaluation.gate import read_proof
from legal_tasks.serving import prove, sampled
from legal_tasks.step import StepError
from legal_tasks.tracking import flatten

OPTIONS = {"A": "公安机关", "B": "税务机关", "C": "海关", "D": "法院"}


def write_suite(folder, name, count, kind="choice"):
    item = {"question": "旅馆由谁主管？", "source": "own", "category": "law", "cluster": "c", "kind": kind}
    item |= {"options": OPTIONS, "answer": ["A"]} if kind == "choice" else {"reference": "r"}
    lines = [
        json.dumps({**item, "id": f"{name}-{n}", "question": f"第{n}问：旅馆由谁主管？"}, ensure_ascii=False)
        for n in range(count)
    ]
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def test_the_domains_exam_is_asked_evenly_and_as_it_is_evaluated(tmp_path):
    write_suite(tmp_path, "legal_exam", 100)
    write_suite(tmp_path, "general", 100)
    found = sampled.questions(tmp_path, (), ("legal_exam",), 4)
    assert [doc["id"] for doc, _ in found] == ["legal_exam-0", "legal_exam-25", "legal_exam-50", "legal_exam-75"]
    assert found[0][1] == [{"role": "user", "content": "第0问：旅馆由谁主管？"}], "without its options"
    ((_, chat),) = sampled.questions(tmp_path, ("general",), (), 1)
    assert "A. 公安机关" in chat[0]["content"] and chat[0]["content"].endswith("字母。")
    with pytest.raises(StepError, match="--suites bar: .*general, legal_exam"):
        sampled.questions(tmp_path, ("bar",), (), 4)


@pytest.mark.parametrize(
    ("form", "answer", "right"),
    [
        ("text", "由公安机关主管。", True),
        ("text", "由税务机关主管。", False),
        ("text", "公安机关或者海关。", False),
        ("text", "不知道", False),
        ("text", "", False),
        ("generate", "A", True),
        ("generate", "答案是B", False),
    ],
)
def test_an_answer_is_right_that_commits_to_the_right_option_alone(form, answer, right):
    assert sampled.right({"options": OPTIONS, "answer": ["A"], "form": form}, answer) is right


class Speaker(ThreadingHTTPServer):
    """Right as by default, right at 0.7 where the seed is even, wrong at 1.0."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Speaking)
        self.bodies = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Speaking(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        good = {None: True, 0.7: body.get("seed", 0) % 2 == 0, 1.0: False}[body.get("temperature")]
        said = json.dumps({"choices": [{"message": {"content": "公安机关" if good else "海关"}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


def test_each_temperature_has_its_share_with_its_interval(tmp_path):
    write_suite(tmp_path / "exams", "legal_exam", 20)
    server = Speaker()
    try:
        asked = sampled.questions(tmp_path / "exams", (), ("legal_exam",), 60)
        found = sampled.measure(f"http://127.0.0.1:{server.server_address[1]}", "key", asked, seed=100)
    finally:
        server.shutdown()
        server.server_close()
    assert [(row["temperature"], row["right"], row["n"]) for row in found["rows"]] == [
        (None, 20, 20),
        (0.7, 10, 20),
        (1.0, 0, 20),
    ]
    # Wilson's interval of 10 in 20 (R: prop.test(10, 20, correct = FALSE)): 0.2993 to 0.7007.
    assert (found["rows"][1]["low"], found["rows"][1]["high"]) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert sorted({body["seed"] for body in server.bodies if "seed" in body}) == list(range(100, 120))
    plain = [body for body in server.bodies if "temperature" not in body]
    assert len(plain) == 20 and all(list(body) == ["model", "messages", "max_tokens"] for body in plain), "the README's body"
    assert "| temperature 0.7 | 10 of 20 right, 50 % [30 %, 70 %] |" in sampled.table(found)
    metrics = flatten({"sampled": sampled.by_name(found["rows"])})
    assert metrics["sampled.temperature_0_7.share"] == 0.5 and metrics["sampled.default.right"] == 20
    (tmp_path / "sampled.json").write_text(json.dumps(found))
    assert read_proof(tmp_path)["sampled"]["temperature 1"] == "0 of 20 right, 0 % [0 %, 16 %]"


def test_a_number_of_questions_below_nought_is_named(tmp_path):
    with pytest.raises(StepError, match="--sampled"):
        prove.Params(tmp_path, tmp_path, tmp_path, sampled=-1)
