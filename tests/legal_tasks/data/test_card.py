"""The data card tells how often each rule was right, and which rules only flag."""

from legal_tasks.data import card, rules, subjects

CLEAN = {
    "records": {"in": 3, "used": 2, "reference": 0, "set_aside": {"evasive": 1}, "derived": 0},
    "hits": {"evasive": 1, "off_domain": 1, "repeated": 1},
    "sources": [],
    "personal_data": {},
}


def test_each_rule_shows_its_precision_and_what_it_does():
    parts = {part.title: part for part in card.sections(card.Facts(card.Tally(), CLEAN, [], [], 0))}
    read, right = rules.READ["off_domain"]
    assert parts["Hits"].rows == [
        ("evasive", 1, "sets aside", "0.97 (32 of 33)"),
        ("off_domain", 1, "flags", f"{right / read:.2f} ({right} of {read})"),
        ("repeated", 1, "sets aside", "not measured"),
    ]
    assert f"{subjects.READ[1]} right" in parts["Subjects"].text
