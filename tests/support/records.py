"""Writing and reading Kafka with a second client, so that the worker's own is not its only witness."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Message:
    """A record as bytes. Its headers keep their order, and may repeat or be no text at all."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    def header(self, name: str) -> str | None:
        for known, value in self.headers:
            if known == name and value is not None:
                return value.decode()
        return None

    def json(self) -> Any:
        return orjson.loads(self.value or b"null")


def produce(bootstrap: str, topic: str, messages: Iterable[Message]) -> None:
    """Returns when the broker has them all. Keys go to the partitions that Java's producer would choose."""
    failures: list[object] = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "message.max.bytes": 1_048_576}
    )
    for message in messages:
        producer.produce(
            topic,
            key=message.key,
            value=message.value,
            headers=list(message.headers),
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    unsent = producer.flush(_TIMEOUT)
    assert not failures, failures
    assert unsent == 0, f"{unsent} records were not sent"


def read_until(
    bootstrap: str, topic: str, done: Callable[[list[Message]], bool], timeout: float = _TIMEOUT
) -> list[Message]:
    """Every committed record of the topic from its beginning, until `done` says so or `timeout` seconds are over."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reads-without-a-group",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    deadline = time.monotonic() + timeout
    found: list[Message] = []
    try:
        partitions = consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        while not done(found) and time.monotonic() < deadline:
            found += [_read(record) for record in consumer.consume(500, timeout=0.1)]
    finally:
        consumer.close()
    return found


def _read(record: KafkaMessage) -> Message:
    assert record.error() is None, record.error()
    headers = cast("list[tuple[str, bytes | None]]", record.headers() or [])
    return Message(record.key(), record.value(), tuple(headers))
