"""Slips are told from another text of the same template."""

import random

import pytest

from legal_tasks.data.variants import is_slipped, is_variant

FORM = (
    "甲方{name}将位于{place}的房屋租给乙方，月租金{rent}元，租期自{day}起。乙方应当按时支付租金，不得转租；"
    "甲方应当保证房屋可以正常居住使用，并负责主要结构的维修养护。争议由房屋所在地的人民法院管辖。"
)
ONE = FORM.format(name="陆海灯", place="云州市河东区灯市路", rent="三千五百", day="2021年3月5日")
OTHER = FORM.format(name="孙明", place="昌平县东关镇", rent="九百", day="2019年11月20日")


def test_another_filling_of_a_template_is_a_variant():
    assert is_variant(ONE, OTHER)


@pytest.mark.parametrize("seed", range(5))
def test_scattered_slips_are_a_copy(seed):
    dice, chars = random.Random(seed), list(ONE)
    for start in (0, 30, 60, 90):  # four slips, none beside another
        chars[start + dice.randrange(20)] = "误"
    assert not is_variant(ONE, "".join(chars))


def test_reordered_sentences_and_a_longer_copy_are_copies():
    parts = ONE.split("。")
    assert not is_variant(ONE, "。".join(parts[1:] + parts[:1]))
    assert not is_variant(ONE, ONE + "本合同一式两份，双方各执一份，自签字之日起生效。")


def test_one_other_word_is_a_slip():
    assert not is_variant(ONE, ONE.replace("不得", "切勿"))


def test_a_changed_number_is_a_variant():
    assert is_variant("罚款三千元，限期三十日内缴纳。", "罚款五千元，限期五十日内缴纳。")


@pytest.mark.parametrize("seed", range(5))
def test_slips_do_not_make_another_filling_a_copy(seed):
    dice, chars = random.Random(seed), list(ONE)
    for place in dice.sample(range(len(chars)), 4):
        chars[place] = "误"
    assert is_variant("".join(chars), OTHER) and not is_slipped("".join(chars), OTHER)


def test_numbers_beside_each_other_are_counted_one_by_one_though_each_stands_elsewhere_too():
    form = (
        "甲方{first}与乙方陆海灯于{day}在昌平县签订本合同，价款为人民币{price}元。货物分2批交付，每批不迟于约定之日后7日；"
        "检验期为收货后3日，逾期视为合格。逾期付款的，按日支付违约金。一方提前解除的，应当提前14日通知对方并结清费用。"
    )
    one = form.format(first="周若兰", day="2018年1月23日", price="60700")
    other = form.format(first="韩雪梅", day="2017年1月2日", price="60200")
    slipped = one.replace("货物", "货误").replace("检验", "俭验").replace("视为", "视伪").replace("结清", "结情")
    assert is_variant(slipped, other) and not is_variant(slipped, one)
    parts = slipped.split("。")
    assert not is_variant("。".join([parts[2], parts[0], parts[1], parts[3]]) + "。", one)


@pytest.mark.parametrize("seed", range(5))
def test_single_characters_that_differ_everywhere_make_a_slipped_copy(seed):
    text, dice = ONE + OTHER, random.Random(seed)
    chars = list(text)
    for place in dice.sample(range(len(chars)), len(chars) * 3 // 100):
        chars[place] = chr(dice.randrange(0x4E00, 0x9FA5))
    parts = "".join(chars).split("。")
    assert is_slipped(text, "".join(chars)) and is_slipped(text, "。".join(parts[2:] + parts[:2]))
    assert not is_slipped(text, ONE)
