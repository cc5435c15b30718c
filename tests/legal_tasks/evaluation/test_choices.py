import pytest

from legal_tasks.evaluation import choices
from legal_tasks.evaluation.items import write_lines
from legal_tasks.step import StepError
from tests.legal_tasks.evaluation.exam import make_item


def doc(form="letters", several=False, answer="B", end="<|end|>"):
    item = make_item(1, answer=answer) | {"question": "哪项正确？", "options": {"A": "甲", "B": "乙", "C": "丙"}}
    return item | {"form": form, "several": several, "end": end}


def test_letters_stand_in_the_prompt_and_are_the_answers():
    assert choices.question(doc()) == "哪项正确？\nA. 甲\nB. 乙\nC. 丙\n" + choices.ASK_ONE
    assert choices.answers(doc()) == ["A<|end|>", "B<|end|>", "C<|end|>"]
    assert choices.target(doc()) == 1


def test_texts_do_not_stand_in_the_prompt():
    assert choices.question(doc("text")) == "哪项正确？"
    assert choices.answers(doc("text")) == ["甲<|end|>", "乙<|end|>", "丙<|end|>"]


def test_several_right_options_are_a_set_of_letters():
    asked = doc(several=True, answer="AC")
    assert [answer.removesuffix("<|end|>") for answer in choices.answers(asked)] == ["A", "B", "C", "AB", "AC", "BC", "ABC"]
    assert choices.target(asked) == 4


@pytest.mark.parametrize(
    ("best", "expected"),
    [(4, (["A", "C"], 1, 1.0)), (0, (["A"], 0, 0.5)), (3, (["A", "B"], 0, 0.0)), (6, (["A", "B", "C"], 0, 0.0))],
)
def test_partial_credit_is_apart_and_lost_by_a_wrong_letter(best, expected):
    scores = [-9.0] * 7
    scores[best] = -1.0
    verdict = choices.judge(doc(several=True, answer="AC"), scores)
    assert (verdict["picked"], verdict["correct"], verdict["partial"]) == expected


def test_chance_is_that_of_the_possible_answers():
    assert choices.chance([doc()]) == pytest.approx(1 / 3)
    assert choices.chance([doc(several=True)]) == pytest.approx(1 / 7)
    assert choices.chance([doc("text", answer="AB")]) == pytest.approx(2 / 3)


def test_every_item_of_a_suite_is_asked_alike_and_only_its_test_items(tmp_path):
    items = [make_item(0), make_item(1, answer="AB"), make_item(2, split="dev")]
    write_lines(tmp_path / "bar.jsonl", items)
    docs = choices.read(str(tmp_path), "bar")["test"]
    assert [(item["id"], item["several"]) for item in docs] == [("legal_exam-0", True), ("legal_exam-1", True)]


def test_a_limit_is_spread_over_the_file(tmp_path):
    write_lines(tmp_path / "bar.jsonl", [make_item(n) for n in range(10)])
    docs = choices.read(str(tmp_path), "bar", limit=3)["test"]
    assert [item["id"] for item in docs] == ["legal_exam-0", "legal_exam-3", "legal_exam-6"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": ["E"]}, "must name options"),
        ({"kind": "quiz"}, "kind must be"),
        ({"question": " "}, "needs an id and a question"),
    ],
)
def test_an_item_that_cannot_be_scored_is_refused_with_its_place(tmp_path, change, said):
    write_lines(tmp_path / "bar.jsonl", [make_item(0), make_item(1) | change])
    with pytest.raises(StepError, match=f"line 2.*{said}"):
        choices.read(str(tmp_path), "bar")


def test_a_doubled_id_is_refused(tmp_path):
    write_lines(tmp_path / "bar.jsonl", [make_item(0), make_item(0)])
    with pytest.raises(StepError, match="occurs twice"):
        choices.read(str(tmp_path), "bar")
