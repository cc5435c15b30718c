"""The words of an article are told from other words, other numbers and an altered sense."""

import pytest

from legal_tasks.data.quotations import fits, share

ARTICLE = (
    "放灯人应当在三日以前备案；有下列情形之一的，不得放灯：\n（一）大风；\n（二）未经许可；\n（三）汛期内河道水位高于警戒线的。"
)


@pytest.mark.parametrize(
    "quote",
    [
        "放灯人应当在三日以前备案",
        "放灯人应当在3日以前备案",
        "有下列情形之一的，不得放灯：（三）汛期内河道水位高于警戒线的。",
        "放灯人应当在三日以前备案，有下列情形之一的不得放灯",
    ],
)
def test_the_article_in_its_own_words_with_omissions(quote):
    assert fits(quote, ARTICLE)


@pytest.mark.parametrize(
    "quote",
    [
        "放灯人应当在五日以前备案；有下列情形之一的，不得放灯",
        "放灯人应当在三日以前备案；有下列情形之一的，得放灯：（一）大风；（二）未经许可",
        "放灯人应当在三日以前向公安机关和消防机构备案",
        "任何人可以随时随地自由放灯",
    ],
)
def test_another_number_a_lost_negation_and_other_words(quote):
    assert not fits(quote, ARTICLE)


def test_the_share_is_that_of_the_quotations_five_grams():
    # 12345, 23456 of the quotation's two 5-grams; the article holds the first
    assert share("甲乙丙丁戊己", "甲乙丙丁戊庚") == 0.5
