"""Producers: how the records of one commit reach Kafka, in one transaction or in order.

Both promise the same to their caller: when `write` returns, everything is durable; when it raises, anything may
have happened, and the producer is of no more use.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from zlib import crc32

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import murmur2

from schemas import names
from worker.kafka.connection import Connection, naming, stop_client
from worker.kafka.transactions import Transactions

# Longer than any healthy commit, and under the transaction timeout: what hangs is given up, not waited for.
_TIMEOUT = 10.0
_REQUEST_TIMEOUT_MS = 10_000
_TRANSACTION_TIMEOUT_MS = 15_000
MAX_BATCH_SIZE = 1_048_576
# No terminal id is longer, in UTF-8. Longer keys are those of bad records: one of a mebibyte would hold the loop for a
# quarter of a second in murmur2, and the cache would keep it.
_LONGEST_TERMINAL_ID = 4 * names.MAX_TERMINAL_ID

Headers = Sequence[tuple[str, bytes | None]]


class Message(NamedTuple):
    """A record to be written. Without a partition the key decides, as in Java."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Producer(ABC):
    """Starts, writes and ends within bounded time. Raises KafkaError, or TimeoutError."""

    atomic: bool
    """A write is durable whole or not at all."""

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def write(self, events: Sequence[Message], ledger: Sequence[Message]) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...


class TransactionalProducer(Producer):
    """One transaction for each write. Starting it fences every earlier producer of the same id."""

    atomic = True

    def __init__(self, connection: Connection, transactional_id: str) -> None:
        self._transactions = Transactions(
            connection,
            transactional_id,
            batch_size=MAX_BATCH_SIZE,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
        )

    async def start(self) -> None:
        with naming("Write"):
            async with asyncio.timeout(_TIMEOUT):
                await self._transactions.start()

    async def write(self, events: Sequence[Message], ledger: Sequence[Message]) -> None:
        with naming("Write"):
            async with asyncio.timeout(_TIMEOUT):
                grouped = await _grouped([*ledger, *events], self._transactions.partitions_for)
                await self._transactions.write(grouped)

    async def close(self) -> None:
        await self._transactions.close()


class PlainProducer(Producer):
    """For brokers without transactions: events first, then the ledger, so that a crash repeats and never loses."""

    atomic = False

    def __init__(self, connection: Connection) -> None:
        self._producer = AIOKafkaProducer(
            **connection.options(),
            acks="all",
            max_batch_size=MAX_BATCH_SIZE,
            max_request_size=2 * MAX_BATCH_SIZE,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
        )

    async def start(self) -> None:
        with naming("Write"):
            async with asyncio.timeout(_TIMEOUT):
                await self._producer.start()

    async def write(self, events: Sequence[Message], ledger: Sequence[Message]) -> None:
        with naming("Write"):
            async with asyncio.timeout(_TIMEOUT):
                await _deliver(self._producer, events)
                await _deliver(self._producer, ledger)

    async def close(self) -> None:
        await stop_client(self._producer)


def partition_producer(
    connection: Connection,
    delivery: Literal["exactly_once", "at_least_once"],
    *,
    group: str,
    topic: str,
    partition: int,
) -> Producer:
    """That of an input partition. Exactly once, whoever starts it fences the partition's last owner."""
    if delivery == "at_least_once":
        return PlainProducer(connection)
    return TransactionalProducer(connection, f"{transactional_prefix(group, topic)}{partition}")


def transactional_prefix(group: str, topic: str) -> str:
    """What the transactional ids of all partitions begin with: rights are given on it."""
    return f"{group}-{topic}-"


async def _grouped(
    messages: Iterable[Message], count: Callable[[str], Awaitable[int]]
) -> dict[TopicPartition, list[Message]]:
    """Each partition's, in their order; `count` tells how many partitions a topic has."""
    grouped: dict[TopicPartition, list[Message]] = {}
    counts: dict[str, int] = {}
    for message in messages:
        topic = message.topic
        if topic not in counts:
            counts[topic] = await count(topic)
        partition = _partition(message.key, counts[topic]) if message.partition is None else message.partition
        grouped.setdefault(TopicPartition(topic, partition), []).append(message)
    return grouped


async def _deliver(producer: AIOKafkaProducer, messages: Iterable[Message]) -> None:
    """Send all, in batches of their partitions, before the first delivery is awaited."""

    async def count(topic: str) -> int:
        return len(await producer.partitions_for(topic))

    deliveries: list[asyncio.Future[Any]] = []
    for (topic, partition), group in (await _grouped(messages, count)).items():
        for batch in _batches(producer, group):
            delivery = await producer.send_batch(batch, topic, partition=partition)
            delivery.add_done_callback(_retrieve)
            deliveries.append(delivery)
    if deliveries:
        # Not by `gather`, which cancels them with us: whoever fails them later would then be told of nobody listening.
        ended, _ = await asyncio.wait(deliveries, return_when=asyncio.FIRST_EXCEPTION)
        for delivery in ended:
            delivery.result()


def _retrieve(delivery: asyncio.Future[Any]) -> None:
    """Look at the exception of a delivery nobody awaits any more, else asyncio reports it as forgotten."""
    if not delivery.cancelled():
        delivery.exception()


def _batches(producer: AIOKafkaProducer, messages: Iterable[Message]) -> Iterable[Any]:
    batch = producer.create_batch()
    for message in messages:
        if not _append(batch, message):
            yield batch
            batch = producer.create_batch()
            _append(batch, message)
    yield batch


def _append(batch: Any, message: Message) -> bool:
    added = batch.append(timestamp=None, key=message.key, value=message.value, headers=list(message.headers))
    return added is not None


def _partition(key: bytes | None, count: int) -> int:
    """Java's default partitioner, for every key that can be a terminal id; without a key it is the first partition."""
    if key is None:
        return 0
    hashed = _murmur2(key) if len(key) <= _LONGEST_TERMINAL_ID else crc32(key)
    return (hashed & 0x7FFFFFFF) % count


@lru_cache(maxsize=65_536)
def _murmur2(key: bytes) -> int:
    return int(murmur2(key))
