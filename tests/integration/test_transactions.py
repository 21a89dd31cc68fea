"""Transactions on a real broker: what readers see of them, whoever fails in the middle."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError, ProducerFenced
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.records import read_until
from tests.support.topics import Topics, create_topics, named_topics
from worker.demo.broker import KafkaBroker
from worker.kafka.connection import Connection
from worker.kafka.producer import Message, TransactionalProducer
from worker.kafka.wire import AddPartitions, EndTransaction, InitProducerId, Produce, Request

pytestmark = pytest.mark.kafka

_BOUND = 10.0 + 1.0
_LAST = b"the last"

Send = Callable[[], Awaitable[Any]]


@pytest.fixture
def topics(kafka: KafkaBroker) -> Topics:
    topics = named_topics()
    create_topics(kafka.bootstrap, topics)
    return topics


@asynccontextmanager
async def started(kafka: KafkaBroker, topics: Topics) -> AsyncIterator[TransactionalProducer]:
    """Fences all earlier ones of these topics."""
    producer = TransactionalProducer(Connection(kafka.bootstrap), f"writes-{topics.requests}")
    try:
        await producer.start()
        yield producer
    finally:
        await producer.close()


def entry(topics: Topics, value: bytes, partition: int = 0) -> Message:
    return Message(topics.state, b"key", value, partition=partition)


def event(topics: Topics, value: bytes) -> Message:
    return Message(topics.outcomes, b"P11223351-T0001", value, [("ce_id", b"1"), ("empty", None)])


async def committed(kafka: KafkaBroker, topics: Topics) -> list[bytes]:
    """All values that readers are given, in both topics; told by a last transaction, which ends what is open."""
    async with started(kafka, topics) as producer:
        await producer.write([event(topics, _LAST)], [entry(topics, _LAST)])
    found = [
        await asyncio.to_thread(
            read_until, kafka.bootstrap, topic, lambda found: _LAST in [each.value for each in found]
        )
        for topic in (topics.outcomes, topics.state)
    ]
    values = [each.value or b"" for of_topic in found for each in of_topic]
    assert values.count(_LAST) == 2
    return sorted(value for value in values if value != _LAST)


def when(
    producer: TransactionalProducer, request_type: type[Request], act: Callable[[Any, Send], Awaitable[Any]]
) -> None:
    """Lets `act` carry the first such request of a producer, given its connection and how it is sent."""
    client = producer._transactions._client
    send = client.send
    waiting = [request_type]

    async def carried(node: int, request: Request, *, group: int = 0) -> Any:
        async def to_the_broker() -> Any:
            return await send(node, request, group=group)

        if type(request) not in waiting:
            return await to_the_broker()
        waiting.clear()
        await client.ready(node, group=group)
        return await act(client._conns[node, group], to_the_broker)

    client.send = carried


async def lost_before(connection: Any, _: Send) -> None:
    connection.close(reason=CloseReason.CONNECTION_BROKEN)
    raise KafkaConnectionError("lost before it was sent")


async def lost_on_its_way(connection: Any, send: Send) -> Any:
    sending = asyncio.ensure_future(send())
    await asyncio.sleep(0)  # it is written
    connection._writer.transport.abort()
    return await sending


async def lost_after(connection: Any, send: Send) -> None:
    await send()
    connection.close(reason=CloseReason.CONNECTION_BROKEN)
    raise KafkaConnectionError("the answer was lost")


async def test_readers_see_a_write_whole_and_only_once_it_is_committed(kafka: KafkaBroker, topics: Topics) -> None:
    produced, go_on = asyncio.Event(), asyncio.Event()

    async def held_back(_: Any, send: Send) -> Any:
        produced.set()
        await go_on.wait()
        return await send()

    async with started(kafka, topics) as producer:
        when(producer, EndTransaction, held_back)
        events, entries = [event(topics, b"event")], [entry(topics, b"%d" % each, each) for each in range(4)]
        writing = asyncio.create_task(producer.write(events, entries))
        await produced.wait()
        read = [
            await asyncio.to_thread(read_until, kafka.bootstrap, topic, bool, timeout=1.0)
            for topic in (topics.outcomes, topics.state)
        ]
        assert read == [[], []]
        go_on.set()
        await writing
    assert await committed(kafka, topics) == [b"0", b"1", b"2", b"3", b"event"]


async def test_a_record_is_read_as_it_was_written(kafka: KafkaBroker, topics: Topics) -> None:
    async with started(kafka, topics) as producer:
        await producer.write([event(topics, b"\xff\x00")], [Message(topics.state, b"gone", None, partition=3)])
    (outcome,) = await asyncio.to_thread(read_until, kafka.bootstrap, topics.outcomes, bool)
    assert (outcome.key, outcome.value) == (b"P11223351-T0001", b"\xff\x00")
    assert outcome.headers == (("ce_id", b"1"), ("empty", None))
    (tombstone,) = await asyncio.to_thread(read_until, kafka.bootstrap, topics.state, bool)
    assert (tombstone.key, tombstone.value) == (b"gone", None)


async def test_many_writes_back_to_back_are_all_there(kafka: KafkaBroker, topics: Topics) -> None:
    async with started(kafka, topics) as producer:
        for number in range(50):
            await producer.write([event(topics, b"event %02d" % number)], [entry(topics, b"entry %02d" % number)])
    expected = [b"%s %02d" % (kind, number) for kind in (b"entry", b"event") for number in range(50)]
    assert await committed(kafka, topics) == expected


async def test_a_write_of_several_mebibytes_is_whole_and_in_order(kafka: KafkaBroker, topics: Topics) -> None:
    values = [b"%02d" % number + b"x" * 200_000 for number in range(25)]
    async with started(kafka, topics) as producer:
        await producer.write([event(topics, b"event")], [entry(topics, value) for value in values])
    found = await asyncio.to_thread(read_until, kafka.bootstrap, topics.state, lambda found: len(found) == 25)
    assert [each.value for each in found] == values


async def test_an_older_producer_of_the_id_is_fenced(kafka: KafkaBroker, topics: Topics) -> None:
    async with started(kafka, topics) as older:
        await older.write([], [entry(topics, b"before")])
        async with started(kafka, topics) as newer:
            with pytest.raises(ProducerFenced):
                await older.write([event(topics, b"late")], [entry(topics, b"late")])
            await newer.write([], [entry(topics, b"after")])
    assert await committed(kafka, topics) == [b"after", b"before"]


@pytest.mark.parametrize("request_type", [AddPartitions, Produce, EndTransaction])
async def test_a_producer_fenced_in_the_middle_has_written_nothing(
    kafka: KafkaBroker, topics: Topics, request_type: type[Request]
) -> None:
    async def overtaken(_: Any, send: Send) -> Any:
        async with started(kafka, topics) as newer:
            await newer.write([], [entry(topics, b"the newer one's")])
        return await send()

    async with started(kafka, topics) as older:
        when(older, request_type, overtaken)
        with pytest.raises(ProducerFenced):
            await older.write([event(topics, b"late")], [entry(topics, b"late")])
    assert await committed(kafka, topics) == [b"the newer one's"]


async def test_an_error_on_one_partition_fails_the_write_and_nothing_of_it_is_seen(
    kafka: KafkaBroker, topics: Topics
) -> None:
    small = NewTopic(f"{topics.outcomes}.small", 1, 1, config={"max.message.bytes": "1000"})
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for created in admin.create_topics([small]).values():
        await asyncio.to_thread(created.result, 30)
    async with started(kafka, topics) as producer:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.write(
                [event(topics, b"event"), Message(small.topic, b"k", b"x" * 2_000)], [entry(topics, b"entry")]
            )
    assert await committed(kafka, topics) == []


@pytest.mark.parametrize("lost", [lost_before, lost_on_its_way, lost_after])
@pytest.mark.parametrize("request_type", [InitProducerId, AddPartitions, Produce])
async def test_a_lost_connection_is_survived_and_nothing_is_written_twice(
    kafka: KafkaBroker, topics: Topics, request_type: type[Request], lost: Callable[[Any, Send], Awaitable[Any]]
) -> None:
    producer = TransactionalProducer(Connection(kafka.bootstrap), f"writes-{topics.requests}")
    when(producer, request_type, lost)
    try:
        await producer.start()
        for number in range(3):
            await producer.write([event(topics, b"event %d" % number)], [entry(topics, b"entry %d" % number)])
    finally:
        await producer.close()
    expected = [b"%s %d" % (kind, number) for kind in (b"entry", b"event") for number in range(3)]
    assert await committed(kafka, topics) == expected


@pytest.mark.parametrize("lost", [lost_before, lost_on_its_way, lost_after])
async def test_a_commit_without_an_answer_ends_the_producer_and_is_whole_or_nothing(
    kafka: KafkaBroker, topics: Topics, lost: Callable[[Any, Send], Awaitable[Any]]
) -> None:
    async with started(kafka, topics) as producer:
        when(producer, EndTransaction, lost)
        with pytest.raises(KafkaConnectionError):
            await producer.write([event(topics, b"event")], [entry(topics, b"entry")])
    assert await committed(kafka, topics) in ([], [b"entry", b"event"])


async def test_a_commit_that_arrives_late_does_not_end_the_transaction_of_the_successor(
    kafka: KafkaBroker, topics: Topics
) -> None:
    late: list[Send] = []

    async def kept_back(_: Any, send: Send) -> None:
        late.append(send)
        raise KafkaConnectionError("it is still on its way")

    async def arrives(_: Any, send: Send) -> None:
        assert await late[0]()  # refused: an error code
        raise KafkaConnectionError("and the successor's never comes")

    async with started(kafka, topics) as producer:
        when(producer, EndTransaction, kept_back)
        with pytest.raises(KafkaConnectionError):
            await producer.write([event(topics, b"event")], [entry(topics, b"entry")])
        async with started(kafka, topics) as successor:
            when(successor, EndTransaction, arrives)
            with pytest.raises(KafkaConnectionError):
                await successor.write([event(topics, b"again")], [entry(topics, b"again")])
    assert await committed(kafka, topics) == []


async def test_a_broker_that_dies_in_the_middle_ends_the_write_in_time(kafka: KafkaBroker, topics: Topics) -> None:
    async def dies(_: Any, send: Send) -> Any:
        await asyncio.to_thread(kafka.kill)
        return await send()

    async with started(kafka, topics) as producer:
        await producer.write([], [entry(topics, b"before")])
        when(producer, EndTransaction, dies)
        began = time.monotonic()
        writing = asyncio.create_task(producer.write([event(topics, b"event")], [entry(topics, b"entry")]))
        with suppress(KafkaError, TimeoutError):
            await writing
        assert time.monotonic() - began < _BOUND
        await asyncio.to_thread(kafka.restart)
    async with started(kafka, topics) as successor:
        await successor.write([event(topics, b"after")], [entry(topics, b"after")])
