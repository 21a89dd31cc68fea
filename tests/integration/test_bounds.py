"""What a worker takes of memory and time when there is far too much to do, or nothing answers."""

from collections.abc import Callable

import pytest

from tests.support import ledgers
from tests.support.records import Message
from tests.support.requests import assert_promises_kept, message_ids, request
from tests.support.system import System
from tests.support.told import memory_mib, seconds_to_restore
from tests.support.waiting import until
from worker.demo.process import WorkerProcess
from worker.kafka import producer as producers

pytestmark = pytest.mark.kafka

_PARTITIONS = 4
_TIMEOUT = 60.0
# Seen: 0.7 to 1 s, of which 0.2 to 0.5 s without any ledger; on a machine five times as busy 9.4 s.
_LONGEST_RESTORE = 15.0
# MiB: 200 MB in all; and what is taken in, since how much a worker begins with is the machine's. Seen: 137, and 58 to
# 66 on top of 75; without a bound on the backlog, 125.
_MOST_PENDING, _MOST_TAKEN_IN = 190, 95


def test_a_partition_that_is_full_is_read_no_further_while_the_others_go_on(system: System) -> None:
    worker = system.start_ready_worker(WORKER_BACKLOG_LIMIT="50")
    stuck = _requests(1_200, lambda partition: partition == 0)
    others = _requests(300, lambda partition: partition != 0)
    system.simulator.change({"completion_min": 600.0, "completion_max": 600.0})
    system.send(stuck)
    # All of it, since what is created after the change completes, makes room, and has more read.
    until(lambda: _full_of_pending(_partition(worker, 0)), _TIMEOUT)
    system.simulator.change({"completion_min": 0.05, "completion_max": 0.2})
    system.send(others)
    outcomes = system.outcomes_of(others)
    full = _partition(worker, 0)
    assert full["paused"]
    # One fetch may have been under way: its 500 records are the most that come on top.
    assert 50 <= full["backlog"] < 50 + 500
    # What is not fetched is told all the same, within about a second.
    until(lambda: _partition(worker, 0)["lag"] + full["backlog"] == len(stuck), _TIMEOUT)
    asked = set(message_ids(others))
    assert_promises_kept(others, [outcome for outcome in outcomes if outcome.json()["message_id"] in asked])


def test_fifty_thousand_pending_operations_are_restored_soon_and_in_little_memory(system: System) -> None:
    for partition in range(_PARTITIONS):
        ledgers.write(system, partition, ledgers.pending(partition, 12_500))
    system.simulator.wait_until_ready()
    worker = system.start_worker(WORKER_POLL_INITIAL_DELAY="2s", WORKER_POLL_MAX_DELAY="30s")
    worker.wait_until_ready(_TIMEOUT)
    until(lambda: system.counters()["requests"] > 2_000, _TIMEOUT)  # they are polled, too
    restored = seconds_to_restore(worker)
    assert sorted(restored) == list(range(_PARTITIONS)), "restored once each, and nothing failed"
    print(f"restored in {max(restored.values()):.2f} s, {memory_mib(worker):.0f} MiB")  # noqa: T201 - to be looked at
    assert max(restored.values()) < _LONGEST_RESTORE
    assert memory_mib(worker) < _MOST_PENDING


def test_an_api_that_stands_still_costs_little_memory_and_does_not_keep_a_worker_from_stopping(system: System) -> None:
    worker = system.start_ready_worker(WORKER_SHUTDOWN_TIMEOUT="5s")
    before = memory_mib(worker)
    system.simulator.pause()
    for first in range(0, 100_000, 25_000):
        system.send([request(f"P11223351-T{number}") for number in range(first, first + 25_000)])
    until(lambda: all(_partition(worker, number).get("paused") for number in range(_PARTITIONS)), _TIMEOUT)
    print(f"{before:.0f} MiB, then {memory_mib(worker):.0f}")  # noqa: T201 - to be looked at
    assert memory_mib(worker) - before < _MOST_TAKEN_IN
    worker.terminate()
    assert worker.wait(25) == 0  # with nobody to cut it off, its calls would last 30 s


def _full_of_pending(partition: dict[str, int]) -> bool:
    return bool(partition.get("paused")) and partition["pending"] == partition["backlog"] >= 50


def _requests(count: int, wanted: Callable[[int], bool]) -> list[Message]:
    """Requests for terminals of the partitions that are wanted, each for another."""
    found: list[Message] = []
    number = 0
    while len(found) < count:
        terminal = f"P11223351-B{number}"
        if wanted(producers._partition(terminal.encode(), _PARTITIONS)):
            found.append(request(terminal))
        number += 1
    return found


def _partition(worker: WorkerProcess, number: int) -> dict[str, int]:
    """What `/status` shows of a partition; nothing while it is not there."""
    status = worker.get("/status") or {"partitions": []}
    return next((partition for partition in status["partitions"] if partition["partition"] == number), {})
