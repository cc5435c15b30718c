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


SALE = (
    "出卖人应当在收到书面通知之日起三十日内交付标的物，并可以按照价款的百分之五支付违约金；逾期超过十日的，买受人可以解除合同，"
    "故意拖延的，处二十万元以上五十万元以下罚款，或者支付三倍的赔偿。"
)


@pytest.mark.parametrize(
    "quote",
    [
        SALE,
        "出卖人应当在收到书面通知之日起30日以内交付标的物",
        "按照价款的5%支付违约金；逾期超过10天的，买受人可以解除合同",
        "出卖人应在收到书面通知之日起三十日内交付标的物",
        "故意拖延的，处200000元以上50万元以下罚款",
        "逾期超过十日的，买受人可以解除合同，处二十万元以上五十万元以下罚款",
        "出卖人应当在收到书面通知之日起三十日内交付标的物，买受人可以解除合同，或者支付三倍的赔偿",
    ],
)
def test_other_figures_for_the_same_number_and_omissions_are_no_change(quote):
    assert fits(quote, SALE)


CHANGES = (
    "三十日内:三日内 三十日内:三十月内 三十日内:十三日内 三十日内:三十日外 三十日内:三十个工作日内 三十日内:三十小时内 "
    "十日的:十月的 "
    "十日的:一百日的 二十万:二百万 二十万:二万 五十万:五百万 百分之五:百分之五十 百分之五:千分之五 三倍:十三倍 三倍:三十倍 "
    "万元以下:万元以上 万元以上:万元以下 人应当:人可以 可以按照:应当按照 买受人可以:买受人应当 买受人可以:出卖人可以 "
    "出卖人应当:买受人应当 书面:口头 故意:过失 可以解除:不得解除 超过十日:不满十日 或者支付:并且支付 解除合同:撤销合同"
).split()


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_number_or_decisive_word_is_a_misquotation_in_the_whole_and_in_its_clause(change):
    said, instead = change.split(":")
    quote = SALE.replace(said, instead, 1)
    assert quote != SALE and not fits(quote, SALE)
    clause = next(part for part in quote.split("；" if instead in quote.split("；")[0] else "，") if instead in part)
    assert len(clause) < 10 or not fits(clause, SALE)


FINE = "偷放河灯，数额较大的，处三日以下拘留，应当承担违约责任；情节严重的，可以吊销许可证。"


@pytest.mark.parametrize(
    ("quote", "true"),
    [
        ("偷放河灯，数额较大的，处三日以下拘留", True),
        ("数额较大的，处三日以下拘留；情节严重的，可以吊销许可证。", True),
        ("偷放河灯，数额巨大的，处三日以下拘留", False),
        ("处三日以下拘留，应当承担侵权责任；情节严重的，可以吊销许可证", False),
        ("处三日以下拘留，应当承担违约责任；情节严重的，吊销许可证。", False),
    ],
)
def test_a_degree_a_kind_of_liability_and_a_may_that_is_left_out_decide(quote, true):
    assert fits(quote, FINE) is true
