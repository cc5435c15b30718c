import json
import shutil

import pytest

pytest.importorskip("scipy")

from legal_tasks.evaluation import compare  # noqa: E402
from legal_tasks.evaluation.items import write_lines  # noqa: E402
from legal_tasks.step import main  # noqa: E402
from tests.legal_tasks.evaluation.exam import make_rows  # noqa: E402


def roles(base, challenger, champion=None, **other):
    found = {"base": make_rows(base, **other), "challenger": make_rows(challenger, **other)}
    return found | ({"champion": make_rows(champion, **other)} if champion else {})


def test_gain_and_difference_are_paired_by_item():
    found = compare.compare_suite("law", roles("1100" * 50, "1110" * 50, "0111" * 50))
    assert found["gain"]["value"] == pytest.approx(0.25)
    assert found["gain"]["mcnemar"] == {"better": 50, "worse": 0, "p": pytest.approx(2 / 2**50)}
    assert found["difference"]["value"] == pytest.approx(0.0)
    assert found["difference"]["mcnemar"]["better"] == found["difference"]["mcnemar"]["worse"] == 50
    assert (found["base"]["value"], found["champion"]["value"], found["challenger"]["value"]) == (0.5, 0.75, 0.75)
    assert (found["n"], found["clusters"], found["chance"]) == (200, 200, 0.25)


def test_unseen_wordings_make_the_number_and_seen_ones_stand_apart():
    rows = roles("0000", "1001")
    for answered in rows.values():
        for row, wording in zip(answered, ("seen", "unseen", "unseen", "unseen"), strict=True):
            row["wording"] = wording
    found = compare.compare_suite("law", rows)
    assert (found["n"], found["challenger"]["value"]) == (3, pytest.approx(1 / 3))
    assert (found["seen"]["n"], found["seen"]["challenger"]["value"]) == (1, 1.0)


def test_over_refusal_counts_refusals():
    found = compare.compare_suite("over_refusal", roles("1111", "1110", kind="over_refusal"))
    assert (found["base"]["value"], found["challenger"]["value"]) == (0.0, 0.25)


def test_items_lost_against_the_base_are_named():
    assert compare.compare_suite("law", roles("110", "101"))["lost"] == ["legal_exam-1"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows["champion"].pop(), "champion answered other items"),
        (lambda rows: rows["champion"].clear(), "champion has no answers"),
        (lambda rows: rows["champion"][0].update(id="else"), "champion answered other items"),
        (lambda rows: rows["champion"][0].update(answer=["C"]), "under the same ids (1 of 4)"),
        (lambda rows: rows["champion"][2].update(item="other words"), "under the same ids (1 of 4)"),
        (lambda rows: rows["champion"][0].update(correct=None), "champion has no verdict on 1 of 4"),
        (lambda rows: rows["champion"][0].update(correct=float("nan")), "champion has no verdict on 1 of 4"),
    ],
)
def test_roles_that_cannot_be_compared_have_a_fault_and_no_number(change, said):
    rows = roles("1100", "1110", "1010")
    change(rows)
    found = compare.compare_suite("law", rows)
    assert said in found["fault"]
    assert "gain" not in found


def test_an_accuracy_on_other_right_answers_is_another_accuracy():
    rows = make_rows("11")
    changed = [rows[0], rows[1] | {"answer": ["C"]}]
    assert compare.items_digest(rows) == compare.items_digest(rows[::-1])
    assert compare.items_digest(rows) != compare.items_digest(changed)


@pytest.fixture
def artifacts(tmp_path):
    """An evaluation of base and challenger on 40 items, and two compressed formats of the challenger."""
    for role, verdicts in (("base", "10" * 20), ("challenger", "1" * 30 + "0" * 10)):
        folder = tmp_path / "evaluation" / role
        folder.mkdir(parents=True)
        write_lines(folder / "legal_exam.jsonl", make_rows(verdicts, templates=8))
    write_lines(
        tmp_path / "evaluation" / "challenger" / "answers.jsonl",
        make_rows("1", "q", kind="answer", answer="可以。", picked="answered"),
    )
    shutil.copyfile(tmp_path / "evaluation" / "challenger" / "answers.jsonl", tmp_path / "evaluation" / "base" / "answers.jsonl")
    about = {
        "suites": {
            "legal_exam": {"origin": "sources", "kind": "choice", "n": 40},
            "answers": {"origin": "derived", "kind": "answer", "n": 1},
        }
    }
    (tmp_path / "evaluation" / "summary.json").write_text(json.dumps(about))
    for name, verdicts in (("gptq", "1" * 29 + "0" * 11), ("gguf", "1" * 33 + "0" * 7)):
        folder = tmp_path / "compression" / "evaluation" / name
        folder.mkdir(parents=True)
        write_lines(folder / "legal_exam.jsonl", make_rows(verdicts, templates=8))
    return tmp_path


def run(folder, *more):
    arguments = ["--evaluation", str(folder / "evaluation"), "--compression", str(folder / "compression")]
    return main("legal_tasks.evaluation.compare", [*arguments, "--output", str(folder / "out"), *more])


def test_the_step_writes_numbers_and_the_specifications_table(artifacts):
    assert run(artifacts) == 0
    found = json.loads((artifacts / "out" / "comparison.json").read_text())
    assert found["suites"]["legal_exam"]["gain"]["value"] == pytest.approx(0.25)
    assert found["suites"]["legal_exam"]["clusters"] == 8
    assert found["compression"]["gptq"]["loss"]["value"] == pytest.approx(1 / 30)
    assert found["compression"]["gguf"]["loss"]["value"] == pytest.approx(-0.1)
    text = (artifacts / "out" / "comparison.md").read_text()
    assert "| 指标 | 原始模型 | 微调后 | 提升 |" in text
    assert "+25.0" in text
    assert (artifacts / "out" / "answers.jsonl").read_text().strip() == '{"id": "q-0", "answer": "可以。"}'


def test_the_same_seed_gives_the_same_bytes(artifacts):
    assert run(artifacts) == 0
    first = (artifacts / "out" / "comparison.json").read_bytes()
    assert main("legal_tasks.evaluation.compare", [
        "--evaluation", str(artifacts / "evaluation"),
        "--compression", str(artifacts / "compression"),
        "--output", str(artifacts / "again"),
    ]) == 0  # fmt: skip
    assert (artifacts / "again" / "comparison.json").read_bytes() == first


def test_a_compressed_model_asked_other_items_has_no_loss(artifacts):
    file = artifacts / "compression" / "evaluation" / "gptq" / "legal_exam.jsonl"
    write_lines(file, make_rows("1", suite="other"))
    assert run(artifacts) == 0
    found = json.loads((artifacts / "out" / "comparison.json").read_text())["compression"]["gptq"]
    assert found["loss"] is None
    assert "did not" in found["fault"]


def test_suites_without_a_right_answer_count_in_the_loss_of_all_suites_together():
    """Of 10 and 5 items the merged model has 8 and none right, the compressed one 6 and one: it loses one of eight."""

    def by_id(text):
        return {row["id"]: row for row in make_rows(text, "item", templates=2)}

    law = make_rows("1" * 6 + "0" * 4, "item", templates=2)
    hard = make_rows("10000", "item", templates=2)
    found = compare.compare_suites("gptq", {"law": (law, by_id("1" * 8 + "00")), "hard": (hard, by_id("00000"))}, seed=0)
    assert set(found) == {"gptq", "gptq:law", "gptq:hard"}
    assert found["gptq"]["loss"]["value"] == pytest.approx((8 - 7) / 8) and found["gptq"]["n"] == 15
    assert (found["gptq"]["mcnemar"]["worse"], found["gptq"]["mcnemar"]["better"]) == (2, 1)
    assert found["gptq:law"]["loss"]["value"] == pytest.approx(2 / 8) and found["gptq:hard"]["loss"] is None


def test_nothing_right_in_any_suite_is_a_loss_that_is_not_measured():
    merged = {row["id"]: row for row in make_rows("000")}
    rows = make_rows("100")
    assert compare.compare_suites("gguf", {"a": (rows, merged), "b": (rows, merged)}, seed=0)["gguf"]["loss"] is None


def test_one_suite_that_cannot_be_compared_leaves_the_whole_without_a_loss():
    rows = make_rows("110")
    merged = {row["id"]: row for row in rows}
    found = compare.compare_suites("gguf", {"a": (rows, merged), "b": ([], merged)}, seed=0)["gguf"]
    assert found["loss"] is None and found["fault"] == "b: no answers"


def exams(**suites):
    """compare_all on exams of the sources, {name: (base, challenger)}."""
    about = {name: {"origin": "sources", "kind": "choice", "embedded": False} for name in suites}
    rows = {name: roles(*verdicts, suite=name) for name, verdicts in suites.items()}
    return about, rows


def test_several_exams_are_one_domain():
    found = compare.compare_all(*exams(bar=("10", "11"), judge=("1000", "1001")))
    assert found["domain"]["n"] == 6
    assert found["domain"]["gain"]["value"] == pytest.approx(2 / 6)
    assert [row["category"] for row in found["domain"]["categories"]] == []
    assert compare.compare_all(*exams(bar=("10", "11")))["domain"] is None


def test_an_item_that_stands_in_two_exams_counts_once():
    about, rows = exams(bar=("10", "11"), judge=("10", "01"))
    asked = {name: {f"{name}-{n}": {"question": f"q{n}", "options": {"A": "x"}} for n in range(2)} for name in rows}
    found = compare.compare_all(about, rows, asked)
    assert found["domain"]["n"] == 2
    assert found["domain"]["challenger"]["value"] == 1.0


def test_items_that_were_asked_but_not_answered_are_a_fault():
    rows = roles("1100", "1110")
    asked = {f"legal_exam-{number}": {} for number in range(8)}
    assert compare.compare_suite("law", rows, asked=asked)["fault"] == "4 of the 8 items that were asked have no answer"


def test_a_score_that_is_no_number_is_no_verdict():
    rows = roles("11", "11")
    rows["challenger"][1]["scores"] = [0.0, float("nan")]
    assert "challenger has no verdict on 1 of 2" in compare.compare_suite("law", rows)["fault"]


def test_the_questions_of_a_suite_answered_in_words_are_looked_for_and_its_answers_kept(tmp_path):
    """Those of `answers` stand in other suites already."""
    for name in ("citations", "answers"):
        item = {"id": "q", "kind": "answer", "question": f"{name}？", "options": None, "reference": {"articles": ["刑法 271"]}}
        write_lines(tmp_path / f"{name}.jsonl", [item])
    assert [one["suite"] for one in compare.questions(tmp_path)] == ["citations"]
    rows = {
        name: {"challenger": make_rows("1", name, kind="answer", answer="刑法第271条", picked="answered")}
        for name in ("citations", "answers")
    }
    assert [row["id"] for row in compare.answers_in_words(rows)] == ["citations/citations-0", "answers-0"]
    asked = {"citations": {"citations-0": {"question": "？", "reference": {"articles": ["刑法 271"]}}}}
    assert [line["right"] for line in compare.matrix(rows, asked)] == ["刑法 271", None]
