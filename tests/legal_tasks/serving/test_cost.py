"""Costs worked out by hand: 1 CNY an hour, 2 answers and 50 tokens a second."""

import datetime
import json
import xml.etree.ElementTree as ElementTree

import pytest

from legal_tasks.serving import cost
from legal_tasks.serving.cost import Card
from legal_tasks.step import StepError

DAY = datetime.date(2026, 11, 25)
MEASURED = Card("A", 1.0, "a shop", DAY, memory_gib=10, bandwidth_gb_s=100, suits="日常")
LOAD = {"sustained": {"rate_per_s": 2.0, "tokens_per_s": 50.0, "requests": 80}, "p95_first_token_s": 0.2}


def lines(*others, load=LOAD, need=2**30, on=MEASURED):
    return {line.card: line for line in cost.table({card.name: card for card in (*others, on)}, on.name, load, need)}


def test_a_measured_card_costs_its_rent_spread_over_what_it_answers():
    line = lines()["A"]
    assert (line.basis, line.requests_per_s, line.month_cny) == ("measured", 2.0, 730.0)
    assert line.per_1000_answers_cny == pytest.approx(1000 / 7200)
    assert line.per_million_tokens_cny == pytest.approx(1e6 / 180_000)


def test_another_card_is_scaled_by_bandwidth_and_says_so():
    line = lines(Card("B", 3.0, "a shop", DAY, memory_gib=10, bandwidth_gb_s=250))["B"]
    assert (line.basis, line.requests_per_s, line.tokens_per_s, line.month_cny) == ("scaled", 5.0, 125.0, 2190.0)
    assert "A 的实测" in line.how and "250/100" in line.how


def test_a_card_that_cannot_be_scaled_to_is_not_measured():
    small = lines(Card("B", 3.0, "a shop", DAY, memory_gib=0.5, bandwidth_gb_s=250))["B"]
    assert small.basis == "not measured" and small.requests_per_s is None and "显存不足" in small.how
    assert small.per_1000_answers_cny is None and small.month_cny == 2190.0
    unknown = lines(Card("B", 3.0, "a shop", DAY))["B"]
    assert unknown.basis == "not measured" and unknown.requests_per_s is None
    cpu = Card(cost.CPU)
    assert {line.basis for line in lines(MEASURED, on=cpu).values()} == {"measured", "not measured"}


def test_a_price_that_is_not_set_is_never_nought():
    line = lines(on=Card("CPU"))["CPU"]
    assert line.basis == "measured" and line.month_cny is None and line.per_1000_answers_cny is None
    shown = cost.cells(line)
    assert shown[1] == shown[4] == shown[5] == shown[7] == "价格未设定" and shown[2] == "2.0"


def test_a_rate_at_which_nothing_held_is_not_measured():
    line = lines(load={"sustained": {"rate_per_s": None, "tokens_per_s": None, "requests": None}})["A"]
    assert (line.basis, line.requests_per_s, line.per_1000_answers_cny, line.month_cny) == ("not measured", None, None, 730.0)
    assert cost.cells(line)[2] == "未测量"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("A: {price_cny_h: 0, source: s, date: 2026-01-01}", "above 0"),
        ("A: {price_cny_h: 1}", "source and its date"),
        ("A: {price: 1}", "not a table of cards"),
        ("- A", "not a table of cards"),
        ("A: {price_cny_h: cheap, source: s, date: 2026-01-01}", "above 0"),
    ],
)
def test_a_price_table_that_cannot_be_read_is_named(tmp_path, content, said):
    path = tmp_path / "cards.yaml"
    path.write_text(content, "utf-8")
    with pytest.raises(StepError, match=said):
        cost.read_prices(path)
    with pytest.raises(StepError, match="no such file"):
        cost.read_prices(tmp_path / "none.yaml")


def test_the_table_of_the_project_has_sources_and_dates():
    cards = cost.read_prices(cost.PRICES)
    assert {"A100 40GB", "RTX 4090", "T4", "CPU"} <= cards.keys() and cards["CPU"].price_cny_h is None
    assert all(card.source and card.date for card in cards.values() if card.price_cny_h)


def test_the_page_has_the_headings_the_hours_and_the_picture(tmp_path):
    artifact = tmp_path / "compress"
    artifact.mkdir()
    rows = [
        {"format": name, "name": name, "accuracy": 0.8, "memory_bytes": 2**30} for name in ("merged", "gptq", "gptq-act-order")
    ]
    (artifact / "table.json").write_text(json.dumps({"rows": rows}))
    (artifact / "manifest.json").write_text(json.dumps({"seconds": 1800}))
    hours = cost.card_hours({"train": None, "compress": artifact}, 360)
    assert hours == {"compress": 0.5, "prove": 0.1}
    found = cost.write(tmp_path, artifact, cost.PRICES, "T4", LOAD, hours)
    assert found["card_hours_cny"] == pytest.approx(1.35 * 0.6)
    page = (tmp_path / "cost.md").read_text("utf-8")
    assert page.splitlines()[2].startswith("| 配置 | 成本/月 | QPS | 适用场景 |")
    assert "| T4 | 986 元 | 2.0 |" in page and "compress 0.500 小时" in page
    text = "".join(ElementTree.parse(tmp_path / "cost.svg").getroot().itertext())
    assert "gptq，986 元/月" in text and "未测量：gptq-act-order" in text
    assert (tmp_path / "cost.svg").stat().st_size < 200_000


def test_a_card_that_the_table_lacks_is_named():
    with pytest.raises(StepError, match="--card X"):
        cost.table({"A": MEASURED}, "X", LOAD, 0)
