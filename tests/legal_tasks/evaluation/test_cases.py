import pytest

pytest.importorskip("cn2an")

from legal_tasks.evaluation import cases  # noqa: E402

REFERENCE = "被告人秘密窃取他人财物，数额较大。依照《中华人民共和国刑法》第二百六十四条，应当处三年以下有期徒刑。"


def test_a_reference_is_read_as_points_and_articles():
    found = cases.refer(REFERENCE, ["盗窃罪"])
    assert found["articles"] == ["刑法 264"]
    assert found["points"] == ["被告人秘密窃取他人财物，数额较大", "依照，应当处三年以下有期徒刑"]
    assert found["charges"] == ["盗窃罪"]


def test_charges_are_those_known_and_those_said_of_somebody():
    said = "被告人构成盗窃罪、抢劫罪，另以妨害公务罪处罚。他认罪态度好。"
    assert cases.charges(said, ["妨害公务罪"]) == ["妨害公务罪", "抢劫罪", "盗窃罪"]


def test_a_longer_charge_is_not_taken_for_the_shorter_one_in_it():
    assert cases.charges("犯合同诈骗罪", ["诈骗罪", "合同诈骗罪"]) == ["合同诈骗罪"]


def test_f1_by_hand():
    """One of two named is right, and one of three wanted is named: 2 * 1 / (2 + 3)."""
    assert cases.f1(["盗窃罪", "诈骗罪"], ["盗窃罪", "抢劫罪", "强奸罪"]) == pytest.approx(0.4)
    assert cases.f1([], []) == 1.0
    assert cases.f1([], ["盗窃罪"]) == 0.0


def test_an_analysis_gets_points_charges_and_articles():
    reference = cases.refer(REFERENCE, ["盗窃罪"])
    full = cases.judge(reference, "其秘密窃取他人财物，数额较大，构成盗窃罪，依刑法第264条处三年以下有期徒刑。", ["盗窃罪"])
    assert full == {"points": 1.0, "charge_f1": 1.0, "article_f1": 1.0, "correct": 1}
    half = cases.judge(reference, "构成盗窃罪、诈骗罪，依刑法第266条。", ["盗窃罪"])
    assert half == {"points": 0.0, "charge_f1": pytest.approx(2 / 3), "article_f1": 0.0, "correct": 0}


def test_what_the_reference_does_not_hold_is_not_measured():
    found = cases.judge({"points": ["人民法院不予支持"], "charges": [], "articles": []}, "人民法院不予支持。")
    assert found == {"points": 1.0, "charge_f1": None, "article_f1": None, "correct": 1}
