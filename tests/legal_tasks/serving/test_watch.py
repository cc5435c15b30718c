"""An engine is judged by what it gets done: with a clock of our own, an hour takes no time."""

from concurrent.futures import Future

import pytest

from legal_tasks.serving import backends
from legal_tasks.serving.watch import Reading, Watch, in_background

STALL_S = 15.0


class Bench:
    """A watch, the clock it reads, and what it is told at its next look."""

    def __init__(self):
        self.now, self.asked = 0.0, []
        self.answers, self.counters = True, {"tokens": 0.0}
        self.watch = Watch(self.look, self.ask, STALL_S, lambda: self.now)

    def look(self):
        return Reading(self.answers, dict(self.counters) if self.answers else None)

    def ask(self):
        self.asked.append(Future())
        return self.asked[-1]

    def pass_time(self, seconds, tokens_s=0.0, every_s=1.0):
        """Look once a second; seconds until the engine was found faulty, or None."""
        for second in range(int(seconds / every_s)):
            self.now += every_s
            self.counters = {name: value + tokens_s * every_s for name, value in self.counters.items()}
            self.watch.observe()
            if self.watch.fault:
                return (second + 1) * every_s
        return None


@pytest.fixture
def bench():
    bench = Bench()
    bench.pass_time(1)
    return bench


def test_an_engine_that_makes_tokens_is_well_however_long_a_question_waits(bench):
    assert bench.pass_time(10) is None and len(bench.asked) == 1  # its queue is full: the question waits in it
    assert bench.pass_time(3600, tokens_s=0.2) is None and bench.watch.well
    assert len(bench.asked) == 1, "while it makes tokens it is not asked for any"


def test_an_engine_that_makes_a_token_every_ten_seconds_is_slow_and_not_dead(bench):
    for _ in range(60):
        assert bench.pass_time(9) is None and bench.pass_time(1, tokens_s=1) is None


def test_no_progress_with_a_question_under_way_is_found_within_half_a_minute(bench):
    bench.pass_time(60, tokens_s=50)
    found = bench.pass_time(100)
    assert found is not None and STALL_S <= found < 25 and "no token and no step" in bench.watch.fault
    assert not bench.watch.well


def test_an_idle_engine_is_asked_now_and_then_and_answers(bench):
    for _ in range(20):
        bench.pass_time(5)
        bench.asked[-1].set_result(None)
    assert bench.watch.fault is None and bench.watch.well and bench.watch.worked and len(bench.asked) == 20


def test_an_engine_that_answers_nothing_is_found_although_nobody_asks(bench):
    bench.answers = False
    found = bench.pass_time(100)
    assert STALL_S <= found < 25 and "not even /health" in bench.watch.fault


def test_a_server_that_is_slow_to_answer_now_and_then_is_not_silent(bench):
    for _ in range(20):
        bench.answers = False
        assert bench.pass_time(12) is None
        bench.answers = True
        assert bench.pass_time(1, tokens_s=1) is None


def test_questions_that_end_in_an_error_are_counted(bench):
    for number in range(3):
        bench.pass_time(4)
        bench.asked[number].set_result("HTTP 500: broken")
    assert bench.pass_time(2) and "3 questions in a row failed: HTTP 500: broken" in bench.watch.fault


def test_errors_of_an_engine_that_makes_tokens_are_forgotten(bench):
    for number in range(5):
        bench.pass_time(4)
        bench.asked[number].set_result("HTTP 503: busy")
        assert bench.pass_time(1, tokens_s=1) is None
    assert bench.watch.well


def test_an_engine_without_counters_has_a_minute():
    bench = Bench()
    bench.counters = {}
    found = bench.pass_time(200)
    assert 60 <= found < 75


def test_time_in_which_the_machine_slept_is_not_the_engines(bench):
    bench.pass_time(10)
    bench.now += 3600
    bench.watch.observe()
    assert bench.watch.fault is None


def test_a_call_in_the_background_raises_where_its_result_is_asked_for():
    def broken():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        in_background(broken).result(10)
    assert in_background(lambda: 7).result(10) == 7


PAGE = """# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="legal-llm"} 41.0
vllm:generation_tokens_total{engine="1",model_name="legal-llm"} 1.0
vllm:generation_tokens_created{engine="0",model_name="legal-llm"} 1.7e+09
vllm:iteration_tokens_total_bucket{engine="0",le="1.0"} 7.0
vllm:iteration_tokens_total_count{engine="0"} 9.0
vllm:request_success_total{engine="0",finished_reason="abort"} 5.0
"""


def test_progress_is_read_from_the_engines_own_counters_alone():
    found = backends.read_progress(PAGE, backends.VLLM_BACKEND)
    assert found == {"vllm:generation_tokens_total": 42.0, "vllm:iteration_tokens_total_count": 9.0}
    assert backends.read_progress("llamacpp:n_decode_total 3\n", backends.LLAMA_BACKEND) == {"llamacpp:n_decode_total": 3.0}
    with pytest.raises(ValueError):
        backends.read_progress('{"object": "list"}', backends.VLLM_BACKEND)
