"""The judge is asked in both orders over HTTP; what follows the order, or cannot be read, is no win."""

import json
import re

import pytest

pytest.importorskip("openai")
pytest.importorskip("scipy")

from legal_tasks.evaluation import judge  # noqa: E402
from legal_tasks.evaluation.endpoint import Endpoint  # noqa: E402
from legal_tasks.evaluation.items import write_lines  # noqa: E402
from legal_tasks.step import StepError, main  # noqa: E402
from tests.legal_tasks.evaluation.exam import make_item  # noqa: E402
from tests.plugins.servers import http_server  # noqa: E402

FACTS = {"points": [], "charges": ["盗窃罪"], "articles": ["刑法 264"]}


def said(text, finish="stop"):
    message = {"role": "assistant", "content": text}
    return json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "judge", "choices": [
        {"index": 0, "message": message, "finish_reason": finish}]})  # fmt: skip


def prefer(better):
    """A judge who prefers the answers that hold `better`; the last verdict counts."""

    def answer(method, path, body):
        text = json.loads(body)["messages"][-1]["content"]
        first, second = re.findall(r"开始】\n(.*?)\n【回答.结束】", text, re.S)
        verdict = "C" if (better in first) == (better in second) else "A" if better in first else "B"
        return 200, said(f"也许是 [[C]]，但理由充分的更好。\n[[{verdict}]]")

    return answer


def rows(*answers):
    return [
        {"id": f"case-{n}", "kind": "analysis", "answer": text, "picked": "answered", "correct": 1}
        for n, text in enumerate(answers)
    ]


ITEMS = {f"case-{n}": make_item(n, "case", "analysis", reference=FACTS, options=None, id=f"case-{n}") for n in range(3)}


def ask(answer, new, old):
    with http_server(answer) as (port, seen):
        endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", "judge", judge.KEY_NAME, together=1)
        return judge.compare(endpoint, ITEMS, rows(*new), rows(*old)), seen


def test_an_answer_wins_only_where_it_is_preferred_in_both_orders():
    lines, _ = ask(prefer("盗窃罪"), ["盗窃罪", "无罪", "无罪"], ["无罪", "盗窃罪", "不知道"])
    assert [line["outcome"] for line in lines] == ["win", "loss", "tie"]
    assert judge.summarise(lines) == {"n": 3, "win": 1, "loss": 1, "tie": 1, "unread": 0, "turned": 0, "p": 1.0}


def test_a_judge_who_always_prefers_the_first_makes_ties_and_they_are_counted():
    lines, _ = ask(lambda *_: (200, said("甲更好。[[A]]")), ["盗窃罪"] * 3, ["无罪"] * 3)
    assert judge.summarise(lines) == {"n": 3, "win": 0, "loss": 0, "tie": 3, "unread": 0, "turned": 3, "p": 1.0}


def test_an_answer_without_a_verdict_is_counted_and_not_guessed():
    lines, _ = ask(lambda *_: (200, said("两个回答都不错。")), ["a", "b", "c"], ["d", "e", "f"])
    assert judge.summarise(lines)["unread"] == 3


def test_the_judge_sees_question_reference_and_both_answers_in_both_orders(monkeypatch):
    monkeypatch.setenv(judge.KEY_NAME, "k-123")
    _, seen = ask(prefer("x"), ["甲答", "", ""], ["乙答", "", ""])
    texts = [json.loads(request["body"])["messages"][0]["content"] for request in seen]
    assert len(texts) == 6
    forward, backward = texts[0], texts[3]
    assert ITEMS["case-0"]["question"] in forward and "罪名：盗窃罪" in forward and "法条：刑法 264" in forward
    assert forward.index("甲答") < forward.index("乙答") and backward.index("乙答") < backward.index("甲答")
    assert seen[0]["path"] == "/v1/chat/completions"
    keys = {value for request in seen for name, value in request["headers"].items() if name.lower() == "authorization"}
    assert keys == {"Bearer k-123"}


def test_a_sign_test_tells_whether_the_wins_are_luck():
    lines = [{"outcome": "win", "forward": "A", "backward": "B"}] * 8 + [{"outcome": "loss", "forward": "B", "backward": "A"}]
    assert judge.summarise(lines)["p"] == pytest.approx(2 * 10 / 2**9)  # 8 or 9 of 9: (9 + 1) of 512, on both sides


def evaluation(folder):
    """What the harness leaves of one suite of analyses, for base and challenger."""
    (folder / "items").mkdir(parents=True)
    write_lines(folder / "items" / "lecard.jsonl", ITEMS.values())
    for role, text in (("base", "无罪"), ("challenger", "盗窃罪")):
        (folder / role).mkdir()
        write_lines(folder / role / "lecard.jsonl", [row | {"ended": True, "points": None} for row in rows(text, text, "同")])
    about = {"lecard": {"origin": "sources", "kind": "analysis", "embedded": False}}
    (folder / "summary.json").write_text(json.dumps({"suites": about, "how": {}}))
    return folder


def test_compare_tells_the_judges_verdicts_beside_the_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    folder = evaluation(tmp_path / "evaluation")
    with http_server(prefer("盗窃罪")) as (port, _):
        arguments = ["--evaluation", str(folder), "--judge", f"http://127.0.0.1:{port}/v1", "--judge-model", "judge"]
        assert main("legal_tasks.evaluation.compare", [*arguments, "--output", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())["judge"]
    assert (found["model"], found["against"]) == ("judge", "base")
    assert {key: found["suites"]["lecard"][key] for key in ("win", "loss", "tie")} == {"win": 2, "loss": 0, "tie": 1}
    assert len((tmp_path / "out" / "judged.jsonl").read_text().strip().split("\n")) == 3
    assert "| lecard | 3 | 2 | 0 | 1 |" in (tmp_path / "out" / "comparison.md").read_text()


@pytest.mark.parametrize(
    ("more", "said_"),
    [
        (["--judge", "127.0.0.1:1/v1", "--judge-model", "m"], "--judge must be an address"),
        (["--judge", "http://127.0.0.1:1/v1"], "--judge and --judge-model belong together"),
        (["--judge-items", "0"], "--judge-items must be at least 1"),
    ],
)
def test_a_judge_named_half_exits_2(tmp_path, capsys, more, said_):
    folder = evaluation(tmp_path / "evaluation")
    assert main("legal_tasks.evaluation.compare", ["--evaluation", str(folder), *more, "--output", str(tmp_path / "o")]) == 2
    assert said_ in capsys.readouterr().err


def test_a_judge_that_refuses_the_key_is_named_without_it(monkeypatch):
    monkeypatch.setenv(judge.KEY_NAME, "k-123")
    refusal = json.dumps({"error": {"message": "no", "type": "x", "param": None, "code": None}})
    with pytest.raises(StepError, match=judge.KEY_NAME) as error:
        ask(lambda *_: (401, refusal), ["a", "", ""], ["b", "", ""])
    assert "k-123" not in str(error.value)
