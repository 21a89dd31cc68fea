import pytest

from tests.unit.dintero.support import Clock
from worker.dintero.budget import Budget


def _calls(budget: Budget, count: int) -> list[int]:
    return [budget.start() for _ in range(count)]


def test_no_call_starts_over_the_limit() -> None:
    budget = Budget(3, None, Clock())
    _calls(budget, 2)
    assert budget.wait() == 0
    budget.start()
    assert budget.wait() is None


def test_trouble_halves_the_limit_once_for_all_calls_of_one_round() -> None:
    budget = Budget(16, None, Clock())
    for started in _calls(budget, 16):
        budget.end(started, trouble=True, sent=True)
    assert budget.limit == 8
    assert budget.in_flight == 0


def test_the_limit_never_falls_below_one() -> None:
    budget = Budget(2, None, Clock())
    for _ in range(5):
        budget.end(budget.start(), trouble=True, sent=True)
    assert budget.limit == 1
    assert budget.wait() == 0


def test_a_full_round_of_good_answers_raises_the_limit_by_one_up_to_the_maximum() -> None:
    budget = Budget(8, None, Clock())
    budget.end(budget.start(), trouble=True, sent=True)
    limits = []
    for _ in range(7):
        for started in _calls(budget, budget.limit):
            budget.end(started, trouble=False, sent=True)
            budget.start()
        for started in [0] * budget.in_flight:
            budget.end(started, trouble=False, sent=False)
        limits.append(budget.limit)
    assert limits == sorted(limits)
    assert limits[0] < limits[-1] == 8


def test_a_limit_that_is_not_in_use_does_not_rise() -> None:
    budget = Budget(8, None, Clock())
    budget.end(budget.start(), trouble=True, sent=True)
    for _ in range(100):
        budget.end(budget.start(), trouble=False, sent=True)
    assert budget.limit == 4


def test_calls_start_at_this_workers_share_of_the_rate() -> None:
    clock = Clock()
    budget = Budget(1000, 10.0, clock)
    budget.share(0.5)
    started = 0
    for _ in range(1000):
        clock.now += 0.01
        while budget.wait() == 0:
            budget.start()
            started += 1
    assert started == pytest.approx(50, abs=2)


def test_idle_time_saves_up_no_burst() -> None:
    clock = Clock()
    budget = Budget(1000, 100.0, clock)
    clock.now += 3600
    started = 0
    while budget.wait() == 0:
        budget.start()
        started += 1
    assert started == 10


def test_it_says_how_long_to_wait_for_the_rate_and_nothing_starts_without_a_share() -> None:
    budget = Budget(1000, 10.0, Clock())
    budget.start()
    assert budget.wait() == pytest.approx(0.1)
    budget.share(0.0)
    assert budget.wait() is None


def test_a_call_that_was_not_sent_gives_its_turn_in_the_rate_to_the_next() -> None:
    budget = Budget(1000, 1.0, Clock())
    for _ in range(100):
        assert budget.wait() == 0
        budget.end(budget.start(), trouble=False, sent=False)
    budget.start()
    assert budget.wait() == pytest.approx(1.0)
