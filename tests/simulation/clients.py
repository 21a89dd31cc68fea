"""Stand-ins for aiokafka's consumer and admin client: what the worker uses of them, with their traps.

Each takes its process's link to Kafka, and then what aiokafka's own takes.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata

from tests.simulation.broker import Broker
from tests.simulation.log import Headers
from tests.simulation.network import Manners, Network

_HEARTBEAT = 1.0
_GROUP = Manners(usual=0.002, slow=0.05, slowest=1.0)
"""The coordinator may be slow, but not so slow that the session means nothing."""


@dataclass(slots=True)
class Link:
    """What a process reaches Kafka by. `troubled` says, at random, whether a request fails with an error."""

    process: str
    broker: Broker
    network: Network
    random: Random
    troubled: Callable[[], bool]
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True, slots=True)
class ConsumerRecord:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class SimulatedConsumer:
    def __init__(self, link: Link, *, group_id: str | None, **_: Any) -> None:
        self._link = link
        self._group = link.broker.group
        self._member = f"{link.process}-{link.random.getrandbits(32):08x}" if group_id else None
        self._listener: Any = None
        self._topic = ""
        self._generation = -1
        self._positions: dict[TopicPartition, int | None] = {}
        self._paused: set[TopicPartition] = set()
        self._assigned = asyncio.Event()
        self._closing = asyncio.Event()
        self._coordination: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._member:
            self._coordination = asyncio.create_task(self._coordinate(self._member))
            await self._assigned.wait()

    async def stop(self) -> None:
        """Waits for a rebalance under way; cut off while it does, it does not leave the group."""
        self._closing.set()
        if self._coordination and self._member:
            await self._coordination
            member = self._member
            await self._link.network.ask(lambda: self._group.leave(member), _GROUP)

    # -- the group ----------------------------------------------------------------------------------------------

    def subscribe(self, topics: Sequence[str], *, listener: Any) -> None:
        (self._topic,), self._listener = topics, listener

    async def _coordinate(self, member: str) -> None:
        while not self._closing.is_set():
            self._assigned.clear()  # fetches wait until the rebalance is over (trap T9)
            await self._listener.on_partitions_revoked(set(self._positions))
            self._generation, numbers = await self._link.network.ask(lambda: self._group.join(member), _GROUP)
            assigned = {TopicPartition(self._topic, number): self._group.offsets.get(number) for number in numbers}
            self._positions = dict(assigned)
            self._paused.clear()
            self._assigned.set()
            # Records flow before the callback (trap T3), as they do from the group's offset.
            await asyncio.sleep(self._link.random.choice((0.0, 0.0, 0.005)))
            await self._listener.on_partitions_assigned(set(assigned))
            with contextlib.suppress(KafkaError):  # whatever the coordinator does not like: join anew
                await self._beat(member)

    async def _beat(self, member: str) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _HEARTBEAT)
            await self._link.network.ask(lambda: self._group.heartbeat(member, self._generation), _GROUP)

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        member, generation = self._member or "", self._generation
        known = {tp.partition: offset for tp, offset in offsets.items()}
        await self._link.network.ask(lambda: self._group.commit(member, generation, known), _GROUP)

    # -- reading ------------------------------------------------------------------------------------------------

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._positions = dict.fromkeys(partitions)

    def pause(self, *partitions: TopicPartition) -> None:
        self._require(partitions)
        self._paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._require(partitions)
        self._paused.difference_update(partitions)

    def paused(self) -> set[TopicPartition]:
        return set(self._paused)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._require([tp])
        self._positions[tp] = offset

    def _require(self, partitions: Iterable[TopicPartition]) -> None:
        for tp in partitions:
            if tp not in self._positions:
                raise IllegalStateError(f"{tp} is not assigned")

    async def position(self, tp: TopicPartition) -> int:
        await asyncio.sleep(0)
        position = self._positions.get(tp)
        if position is None:
            raise KafkaError("no position")
        return position

    def last_stable_offset(self, tp: TopicPartition) -> int:
        return self._link.broker.logs[tp].stable_end

    def highwater(self, tp: TopicPartition) -> int:
        return len(self._link.broker.logs[tp].records)

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        logs = self._link.broker.logs
        starts: dict[TopicPartition, int] = await self._link.network.ask(lambda: {tp: logs[tp].start for tp in tps})
        return starts

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Under `read_committed`: the last stable offset (trap T10)."""
        logs = self._link.broker.logs
        ends: dict[TopicPartition, int] = await self._link.network.ask(lambda: {tp: logs[tp].stable_end for tp in tps})
        return ends

    async def getone(self, tp: TopicPartition) -> ConsumerRecord:
        while True:
            batches = await self.getmany(tp, timeout_ms=1_000, max_records=1)
            if batches:
                return batches[tp][0]

    async def getmany(
        self, *tps: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        deadline = self._link.loop.time() + timeout_ms / 1000
        while True:
            if self._member:
                await self._assigned.wait()
            if self._link.troubled():
                raise KafkaConnectionError("the consumer lost its brokers")
            try:
                batches = self._fetch(tps, max_records)
            except OffsetOutOfRangeError:
                await asyncio.sleep(self._link.random.expovariate(500))  # the brokers said so
                raise
            remaining = deadline - self._link.loop.time()
            if batches or remaining <= 0:
                return batches
            await self._data(tps, remaining)

    async def _data(self, tps: Iterable[TopicPartition], seconds: float) -> None:
        """Wait until there may be more to read, at most so long."""
        more: asyncio.Future[None] = self._link.loop.create_future()
        for tp in tps or self._positions:
            if tp not in self._paused:
                self._link.broker.logs[tp].tell(more)
        await asyncio.wait([more], timeout=seconds)
        await asyncio.sleep(self._link.random.expovariate(500))

    def _fetch(self, tps: Iterable[TopicPartition], most: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        """An offset below a log's start fails them all; what the others had fetched is lost with it (trap T8)."""
        batches: dict[TopicPartition, list[ConsumerRecord]] = {}
        deleted: dict[TopicPartition, int] = {}
        for tp in tps or list(self._positions):
            position = self._positions.get(tp)
            if position is None or tp in self._paused:
                continue
            log = self._link.broker.logs[tp]
            if position < log.start:
                deleted[tp] = position
                continue
            found = [
                ConsumerRecord(offset, stored.timestamp, stored.key, stored.value, stored.headers)
                for offset, stored in log.committed(position, most)
            ]
            self._positions[tp] = found[-1].offset + 1 if len(found) == most else max(position, log.stable_end)
            if found:
                batches[tp] = found
        if deleted:
            raise OffsetOutOfRangeError(deleted)
        return batches


class SimulatedAdmin:
    def __init__(self, link: Link, **_: Any) -> None:
        self._link = link

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def list_consumer_group_offsets(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        offsets = self._link.broker.group.offsets
        return {tp: OffsetAndMetadata(offsets.get(tp.partition, -1), "") for tp in partitions}
