"""The simulation of the night, against what can be worked out by hand."""

from random import Random

import pytest

from tests.benchmarks.night import Course, Night, simulate
from worker.domain.policy import Policy


class Least(Random):
    """No jitter, the shortest operations, and everything in partition 0."""

    def random(self) -> float:
        return 0.0

    def randrange(self, *_: int) -> int:  # type: ignore[override]
        return 0


class InTurn(Least):
    """One request for each partition in turn."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0

    def randrange(self, *parts: int) -> int:  # type: ignore[override]
        self._next += 1
        return (self._next - 1) % parts[0]


def course(requests: int, random: Random, **changed: object) -> Course:
    """Without jitter the first poll is due half of the first delay after the create: 10 s, unless something changed."""
    given = {
        "workers": 1,
        "partitions": 4,
        "latency": 0.1,
        "operation": (5.0, 5.0),
        "in_flight": 10,
        "create_cpu": 0.0,
        "poll_cpu": 0.0,
        "policy": Policy(poll_initial_delay=20_000, poll_max_delay=20_000),
        **changed,
    }
    return simulate(Night(requests=requests, **given), random)  # type: ignore[arg-type]


def test_one_request_is_a_create_and_a_poll_when_it_has_ended() -> None:
    seen = course(1, Least())
    assert (seen.creates, seen.polls) == (1, 1)
    assert seen.created == pytest.approx(0.1)
    assert seen.drained == pytest.approx(0.1 + 10.0 + 0.1)
    assert seen.late == pytest.approx(10.2 - 5.1)


def test_an_operation_is_polled_until_it_has_ended_at_the_delays_of_the_policy() -> None:
    # Answers at 0.1, then 1, 2 and 2 s later by half of 2, 4 and 4 s, each with its own 0.1 s: 1.2, 3.3, 5.4.
    seen = course(1, Least(), policy=Policy(poll_initial_delay=2_000, poll_max_delay=4_000))
    assert seen.polls == 3
    assert seen.drained == pytest.approx(5.4)


def test_calls_in_flight_bound_how_fast_it_creates() -> None:
    seen = course(100, Least())  # ten rounds of ten calls
    assert seen.created == pytest.approx(1.0)
    assert seen.peak == 100


def test_more_workers_create_in_less_time_as_far_as_there_are_partitions() -> None:
    taken = [course(200, InTurn(), workers=workers).created for workers in (1, 2, 4, 8)]
    assert taken == pytest.approx([2.0, 1.0, 0.5, 0.5])


def test_what_is_in_one_partition_is_the_work_of_one_worker() -> None:
    assert course(200, Least(), workers=4).created == pytest.approx(2.0)


def test_each_account_has_its_own_calls_in_flight() -> None:
    assert course(100, Least(), accounts=5).created == pytest.approx(0.2)


def test_workers_share_the_rate_of_the_group_by_their_partitions() -> None:
    # Each of the two may ask ten times a second. The first call is at once: 100 more take 9.9 s, and are answered.
    seen = course(200, InTurn(), workers=2, rate=20.0)
    assert seen.created == pytest.approx(9.9 + 0.1, abs=0.01)
    assert course(100, Least(), workers=2, rate=20.0).created == pytest.approx(9.9 + 0.1, abs=0.01)


def test_polls_that_wait_get_every_fourth_call() -> None:
    # At 10 a second: creates alone until the first poll is due, 10 s after 0.1 s. Of those after it every fourth.
    seen = course(200, Least(), rate=10.0)
    assert seen.created == pytest.approx(10.1 + (200 - 101) / 7.5, abs=0.5)


def test_a_core_is_a_limit_too() -> None:
    seen = course(100, Least(), create_cpu=0.05, poll_cpu=0.01)
    assert seen.created == pytest.approx(100 * 0.05 + 0.1)
    assert seen.busiest == pytest.approx((100 * 0.05 + 100 * 0.01) / seen.drained)


def test_requests_that_come_over_a_time_need_no_more_than_that_time() -> None:
    seen = course(100, Least(), over=50.0)
    assert seen.created == pytest.approx(49.5 + 0.1)
    assert seen.peak <= 4  # two requests a second, each with its create and the poll of another


def test_the_same_night_has_the_same_course() -> None:
    assert simulate(Night(requests=100, workers=2)) == simulate(Night(requests=100, workers=2))
