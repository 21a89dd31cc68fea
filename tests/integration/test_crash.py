"""Workers that die with no warning, and what their readers see of it: nothing but a delay."""

import time

import pytest

from tests.support.requests import assert_promises_kept, message_ids, request, terminals
from tests.support.system import System

pytestmark = pytest.mark.kafka

_KILL_EVERY = 3.0


def test_a_worker_killed_in_the_middle_loses_and_repeats_nothing(system: System) -> None:
    requests = [request(terminal) for _ in range(5) for terminal in terminals(30)]
    first = system.start_ready_worker()
    system.simulator.change({"latency": 0.05, "completion_max": 0.5})
    system.send(requests[:75])
    system.outcomes_of(requests[:1])
    system.simulator.pause()  # so that some are not done, however long it takes to come to the kill
    system.send(requests[75:])
    first.kill()
    system.simulator.resume()
    assert system.counters()["executions"] < len(requests)
    system.start_worker()
    outcomes = system.outcomes_of(requests)
    assert_promises_kept(requests, outcomes)
    assert system.executions() == dict.fromkeys(message_ids(requests), 1)
    assert system.counters()["overlaps"] == 0


def test_three_workers_of_which_one_dies_every_few_seconds_lose_and_repeat_nothing(system: System) -> None:
    requests = [request(terminal) for _ in range(10) for terminal in terminals(60)]
    workers = [system.start_ready_worker() for _ in range(3)]
    system.simulator.change({"latency": 0.05, "completion_min": 0.5, "completion_max": 1.5})
    system.send(requests)
    for victim in range(4):
        time.sleep(_KILL_EVERY)  # the rhythm of the deaths is what is tested
        workers[victim % 3].kill()
        workers[victim % 3] = system.start_worker()
    outcomes = system.outcomes_of(requests, timeout=90)
    assert_promises_kept(requests, outcomes)
    assert system.executions() == dict.fromkeys(message_ids(requests), 1)
    assert system.counters()["overlaps"] == 0
