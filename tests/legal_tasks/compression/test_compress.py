"""The whole step on a tiny model: four formats, their table and their paired answers."""

import dataclasses
import json

import pytest

from legal_tasks.compression import compress
from legal_tasks.compression.load import load_tokenizer
from legal_tasks.step import StepError
from tests.legal_tasks.training.tiny import make_exam, make_record


@pytest.fixture
def params(model, split, tmp_path):
    (tmp_path / "output").mkdir()
    exams = make_exam(tmp_path / "collect", items=40)
    return compress.Params(
        model=model, data=split, output=tmp_path / "output", exams=exams, samples=32, max_length=128, threads=1
    )


def test_every_format_is_made_measured_and_compared(params):
    report = compress.run(params)
    output = params.output
    assert {path.name for path in output.iterdir()} == {
        "gptq-act-order", "gptq", "model-q4_0.gguf", "tokenizer", "evaluation", "table.json", "table.md",
    }  # fmt: skip
    rows = json.loads((output / "table.json").read_text("utf-8"))["rows"]
    assert [row["format"] for row in rows] == ["merged", "gptq-act-order", "gptq", "gguf"]
    merged = rows[0]
    for row in rows:
        answers = [
            json.loads(line)
            for line in (output / "evaluation" / row["format"] / "legal_exam.jsonl").read_text("utf-8").strip().split("\n")
        ]
        assert len(answers) == row["n"] == 40
        assert row["accuracy"] == sum(answer["correct"] for answer in answers) / 40
        assert row["loss"] == pytest.approx((merged["accuracy"] - row["accuracy"]) / merged["accuracy"])
        assert row["perplexity"] == pytest.approx(merged["perplexity"], rel=0.1)
        assert row["format"] == "merged" or row["size_bytes"] < merged["size_bytes"] / 3
    assert report.loss_gguf == rows[3]["loss"] and report.loss_gptq == rows[2]["loss"]
    assert report.suites == ["legal_exam"] and report.calibration_chats == 32
    assert report.gguf_agreement["chats"] == 32


def test_chats_that_repeat_an_exam_question_are_not_calibrated_on(params):
    _, _, questions = compress.exam_questions(params)
    assert len(questions) == 40
    tokenizer = load_tokenizer(params.model)
    every = dataclasses.replace(params, samples=1000)
    asked = make_record(5)
    planted = {compress.squeeze(asked["instruction"])}
    chats, left_out = compress.choose_chats(every, tokenizer, planted)
    assert left_out == 1 and len(chats) == 63
    assert all(asked["instruction"] not in chat[0]["content"] for chat in chats)
    with pytest.raises(StepError, match="64 repeat exam questions"):
        compress.choose_chats(every, tokenizer, {compress.squeeze(make_record(n)["instruction"]) for n in range(64)})


def test_a_training_set_that_holds_exam_items_is_refused(params, tmp_path):
    exam = params.exams / "exams" / "legal_exam.jsonl"
    item = json.loads(exam.read_text("utf-8").strip().split("\n")[0])
    item["question"] = "出租人与承租人订立的租赁合同期限为二十五年，超过法律规定的最长期限的部分，下列说法正确的是哪一项？"
    exam.write_text(exam.read_text("utf-8") + json.dumps(item, ensure_ascii=False) + "\n", "utf-8")
    split = tmp_path / "leaking"
    split.mkdir()
    leak = make_record(1) | {"instruction": item["question"] + item["options"]["A"]}
    article = leak | {"provenance": leak["provenance"] | {"derived": True}}
    for records in ([make_record(2), article], [make_record(2), leak]):
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        (split / "train.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        leaking = dataclasses.replace(params, data=split, samples=8)
        if records[1] is article:
            assert len(compress.choose_chats(leaking, load_tokenizer(params.model), set())[0]) == 2
        else:
            with pytest.raises(StepError, match=r"1 of 2 training chats hold exam questions .*r1, legal_exam line 41"):
                compress.choose_chats(leaking, load_tokenizer(params.model), set())


def test_the_choice_of_chats_is_seeded(params):
    tokenizer = load_tokenizer(params.model)
    first, _ = compress.choose_chats(params, tokenizer, set())
    assert first == compress.choose_chats(params, tokenizer, set())[0]
    assert first != compress.choose_chats(dataclasses.replace(params, seed=1), tokenizer, set())[0]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("bits", 3, "--bits"),
        ("group_size", 100, "--group-size"),
        ("damping", 0.0, "--damping"),
        ("samples", 0, "--samples"),
        ("limit", 0, "--limit"),
        ("gguf", ("q2_k",), "--gguf"),
    ],
)
def test_a_bad_value_names_its_option(params, name, value, said):
    with pytest.raises(StepError, match=said):
        dataclasses.replace(params, **{name: value})


def test_a_missing_suite_or_model_is_named(params, tmp_path):
    with pytest.raises(StepError, match="--suites other"):
        compress.run(dataclasses.replace(params, suites=("other",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(StepError, match=r"holds no config\.json"):
        compress.run(dataclasses.replace(params, model=tmp_path / "empty"))
