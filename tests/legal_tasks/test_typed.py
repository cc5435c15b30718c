"""Numbers as they are typed in the trigger form: each is what was meant, or is refused in words."""

import re

import pytest

from legal_tasks.settings.typed import Kind, TypedError

RATE = Kind("number", 0, 0.1, above=True)
SHARE = Kind("percent", 0, 1)
LOSS = Kind("points", 0, 1)
TIME = Kind("seconds", 0, 60, above=True)
WHOLE = Kind("whole", 1, 512)


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        *((RATE, text, 2e-4) for text in ("2e-4", "0.0002", " 2E-4 ", ".0002", "２ｅ－４", 2e-4)),
        (RATE, "1e-5", 1e-5),
        *((SHARE, text, 0.8) for text in ("80 %", "80%", "80", "80％", "0.8", "８０", "80 percent", "80 Per cent", 80, 0.8)),
        (SHARE, "75", 0.75),
        (SHARE, "0.8 %", 0.008),
        *((SHARE, given, 1.0) for given in ("100 %", 1, 1.0, "100")),
        *(
            (LOSS, text, 0.02)
            for text in ("2 points", "2", "2 个百分点", "2个百分点", "2 %", "2 pp", "2 percentage points", 2, 0.02)
        ),
        (LOSS, "3", 0.03),
        (LOSS, "5.5", 0.055),
        (LOSS, "1 point", 0.01),
        (LOSS, "0", 0.0),
        (LOSS, "0.5 points", 0.005),
        *((TIME, text, 0.9) for text in ("0.9", "0.9 s", "900 ms", "900 毫秒", "0.9 秒", "0.9 seconds", 0.9)),
        *((WHOLE, text, 16) for text in ("16", "16.0", "1.6e1", "１６", 16, 16.0)),
    ],
)
def test_what_is_typed_is_what_is_taken_and_the_forms_own_pattern_takes_it_too(kind, given, value):
    assert kind.parse(given) == value
    assert not isinstance(given, str) or re.search(kind.pattern, given)


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        *((RATE, text, "a number such as `2e-4`") for text in ("fast", "0,0002", "2e-4 %", "1_0", "0x1", "", "nan", "1e", "--1")),
        *((RATE, value, "a number such as") for value in (True, [1], {}, float("nan"), float("inf"))),
        *((RATE, value, "more than 0 up to 0.1") for value in ("1", "0", "-1e-4", 1, 10**40 // 10**10, "1e999")),
        (RATE, 10**400, "more than 30 digits"),
        *((SHARE, text, "write `1 %` or `100 %`") for text in ("1", "1.0")),
        *((SHARE, text, "0 % up to 100 %") for text in ("101", "-5 %", "-0.5")),
        (SHARE, "8O %", "a percentage such as `80 %`"),
        *((LOSS, text, "`0.5 points` or `50 points`") for text in ("0.5",)),
        (LOSS, "0.02", "`0.02 points` or `2 points`"),
        (LOSS, "two points", "points such as `2 points`"),
        (TIME, "900 minutes", "seconds such as"),
        (Kind("seconds", 0, 1e12, above=True), "-1", "must be more than 0 s, got '-1'"),
        (WHOLE, "16.5", "a whole number"),
        (WHOLE, "9" * 5000, "a whole number such as"),
    ],
)
def test_what_may_mean_two_things_or_nothing_is_refused_with_what_to_write(kind, given, says):
    with pytest.raises(TypedError) as refused:
        kind.parse(given)
    assert says in str(refused.value) and len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [(RATE, 3e-3, "3e-3"), (RATE, 2e-4, "2e-4"), (SHARE, 0.75, "75 %"), (LOSS, 0.055, "5.5 points"), (TIME, 1.0, "1 s")],
)
def test_a_value_is_shown_as_one_would_type_it(kind, value, text):
    assert kind.show(value) == text and kind.parse(text) == value
