"""A group whose consumer, supervisors and engines are small stand-ins."""

import asyncio
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from worker.domain.request import Record
from worker.kafka.connection import Connection
from worker.kafka.group import Group
from worker.supervisor import Supervisor
from worker.telemetry.metrics import Metrics

TOPIC = "requests"


def tp(number: int) -> TopicPartition:
    return TopicPartition(TOPIC, number)


def record(offset: int) -> Any:
    return SimpleNamespace(offset=offset, timestamp=offset, key=b"k", value=b"v", headers=())


class Engine:
    def __init__(self, offset: int = 0) -> None:
        at = SimpleNamespace(offset=offset)
        self.partition = SimpleNamespace(position=at, committed_position=at, full=False, dirty=False, crowded=False)
        self.in_ledger = True
        self.accepted: list[int] = []
        self.told: list[str] = []

    def accept(self, records: Iterable[Record]) -> None:
        self.accepted += [taken.offset for taken in records]

    def suspend(self) -> None:
        self.told.append("suspend")

    async def settle(self, timeout: float) -> None:
        self.told.append("settle")


class Partition:
    """A supervisor, as the group sees it."""

    def __init__(self, number: int, changed: Callable[[], None]) -> None:
        self.number = number
        self.changed = changed
        self.engine: Engine | None = None
        self.told: list[str] = []
        self._suspended = False

    def serve(self, offset: int) -> Engine:
        self.engine = Engine(offset)
        if self._suspended:
            self.engine.suspend()
        self.changed()
        return self.engine

    def suspend(self) -> None:
        self._suspended = True
        if self.engine:
            self.engine.suspend()

    def resume(self) -> None:
        self._suspended = False
        self.told.append("resume")

    def cancel(self) -> None:
        self.told.append("cancel")

    def reopen(self, why: str) -> None:
        self.told.append("reopen")

    async def close(self) -> None:
        self.told.append("close")


class Consumer:
    """aiokafka's consumer, so far as it is steered: it forgets everything at an assignment, as the real one does."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.positions: dict[TopicPartition, int] = {}
        self.pauses: set[TopicPartition] = set()
        self.committed: list[dict[TopicPartition, int]] = []
        self.batches: list[Any] = []
        self.error: Exception | None = None
        self.ends: dict[TopicPartition, int] = {}  # as of the last fetch
        self.true_ends: dict[TopicPartition, int] = {}
        self.stopped = False

    def assigned(self, *numbers: int) -> list[TopicPartition]:
        self.positions, self.pauses, self.calls = dict.fromkeys(map(tp, numbers), 99), set(), []
        return list(map(tp, numbers))

    def _told(self, call: str, at: TopicPartition, offset: int | None = None) -> None:
        self.calls.append((call, at.partition if offset is None else (at.partition, offset)))
        if at not in self.positions:
            raise IllegalStateError(f"{at} is not assigned")

    def pause(self, *partitions: TopicPartition) -> None:
        for at in partitions:
            self._told("pause", at)
            self.pauses.add(at)

    def resume(self, *partitions: TopicPartition) -> None:
        for at in partitions:
            self._told("resume", at)
            self.pauses.discard(at)

    def seek(self, at: TopicPartition, offset: int) -> None:
        self._told("seek", at, offset)
        self.positions[at] = offset

    def paused(self) -> set[TopicPartition]:
        return self.pauses

    async def position(self, at: TopicPartition) -> int:
        return self.positions[at]

    def last_stable_offset(self, at: TopicPartition) -> int | None:
        return self.ends.get(at)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {at: self.true_ends[at] for at in partitions}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.error:
            raise self.error
        self.committed.append(offsets)

    def subscribe(self, topics: list[str], *, listener: Group) -> None:
        self.calls.append(("subscribe", topics))

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Any:
        await asyncio.sleep(0.001)
        batch = self.batches.pop(0) if self.batches else {}
        if isinstance(batch, BaseException):
            raise batch
        return batch


class World:
    def __init__(self) -> None:
        self.consumer = Consumer()
        self.partitions: list[Partition] = []
        self.group = Group(
            Connection("127.0.0.1:1"),
            topic=TOPIC,
            group_id="group",
            supervise=self._supervise,
            drain_timeout=1.0,
            metrics=Mock(spec=Metrics),
        )
        self.group._consumer = self.consumer

    def _supervise(self, number: int, changed: Callable[[], None]) -> Supervisor:
        self.partitions.append(Partition(number, changed))
        return cast(Supervisor, self.partitions[-1])

    async def assign(self, *numbers: int) -> None:
        await self.group.on_partitions_assigned(self.consumer.assigned(*numbers))

    async def revoke(self) -> None:
        await self.group.on_partitions_revoked(list(map(tp, self.group.supervisors)))

    async def poll(self, batch: Any) -> None:
        self.consumer.batches.append(batch)
        await self.group._poll(self.consumer)

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not true():  # noqa: ASYNC110 - what is awaited is a state, not an event
                await asyncio.sleep(0.001)
