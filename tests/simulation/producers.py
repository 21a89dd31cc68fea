"""Stand-ins for aiokafka's producer without transactions, and for the client under those with: what is used of them."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import (
    BrokerResponseError,
    ConcurrentTransactions,
    InvalidProducerEpoch,
    KafkaConnectionError,
    ProducerFenced,
)
from aiokafka.record.memory_records import MemoryRecords

from tests.simulation.broker import Broker, Place
from tests.simulation.clients import Link
from tests.simulation.log import Headers, Stored
from worker.kafka.wire import AddPartitions, Begun, EndTransaction, InitProducerId, Produce, Request

_COORDINATOR = 0


class Batch:
    def __init__(self) -> None:
        self.stored: list[Stored] = []

    def append(self, *, timestamp: None, key: bytes | None, value: bytes | None, headers: Headers) -> object:
        self.stored.append(Stored(key, value, headers, 0))
        return self


class PlainProducer:
    """Without transactions: what arrived stays, whatever the sender hears of it. Nothing would fence what came late."""

    def __init__(self, link: Link, **_: Any) -> None:
        self._link = link
        self._sending: list[asyncio.Task[None]] = []

    async def start(self) -> None: ...

    async def stop(self) -> None:
        for task in self._sending:
            task.cancel()

    async def partitions_for(self, topic: str) -> set[int]:
        return _partitions(self._link, topic)

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._send(batch.stored, (topic, partition)))
        self._sending = [each for each in self._sending if not each.done()] + [task]
        return task

    async def _send(self, stored: list[Stored], place: Place) -> None:
        await _ask(self._link, lambda: self._link.broker.append(place, stored), ("never", "before"))


class ProducerClient:
    """aiokafka's client, as far as transactions are asked of it. Each partition of a topic has its own leader."""

    unauthorized_topics = frozenset[str]()

    def __init__(self, link: Link, **_: Any) -> None:
        self._link = link
        self.cluster = self

    async def bootstrap(self) -> None: ...

    async def close(self) -> None: ...

    def add_topic(self, topic: str) -> None: ...

    async def force_metadata_update(self) -> None: ...

    async def coordinator_lookup(self, *_: Any) -> int:
        return _COORDINATOR

    def partitions_for_topic(self, topic: str) -> set[int]:
        return _partitions(self._link, topic)

    def leader_for_partition(self, place: TopicPartition) -> int:
        return int(place.partition)

    async def send(self, node: int, request: Request, group: int = 0) -> Any:
        return await _ask(self._link, lambda: self._answer(request), ("never", "late", "before"))

    def _answer(self, request: Request) -> Any:
        broker = self._link.broker
        match request:
            case InitProducerId():
                try:
                    return Begun(0, 1, broker.init(request.transactional_id, self._link.process))
                except ConcurrentTransactions as error:
                    return Begun(error.errno, -1, -1)
            case AddPartitions(identity=(id_, _, epoch), places=places):
                return dict.fromkeys(places, _code(lambda: broker.begin(id_, epoch)))
            case Produce(identity=(id_, _, epoch), batches=batches):
                return {place: _code(partial(_write, broker, id_, epoch, place, batches[place])) for place in batches}
            case EndTransaction(identity=(id_, _, epoch)):
                return _code(lambda: broker.end(id_, epoch))
        raise AssertionError(f"nobody answers {request}")


def _code(act: Callable[[], None]) -> int:
    try:
        act()
    except ProducerFenced:
        return int(InvalidProducerEpoch.errno)
    except BrokerResponseError as error:
        return int(error.errno)
    return 0


def _write(broker: Broker, id_: str, epoch: int, place: TopicPartition, content: bytes) -> None:
    batch = MemoryRecords(bytes(content)).next_batch()
    assert batch.producer_epoch == epoch
    stored = [Stored(record.key, record.value, record.headers, 0) for record in batch]
    broker.produce(id_, epoch, place, stored, batch.base_sequence)


def _partitions(link: Link, topic: str) -> set[int]:
    return {number for known, number in link.broker.logs if known == topic}


async def _ask(link: Link, act: Callable[[], Any], fates: Sequence[str]) -> Any:
    """One request. When its connection is lost it never arrives, arrives late, or has arrived."""
    if not link.troubled():
        return await link.network.ask(act)
    fate = link.random.choice(fates)
    if fate == "late":
        link.network.leave(act)
    elif fate == "before":
        await link.network.ask(act)
    raise KafkaConnectionError(f"the connection was lost, and the request arrives {fate}")
