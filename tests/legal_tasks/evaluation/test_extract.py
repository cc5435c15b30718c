import pytest

from legal_tasks.evaluation.extract import flexible, strict

OPTIONS = {"A": "有效", "B": "无效", "C": "可撤销", "D": "效力待定"}


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("B", "B"),
        (" b ", ""),
        ("答案：ACD。", "ACD"),
        ("正确答案是 A、C", "AC"),
        ("（D）", "D"),
        ("应选择B", "B"),
        ("Ｂ", "B"),
        ("B，因为合同违法", ""),
        ("本题选B", ""),
        ("E", ""),
        ("", ""),
    ],
)
def test_strictly_an_answer_is_letters_and_nothing_else(answer, letters):
    assert strict(answer, OPTIONS) == list(letters)


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("B，因为合同违法", "B"),
        ("B. 无效", "B"),
        ("本题选B", "B"),
        ("A项错误，合同并非有效。综上，本题答案为B、C。", "BC"),
        ("答案是A。不对，重新考虑后答案是D", "D"),
        ("该合同无效。", "B"),
        ("合同有效还是无效，看情况。", ""),
        ("我不知道。", ""),
        ("答案：E", ""),
        ("ABB公司与CCC公司签约", ""),
        ("DNA鉴定可以作为证据", ""),
    ],
)
def test_flexibly_an_answer_is_what_it_commits_to(answer, letters):
    assert flexible(answer, OPTIONS) == list(letters)
