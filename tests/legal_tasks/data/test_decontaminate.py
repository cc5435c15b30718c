"""Exam leaks are found whatever surrounds them; what is taught on purpose is not accused."""

import json

import pytest

from legal_tasks.data.decontaminate import Exams, read_exams

STEM = "甲公司与乙公司签订河灯买卖合同，约定货到付款。甲公司交货后乙公司拒绝付款，甲公司可以主张什么？"
OPTIONS = ["请求支付价款", "请求确认合同无效"]


def exams(stem=STEM, options=OPTIONS):
    found = Exams()
    found.add("law", 7, stem, list(options))
    return found


def rules_of(found, text):
    return [(match.question.exam, match.question.line, match.rule) for match in found.matches(text)]


def test_an_option_rewritten_as_a_yes_no_item_is_found():
    text = f"请判断对错。{STEM}\n请求确认合同无效\n请给出推理过程。错误。"
    [match] = exams().matches(text)
    assert (match.question.exam, match.question.line) == ("law", 7) and match.score > 0.8


@pytest.mark.parametrize("order", [OPTIONS, OPTIONS[::-1]])
def test_the_order_of_the_options_hides_nothing(order):
    assert rules_of(exams(), STEM + "".join(order))


def test_a_stem_without_its_options_is_found():
    assert rules_of(exams(), f"{STEM}请分析。乙公司应当付款。") == [("law", 7, "stem")]


def test_a_slightly_reworded_question_is_found():
    text = STEM.replace("签订", "订立") + "请求支付价款"
    assert [rule for *_, rule in rules_of(exams(), text)] == ["reworded"]


def test_another_question_of_the_same_subject_is_not():
    assert not rules_of(exams(), "甲公司与乙公司签订河灯买卖合同，乙公司收货后发现质量不合格，能否退货？可以解除合同。")


def test_the_text_of_a_statute_is_no_leak():
    law = "放河灯的单位应当在三日以前向河道主管机关备案，未备案的处一百元以上一千元以下罚款。"
    found = exams("下列说法正确的是", [law])
    assert rules_of(found, f"根据规定，下列说法正确的是{law}")
    found.exempt([law])
    assert not rules_of(found, f"根据规定，下列说法正确的是{law}")
    own = exams(STEM, [law])
    own.exempt([law])
    assert rules_of(own, STEM + law) and not rules_of(own, law)


def test_what_cannot_be_asked_is_kept_out_too_and_stock_files_are_read(tmp_path):
    folder = tmp_path / "exams" / "ceval" / "ceval-exam"
    folder.mkdir(parents=True)
    (folder / "law_val.csv").write_text(f"id,question,A,B,C,D,answer\n0,{STEM},请求支付价款,乙,丙,丁,A\n", "utf-8")
    row = {"exam": "e", "line": 3, "question": "孔" + STEM, "options": []}
    (tmp_path / "exam_questions.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    lines = [match.question.line for match in read_exams(tmp_path).matches("孔" + STEM + "请求支付价款")]
    assert lines == [3, 1]
