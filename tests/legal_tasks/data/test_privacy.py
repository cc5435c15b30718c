"""Personal data is masked; what only looks like it stays."""

import pytest

from legal_tasks.data.check import scan
from legal_tasks.data.privacy import Masker, valid_card, valid_resident_id


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("身份证号11010519491231002X。", "身份证号"),
        ("请拨打138-1234-5678联系", "手机号"),
        ("邮箱 zhang.san@mail.example.cn 收", "邮箱"),
        ("卡号6222 0212 3456 7890 128", "银行卡号"),
        ("座机010-62345678转", "固定电话"),
        ("驾驶京A12345撞伤", "车牌号"),
        ("QQ：12345678", "QQ号"),
        ("微信号：zhang_san88", "微信号"),
    ],
)
def test_each_kind_is_masked(text, kind):
    masker = Masker("salt")
    masked = masker.mask(text, "doc")
    assert f"【{kind}" in masked and masker.counts[kind] == 1 and scan(masked) == []


@pytest.mark.parametrize(
    "text", ["第一千一百九十八条", "（2015）刑立他字第3号", "罚款1000000元", "2021年1月1日", "案号110105194912310021"]
)
def test_numbers_of_law_survive(text):
    assert Masker("salt").mask(text, "doc") == text


def test_pseudonyms_are_stable_within_a_document_only():
    masker = Masker("salt")
    first = masker.mask("电话13812345678，再打13812345678", "a")
    assert first.split("，")[0][2:] == first.split("再打")[1]
    assert masker.mask("电话13812345678", "b") != first.split("，")[0]
    assert Masker("other").mask("电话13812345678", "a") != first.split("，")[0]


def test_checksums():
    assert valid_resident_id("11010519491231002X") and not valid_resident_id("110105194912310021")
    assert valid_card("4111111111111111") and not valid_card("4111111111111112")


def test_people_of_a_judgment_are_renamed_and_organisations_stay():
    text = "title:王小明与云州河灯有限公司合同纠纷一案\n原告：王小明，男。\n被告：云州公司。\n王小明诉称云州公司违约。"
    masker = Masker("salt")
    masked = masker.mask_people(text, masker.people(text))
    assert "王小明" not in masked and "王某1诉称云州公司违约" in masked


def test_the_scan_finds_what_nobody_masked():
    assert scan("我的号码 13812345678，身份证11010519491231002X，a@b.com") == ["mobile", "resident id", "e-mail"]
