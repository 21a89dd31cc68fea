"""What an unfinished request takes of memory, as Python counts it."""

import gc
import tracemalloc
from collections import deque
from collections.abc import Callable
from typing import cast

import pytest

from tests.support import ledgers
from tests.support.requests import request
from tests.unit.domain.support import START
from tests.unit.wire import READER
from worker.dintero.call import Call, CallKind
from worker.domain.commit import Position
from worker.domain.partition import Partition
from worker.domain.policy import Policy
from worker.domain.request import Record
from worker.engine import Engine
from worker.kafka.ledger import Replay, encode

# Without parameters: the request, its entry, lane and timer, and the call that waits for its turn.
_MOST = 1_000


def _accepted(count: int) -> Partition:
    """Requests as they come in while the API stands still."""
    partition = Partition(Policy(), lambda: 0.5, Position(0))
    for number in range(count):
        message = request(f"P11223351-T{number}")
        record = Record(number, START + number, message.key, message.value, message.headers)
        partition.accept(READER.read(record), record, START)
        if number % 500 == 499:
            commit = partition.take(START)
            assert commit is not None
            partition.committed(commit, START)
    return partition


def _restored(count: int) -> Partition:
    replay = Replay(group="g", topic="t")
    for commit in ledgers.pending(0, count):
        for key, value in encode(commit, group="g", topic="t"):
            replay.add(key, value)
    deque(replay.decode(), 0)
    partition = Partition(Policy(poll_initial_delay=1), lambda: 0.5, Position(0))
    deque(partition.restore(replay.entries, replay.finished, START), 0)
    return partition


@pytest.mark.parametrize("count", [5_000, 20_000])
@pytest.mark.parametrize("have", [_accepted, _restored])
def test_an_unfinished_request_takes_under_a_kilobyte(have: Callable[[int], Partition], count: int) -> None:
    nobody = cast(Engine, None)
    tracemalloc.start()
    try:
        partition = have(count)
        calls = [Call(CallKind.CREATE, entry, nobody) for entry in partition.due(START + 1, count)]
        in_flight = {call.entry for call in calls}
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(in_flight) == count
    print(f"{taken / count:.0f} bytes")  # noqa: T201 - to be looked at
    assert taken / count < _MOST
