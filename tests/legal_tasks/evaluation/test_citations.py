import datetime

import pytest

pytest.importorskip("cn2an")

from legal_tasks.data.statutes import Law, write_store  # noqa: E402
from legal_tasks.evaluation.citations import judge_answers  # noqa: E402

DAY = datetime.date(2026, 11, 1)


def count(tmp_path, *answers):
    articles = {str(number): f"第{number}个条文的内容" for number in range(1, 11)}
    write_store(tmp_path / "s.jsonl", [Law("云州市条例", "2024-06-01", "2024-06-01", "s", articles)])
    return judge_answers([{"id": str(n), "answer": text} for n, text in enumerate(answers)], tmp_path / "s.jsonl", DAY)


def test_answers_count_as_citing_where_the_store_could_check_an_article(tmp_path):
    found = count(
        tmp_path,
        "依《云州市条例》第三条、第四条。",
        "依《云州市条例》。",  # a law without an article
        "依《某市办法》第三条。",  # a law that nobody holds
        "三十日。",
    )
    assert found == {"answers": 4, "citations": 4, "checked": 3, "citing": 1, "wrong": {}, "examples": []}


def test_wrong_citations_are_named_with_their_answer(tmp_path):
    found = count(tmp_path, "依《云州市条例》第九百条。", "依《合同法》第五十二条。")
    assert found["wrong"] == {"repealed": 1, "no such article": 1} and found["citing"] == 2
    assert found["examples"][0].startswith("0: 《云州市条例》第900条")


def test_a_law_called_a_former_one_is_no_citation_to_stand_on(tmp_path):
    found = count(tmp_path, "原《合同法》第五十二条曾有规定。")
    assert (found["checked"], found["citing"], found["wrong"]) == (1, 0, {})


def test_no_answer_is_no_citation(tmp_path):
    assert count(tmp_path) == {"answers": 0, "citations": 0, "checked": 0, "citing": 0, "wrong": {}, "examples": []}
