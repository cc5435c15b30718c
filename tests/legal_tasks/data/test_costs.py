"""The bounds that need no process of their own."""

import re
import threading

import pytest

from legal_tasks.data import costs


def test_an_alarm_interrupts_a_pattern_that_would_take_years():
    with pytest.raises(costs.TooCostly, match=r"more than 0.2 s for the title, bound 0.2 s"), costs.alarm(0.2, "the title"):
        re.match(r"(a+)+b", "a" * 60)
    with costs.alarm(0.2, "the next"):  # the first is over
        assert re.match("a", "a")


def test_an_alarm_that_did_not_ring_is_off_afterwards():
    import signal

    with costs.alarm(30, "nothing"):
        assert signal.getitimer(signal.ITIMER_PROF)[0] > 0
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0 and signal.getsignal(signal.SIGPROF) == signal.SIG_DFL


def test_beside_the_main_thread_there_is_no_alarm():
    seen = []

    def work():
        with costs.alarm(0.001, "work"):
            seen.append(sum(range(100_000)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [sum(range(100_000))]


def nested(depth):
    value = "law"
    for number in range(depth):
        value = {"a": value} if number % 2 else [value]
    return value


def test_depth_is_measured_without_a_stack():
    costs.check_depth("law")
    costs.check_depth(nested(costs.DEEPEST))
    with pytest.raises(costs.TooCostly, match="depth: 50,000 lists or objects within each other, bound 100") as caught:
        costs.check_depth(nested(50_000))
    assert caught.value.reason == "too_deep"


def test_the_time_of_a_file_grows_with_it_up_to_a_bound():
    assert [costs.cpu_s(size) for size in (0, 1 << 20, 1 << 30)] == [10, 70, 900]


def test_the_first_bytes_that_come_out_are_free():
    costs.check_expansion(16 << 20, 1, "the rows")
    with pytest.raises(costs.TooCostly, match="16,777,217 bytes out of 10, bound 16,777,216"):
        costs.check_expansion((16 << 20) + 1, 10, "the rows")
    costs.check_expansion(200 << 20, 1 << 20, "the rows")
