"""The broker under all these tests: what the chaos tests ask of it."""

import asyncio

import pytest

from tests.support.records import Message, produce, read_until
from tests.support.topics import create_topics, named_topics
from worker.demo.broker import KafkaBroker
from worker.kafka import producer as producers
from worker.kafka.connection import Connection

pytestmark = pytest.mark.kafka


def test_a_killed_broker_comes_back_on_its_address_with_its_records(kafka: KafkaBroker) -> None:
    sent = [Message(b"P11223351-T0001", b"\xff not text", (("a", b"\x00"), ("a", None))), Message(None, None)]
    topics = named_topics()
    create_topics(kafka.bootstrap, topics, partitions=1)
    produce(kafka.bootstrap, topics.requests, sent)
    kafka.kill()
    kafka.restart()
    assert read_until(kafka.bootstrap, topics.requests, lambda found: len(found) == 2) == sent


async def test_a_producer_given_up_on_a_hung_broker_leaves_no_task_behind(
    kafka: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = named_topics()
    create_topics(kafka.bootstrap, topics, partitions=1)
    entry = producers.Message(topics.state, b"key", b"value", partition=0)
    producer = producers.TransactionalProducer(Connection(kafka.bootstrap), f"given-up-{topics.requests}")
    await producer.start()
    await producer.write([], [entry])
    monkeypatch.setattr(producers, "_TIMEOUT", 0.5)
    kafka.pause()
    try:
        with pytest.raises(TimeoutError):
            await producer.write([], [entry])
        await producer.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert left == set()
    finally:
        kafka.resume()
