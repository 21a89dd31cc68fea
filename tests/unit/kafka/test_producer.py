"""Where the records of a commit go, and how they reach brokers without transactions: in which batches and order."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from worker.kafka import producer as producers
from worker.kafka.connection import Connection
from worker.kafka.producer import Message, PlainProducer, Producer, TransactionalProducer, partition_producer

MIB = 1_048_576
NOWHERE = Connection("127.0.0.1:1")


class Client:
    """aiokafka's producer as far as a write goes. What it is told is in `told`; a test decides each delivery's fate."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.sent: list[tuple[str, int, list[bytes | None], int]] = []
        self.deliveries: list[asyncio.Future[None]] = []
        self.at_once = True

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range({"state": 4, "outcomes": 3, "dead": 1}[topic]))

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(MIB, 0, is_transactional=0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[None]:
        batch.close()
        content = bytes(batch._build())
        records = MemoryRecords(content).next_batch()
        values = [record.value for record in records] if records else []
        self.sent.append((topic, partition, values, len(content)))
        self.told.append(f"send {topic}")
        delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.deliveries.append(delivery)
        if self.at_once:
            delivery.set_result(None)
        return asyncio.shield(delivery)  # as aiokafka does

    async def stop(self) -> None: ...


Write = Callable[[Sequence[Message], Sequence[Message]], Coroutine[Any, Any, None]]


@pytest.fixture
async def client() -> Client:
    return Client()


@pytest.fixture
async def write(client: Client) -> AsyncIterator[Write]:
    producer = PlainProducer(NOWHERE)
    real, producer._producer = producer._producer, client
    yield producer.write
    await real.stop()


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - what is awaited is a state, not an event
            await asyncio.sleep(0)


def entry(value: bytes, partition: int = 2) -> Message:
    return Message("state", b"k", value, partition=partition)


def event(key: bytes | None, value: bytes = b"v") -> Message:
    return Message("outcomes", key, value, [("h", b"x"), ("empty", None)])


@pytest.mark.parametrize(
    ("key", "java"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
@pytest.mark.parametrize("partitions", [1, 2, 7, 12, 1000])
def test_a_key_goes_where_java_would_send_it(key: bytes, java: int, partitions: int) -> None:
    """The hashes are those that Apache Kafka's own tests expect of its client."""
    assert producers._partition(key, partitions) == (java & 0x7FFFFFFF) % partitions


def test_a_key_that_no_terminal_has_is_neither_hashed_for_long_nor_kept() -> None:
    kept = producers._murmur2.cache_info().currsize
    keys = [b"%d" % number + b"x" * MIB for number in range(20)]
    began = time.process_time()
    assert len({producers._partition(key, 4) for key in keys}) > 1
    assert time.process_time() - began < 1.0  # Java's hash would take some five seconds
    assert producers._murmur2.cache_info().currsize == kept


def test_a_record_without_a_key_has_one_place_and_an_empty_key_is_a_key() -> None:
    assert producers._partition(None, 12) == 0
    assert producers._partition(b"", 12) == (275646681 & 0x7FFFFFFF) % 12


async def test_records_of_one_partition_share_a_batch_in_their_order(client: Client, write: Write) -> None:
    values = [b"%d" % number for number in range(100)]
    await write([event(b"a", b"first"), event(b"a", b"second")], [entry(value) for value in values])
    assert [(topic, sent) for topic, _, sent, _ in client.sent] == [
        ("outcomes", [b"first", b"second"]),
        ("state", values),
    ]
    assert client.sent[1][1] == 2


async def test_keys_decide_the_partition_where_none_is_given(client: Client, write: Write) -> None:
    keys = [b"%d" % number for number in range(50)]
    await write([event(key, key) for key in keys], [])
    assert {partition for _, partition, _, _ in client.sent} == {0, 1, 2}
    assert all(
        producers._partition(key, 3) == partition for _, partition, sent, _ in client.sent for key in sent if key
    )


async def test_what_is_over_a_mebibyte_is_split_and_every_batch_fits(client: Client, write: Write) -> None:
    values = [bytes([number]) * 200_000 for number in range(12)]
    await write([], [entry(value) for value in values])
    assert len(client.sent) == 3
    assert [value for _, _, sent, _ in client.sent for value in sent] == values
    assert all(size <= MIB for *_, size in client.sent)


async def test_a_record_larger_than_a_batch_is_sent_or_fails_but_is_never_left_out(
    client: Client, write: Write
) -> None:
    await write([], [entry(b"small"), entry(b"x" * (MIB + 1)), entry(b"last")])
    assert [len(value or b"") for _, _, sent, _ in client.sent for value in sent] == [5, MIB + 1, 4]


async def test_a_second_failure_that_nobody_awaits_is_not_reported_as_forgotten(client: Client, write: Write) -> None:
    client.at_once = False
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    writing = asyncio.create_task(write([event(b"a"), event(b"b")], []))
    await until(lambda: len(client.deliveries) == 2)
    for delivery in client.deliveries:
        delivery.set_exception(ConnectionError("gone"))
    with pytest.raises(ConnectionError):
        await writing
    client.deliveries.clear()
    await asyncio.sleep(0)
    assert complaints == []


async def test_what_fails_after_its_write_was_given_up_is_not_reported_as_forgotten(
    client: Client, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producers, "_TIMEOUT", 0.01)
    client.at_once = False
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    with pytest.raises(TimeoutError):
        await write([event(b"a")], [entry(b"e")])
    for delivery in client.deliveries:
        delivery.set_exception(ConnectionError("gone"))
    await asyncio.sleep(0)
    client.deliveries.clear()
    del delivery
    await asyncio.sleep(0)
    assert complaints == []


async def test_what_hangs_is_given_up(client: Client, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producers, "_TIMEOUT", 0.01)
    client.at_once = False
    with pytest.raises(TimeoutError):
        await write([event(b"a")], [entry(b"e")])
    assert client.told == ["send outcomes"]


async def test_without_transactions_events_are_durable_before_the_ledger_is_sent(client: Client, write: Write) -> None:
    client.at_once = False
    writing = asyncio.create_task(write([event(b"a")], [entry(b"e")]))
    await until(lambda: client.deliveries)
    await asyncio.sleep(0)
    assert client.told == ["send outcomes"]
    client.deliveries[0].set_result(None)
    await until(lambda: len(client.deliveries) == 2)
    client.deliveries[1].set_result(None)
    await writing
    assert client.told == ["send outcomes", "send state"]


async def test_without_transactions_a_failed_event_keeps_the_ledger_back(client: Client, write: Write) -> None:
    client.at_once = False
    writing = asyncio.create_task(write([event(b"a")], [entry(b"e")]))
    await until(lambda: client.deliveries)
    client.deliveries[0].set_exception(ConnectionError("gone"))
    with pytest.raises(ConnectionError):
        await writing
    assert client.told == ["send outcomes"]


@pytest.mark.parametrize("make", [PlainProducer, partial(TransactionalProducer, transactional_id="id")])
async def test_closing_a_producer_that_never_reached_a_broker_ends_in_time(
    make: Callable[[Connection], Producer],
) -> None:
    producer = make(NOWHERE)
    async with asyncio.timeout(30):
        with pytest.raises(KafkaError):
            await producer.start()
        await producer.close()
        await producer.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing goes on trying"


def test_each_partition_has_a_transactional_id_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str | None] = []
    monkeypatch.setattr(producers, "Transactions", lambda _, transactional_id, **__: made.append(transactional_id))
    monkeypatch.setattr(producers, "AIOKafkaProducer", lambda **options: made.append(options.get("transactional_id")))
    for number in (0, 11):
        partition_producer(NOWHERE, "exactly_once", group="a group", topic="requests", partition=number)
    partition_producer(NOWHERE, "at_least_once", group="a group", topic="requests", partition=0)
    assert made == ["a group-requests-0", "a group-requests-11", None]
