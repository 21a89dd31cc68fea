"""Ledgers as a worker leaves them behind, written without one: so many entries would take it minutes."""

import time
from collections.abc import Iterable, Iterator
from uuid import UUID

from confluent_kafka import Producer

from tests.support.system import System
from worker.domain import identity
from worker.domain.commit import Commit, Ended, Position
from worker.domain.entry import Entry, State
from worker.domain.request import Request
from worker.kafka.ledger import encode

_TIMEOUT = 60.0
_AT_ONCE = 1_000
# Finished requests are counted from here on, so that their keys are not those of pending ones.
_FINISHED = 1 << 40


def key(partition: int, number: int) -> str:
    """An idempotency key: the same for the same numbers."""
    return str(UUID(int=partition << 64 | number, version=4))


def pending(partition: int, count: int) -> Iterator[Commit]:
    """Operations that the API has and that no terminal has answered, each of a terminal of its own."""
    now = _now()
    for first in range(0, count, _AT_ONCE):
        commit = Commit(Position(0, time=now))
        for number in range(first, min(first + _AT_ONCE, count)):
            entry = Entry(_request(partition, number, now), State.PENDING, creating_at=now, pending_at=now)
            entry.operation_id = key(partition, number)
            commit.entries.append(entry)
        yield commit


def finished(partition: int, count: int) -> Iterator[Commit]:
    """Requests of before that are remembered."""
    now = _now()
    for first in range(0, count, _AT_ONCE):
        commit = Commit(Position(0, time=now))
        for number in range(first, min(first + _AT_ONCE, count)):
            request = _request(partition, _FINISHED + number, now)
            commit.ended.append(Ended(request.key, request.fingerprint, request.message_id, now))
        yield commit


def forgotten(partition: int, count: int) -> Iterator[Commit]:
    """Tombstones: what `finished` remembers, forgotten again."""
    now = _now()
    for first in range(0, count, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, count))
        yield Commit(Position(0, time=now), forgotten=[key(partition, _FINISHED + number) for number in numbers])


def write(system: System, partition: int, commits: Iterable[Commit]) -> int:
    """Returns when the state topic has them all; gives how many records they are."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": system.bootstrap, "queue.buffering.max.messages": 1_000_000})
    group, topic = system.topics.requests, system.topics.requests
    written = 0
    for commit in commits:
        for name, value in encode(commit, group=group, topic=topic):
            producer.produce(
                system.topics.state,
                key=name,
                value=value,
                partition=partition,
                on_delivery=lambda error, _: failures.append(error) if error else None,
            )
            written += 1
        producer.poll(0)
    assert producer.flush(_TIMEOUT) == 0
    assert not failures, failures[:3]
    return written


def _request(partition: int, number: int, now: int) -> Request:
    terminal = f"P11223351-L{partition}-{number}"
    name = key(partition, number)
    fingerprint = identity.fingerprint(terminal, "end_of_day", None, None)
    return Request(name, name, fingerprint, terminal, "end_of_day", None, None, name, now, offset=0)


def _now() -> int:
    return int(time.time() * 1000)
