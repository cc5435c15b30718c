"""Exam leaks are found whatever surrounds them; what is taught on purpose is not accused."""

import json

from legal_tasks.data.decontaminate import read_exams

STEM = "甲公司与乙公司签订河灯买卖合同，约定货到付款。甲公司交货后乙公司拒绝付款，甲公司可以主张什么？"
ITEM = {"id": "1", "question": STEM, "options": {"A": "请求支付价款", "B": "请求确认合同无效"}, "answer": ["A"]}


def exams(tmp_path, **changes):
    (tmp_path / "exams").mkdir()
    (tmp_path / "exams" / "law.jsonl").write_text(json.dumps(ITEM | changes, ensure_ascii=False) + "\n", "utf-8")
    return read_exams(tmp_path / "exams")


def test_an_option_rewritten_as_a_yes_no_item_is_found(tmp_path):
    text = f"请判断对错。{STEM}\n请求确认合同无效\n请给出推理过程。错误。"
    [(question, score)] = exams(tmp_path).matches(text)
    assert (question.exam, question.line) == ("law", 1) and score > 0.8


def test_another_question_of_the_same_subject_is_not(tmp_path):
    assert not list(
        exams(tmp_path).matches("甲公司与乙公司签订河灯买卖合同，乙公司收货后发现质量不合格，能否退货？可以解除合同。")
    )


def test_seen_wordings_are_taught_on_purpose(tmp_path):
    assert not list(exams(tmp_path, wording="seen").matches(STEM + "请求支付价款"))


def test_stock_files_are_read(tmp_path):
    folder = tmp_path / "exams" / "ceval" / "ceval-exam"
    folder.mkdir(parents=True)
    (folder / "law_val.csv").write_text(f"id,question,A,B,C,D,answer\n0,{STEM},请求支付价款,乙,丙,丁,A\n", "utf-8")
    assert [question.line for question, _ in read_exams(tmp_path / "exams").matches(STEM + "请求支付价款")] == [1]
