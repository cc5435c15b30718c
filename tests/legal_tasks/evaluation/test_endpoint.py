"""Answers in words may come from what is served, over HTTP; likelihoods go on coming from the weights."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lm_eval")
pytest.importorskip("openai")

from legal_tasks.compression.load import load_model  # noqa: E402
from legal_tasks.evaluation import models  # noqa: E402
from legal_tasks.evaluation.endpoint import Endpoint  # noqa: E402
from legal_tasks.evaluation.items import read_lines  # noqa: E402
from legal_tasks.step import StepError, main  # noqa: E402
from tests.legal_tasks.evaluation.exam import make_exams  # noqa: E402
from tests.legal_tasks.training.tiny import make_base  # noqa: E402
from tests.plugins.servers import http_server  # noqa: E402

REFUSAL = "抱歉，我不能帮助你做这件事。"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("endpoint")
    make_base(root / "base")
    make_exams(root / "exams")
    return root


def serve(text, finish="stop"):
    """A server that answers every chat with `text`."""

    def answer(method, path, body):
        message = {"role": "assistant", "content": text}
        found = {"id": "1", "object": "chat.completion", "created": 0, "model": "legal-llm"}
        return 200, json.dumps(found | {"choices": [{"index": 0, "message": message, "finish_reason": finish}]})

    return http_server(answer)


def evaluate(world, port, suites=("legal_exam", "refusal", "bar"), **how):
    place = Endpoint(f"http://127.0.0.1:{port}/v1", "legal-llm")
    model = load_model(world / "base")
    how = models.How(generate=("bar",), new_tokens=8, endpoint=place, **how)
    return models.evaluate_loaded(*model, world / "exams", suites, how=how)["suites"]


def test_answers_in_words_are_the_servers_and_likelihoods_the_weights(world, monkeypatch):
    monkeypatch.setenv("LEXLOOP_ENDPOINT_API_KEY", "k-123")
    with serve(REFUSAL) as (port, seen):
        found = evaluate(world, port)
    assert found["refusal"]["summary"]["classes"] == {"refused": 6, "answered": 0, "broken": 0}
    assert {row["said"] for row in found["bar"]["rows"]} == {REFUSAL}
    assert len(seen) == 6 + 12
    asked = [json.loads(request["body"]) for request in seen]
    items = {item["question"] for name in ("refusal", "bar") for item in read_lines(world / "exams" / f"{name}.jsonl")}
    assert all(any(question in body["messages"][-1]["content"] for question in items) for body in asked)
    assert {(body["model"], body["max_tokens"], body["temperature"]) for body in asked} == {("legal-llm", 8, 0)}
    keys = {value for request in seen for name, value in request["headers"].items() if name.lower() == "authorization"}
    assert keys == {"Bearer k-123"}
    alone = models.evaluate_loaded(*load_model(world / "base"), world / "exams", ("legal_exam",))["suites"]
    assert [row["scores"] for row in found["legal_exam"]["rows"]] == [row["scores"] for row in alone["legal_exam"]["rows"]]


def test_an_answer_that_the_server_cut_is_unfinished(world):
    with serve("我认为", "length") as (port, _):
        found = evaluate(world, port, ("refusal",))
    assert found["refusal"]["summary"]["unfinished"] == 6
    with serve("我认为") as (port, _):
        assert evaluate(world, port, ("refusal",))["refusal"]["summary"]["unfinished"] == 0


def test_letters_are_read_out_of_served_answers(world):
    with serve("答案：A") as (port, _):
        found = evaluate(world, port, ("bar",))["bar"]
    assert [row["picked"] for row in found["rows"]] == [["A"]] * 12
    assert found["summary"]["accuracy"] == 0.5  # every second item's answer is A


def test_the_harness_asks_the_endpoint_for_the_challenger_alone(world, tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("LEXLOOP_STORE", str(tmp_path / "store"))
    with serve(REFUSAL) as (port, seen):
        arguments = [f"--challenger={world / 'base'}", f"--base={world / 'base'}", f"--items={world / 'exams'}", "--threads=1"]
        arguments += [
            "--free-answers=0",
            "--new-tokens=4",
            f"--endpoint=http://127.0.0.1:{port}/v1",
            "--endpoint-model=legal-llm",
            "--champion=none",
        ]
        assert main("legal_tasks.evaluation.harness", [*arguments, f"--output={tmp_path / 'out'}"]) == 0
    answers = {
        role: {row["answer"] for row in read_lines(tmp_path / "out" / role / "refusal.jsonl")} for role in ("base", "challenger")
    }
    assert answers["challenger"] == {REFUSAL} and REFUSAL not in answers["base"]
    assert len(seen) == 12  # refusal and over_refusal, six each


def test_an_endpoint_that_does_not_answer_is_named_with_its_address(world):
    error = json.dumps({"error": {"message": "no such model", "type": "x", "param": None, "code": None}})
    with http_server(lambda *_: (404, error)) as (port, _), pytest.raises(StepError, match=f"http://127.0.0.1:{port}/v1 did not"):
        evaluate(world, port, ("refusal",))


def test_a_run_sends_the_key_to_no_host_that_the_installation_does_not_name(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_ENDPOINT_API_KEY", "k-123")
    monkeypatch.setenv("LEXLOOP_DAG_RUN", "manual__1")
    profile = tmp_path / "own.yaml"
    monkeypatch.setenv("LEXLOOP_PROFILE", str(profile))
    chat = [{"role": "user", "content": "问"}]
    with serve("答") as (named, welcome), serve("答") as (other, seen):
        profile.write_text(
            f"evaluation.harness: {{endpoint: 'http://127.0.0.1:{named}/v1', endpoint_model: m}}\n", encoding="utf-8"
        )
        assert [answer.text for answer in Endpoint(f"http://127.0.0.1:{named}/v1", "m").ask([chat], 8)] == ["答"]
        with pytest.raises(StepError, match="LEXLOOP_ENDPOINT_API_KEY is not sent to '127.0.0.1'"):
            Endpoint(f"http://127.0.0.1:{other}/v1", "m").ask([chat], 8)
        monkeypatch.delenv("LEXLOOP_ENDPOINT_API_KEY")
        Endpoint(f"http://127.0.0.1:{other}/v1", "m").ask([chat], 8)  # nothing to give away
    assert len(welcome) == 1 and len(seen) == 1
