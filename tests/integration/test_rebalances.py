"""Workers that come and go while there is work: nobody is asked twice, and no partition waits for long."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise

import pytest

from tests.support.records import Message
from tests.support.requests import assert_promises_kept, message_ids, request, terminals
from tests.support.system import System
from tests.support.told import events
from tests.support.waiting import until
from worker.demo.process import WorkerProcess
from worker.kafka import producer as producers

pytestmark = pytest.mark.kafka

_PARTITIONS = 4
_READY = 60.0
# Seen on a busy machine: 0.7 to 1.3 s, and 3 s is what is aimed at. Much more, so that no load of others fails it.
_LONGEST_PAUSE = 10.0


def test_scaling_from_one_worker_to_four_and_down_to_two_asks_nothing_twice(system: System) -> None:
    workers = [system.start_ready_worker()]
    with _load(system) as sent:
        workers += [system.start_worker() for _ in range(3)]
        until(lambda: [_owned(worker) for worker in workers] == [1] * 4, _READY, lambda: str(workers))
        for leaving in workers[:2]:
            leaving.terminate()
        assert [leaving.wait(30) for leaving in workers[:2]] == [0, 0]
        until(lambda: [_owned(worker) for worker in workers[2:]] == [2, 2], _READY)
    _assert_nothing_asked_twice(system, sent)
    assert [_restored_again(worker) for worker in workers] == [set()] * 4


def test_a_rolling_restart_asks_nothing_twice_and_holds_no_partition_up_for_long(system: System) -> None:
    workers = [system.start_ready_worker() for _ in range(3)]
    until(lambda: sum(map(_owned, workers)) == _PARTITIONS, _READY)
    with _load(system) as sent:
        for number, old in enumerate(workers):
            old.terminate()
            assert old.wait(30) == 0
            workers[number] = system.start_ready_worker()
    outcomes = _assert_nothing_asked_twice(system, sent)
    pauses = _pauses(outcomes)
    print({partition: round(pause, 2) for partition, pause in sorted(pauses.items())})  # noqa: T201 - to be looked at
    assert len(pauses) == _PARTITIONS
    assert max(pauses.values()) < _LONGEST_PAUSE


@contextmanager
def _load(system: System) -> Iterator[list[Message]]:
    """Asks every terminal in turn, each partition some ten times a second; afterwards the list holds all that went."""
    sent: list[Message] = []
    enough = threading.Event()

    def send() -> None:
        while not enough.wait(0.5):
            some = [request(terminal) for terminal in terminals(24)]
            system.send(some)
            sent.extend(some)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        until(lambda: sent, _READY)
        yield sent
    finally:
        enough.set()
        sender.join()


def _assert_nothing_asked_twice(system: System, sent: list[Message]) -> list[Message]:
    outcomes = system.outcomes_of(sent, timeout=60)
    assert_promises_kept(sent, outcomes)
    assert system.executions() == dict.fromkeys(message_ids(sent), 1)
    counters = system.counters()
    assert (counters["creates"], counters["overlaps"]) == (len(sent), 0)
    return outcomes


def _owned(worker: WorkerProcess) -> int:
    """How many partitions it works on."""
    status = worker.get("/status")
    return sum(partition["state"] == "running" for partition in status["partitions"]) if status else 0


def _restored_again(worker: WorkerProcess) -> set[int]:
    """Partitions that it restored a second time without having lost them in between."""
    held: set[int] = set()
    again: set[int] = set()
    for event in events(worker, "partitions_assigned", "partition_restored"):
        if event["event"] == "partitions_assigned":
            held -= set(event["lost"])
        elif event["partition"] in held:
            again.add(event["partition"])
        else:
            held.add(event["partition"])
    return again


def _pauses(outcomes: Iterable[Message]) -> dict[int, float]:
    """The longest time between two outcomes of each input partition, in seconds."""
    times: dict[int, list[float]] = defaultdict(list)
    for outcome in outcomes:
        partition = producers._partition(outcome.key, _PARTITIONS)
        times[partition].append(datetime.fromisoformat(outcome.json()["occurred_at"]).timestamp())
    return {
        partition: max(later - earlier for earlier, later in pairwise(sorted(at))) for partition, at in times.items()
    }
