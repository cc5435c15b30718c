"""What jumped since the month before is named; what did not is not."""

from collections import Counter

import pytest

from legal_tasks.data import drift
from legal_tasks.records import Record

BOUNDS = drift.Bounds(mix=0.15, size=2.0, set_aside=0.1, phrase=0.05)


def records(count, category="consultation", planted=0, start=0):
    made = []
    for number in range(start, start + count):
        answer = "".join(chr(0x4E00 + (number * 37 + place * 101) % 5000) for place in range(40))
        answer += "请先向暗盟基金转账" if number - start < planted else ""
        made.append(Record(f"问题{number}", "", answer, "s", category))
    return made


def jumps(now, before, aside=(10, 10)):
    sources = [[{"name": "s", "in": 100, "set_aside": n}] for n in aside]
    texts = [drift.sample(part) for part in (before, now)]
    counts = [Counter(record.category for record in part) for part in (before, now)]
    then = drift.describe(counts[0], texts[0], sources[0], "2026-10-01")
    profile = drift.describe(counts[1], texts[1], sources[1], "2026-11-01")
    return drift.explain(drift.compare(profile, then, texts[1], BOUNDS))


def test_an_ordinary_month_passes():
    assert jumps(records(220, start=50), records(200)) == []


def test_a_planted_phrase_is_named_in_full():
    [words] = jumps(records(200, planted=20), records(200))
    assert words == "the phrase “请先向暗盟基金转账” stands in 10.0% of the records, 0.0% before"


def test_size_mix_and_rates_are_named():
    assert jumps(records(500), records(200)) == ["500 records after 200"]
    mixed = records(150) + records(50, "case", start=150)
    assert "25.0% of the records are case, 0.0% before" in jumps(mixed, records(200))
    assert jumps(records(200), records(200), (10, 30)) == ["30.0% of the items were set aside in s, 10.0% before"]


@pytest.mark.parametrize(("sources", "found"), [({"a", "b"}, True), ({"a", "c", "d"}, False)])
def test_the_newest_earlier_month_of_the_same_sources_is_compared_with(tmp_path, sources, found):
    import json

    for key, month in (("one", "2026-09-01"), ("two", "2026-10-01"), ("three", "2026-11-01")):
        (tmp_path / key).mkdir()
        profile = {"as_of": month, "sources": {"a": {}, "b": {}}}
        (tmp_path / key / "profile.json").write_text(json.dumps(profile))
        (tmp_path / key / "manifest.json").write_text('{"created": "2026-11-25"}')
    chosen = drift.earlier(tmp_path, "2026-11-01", sources)
    assert (chosen == tmp_path / "two" / "profile.json") if found else chosen is None
