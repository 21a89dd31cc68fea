"""Everything that a topic holds, read by another client than the worker's."""

import time
from dataclasses import dataclass
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from tests.support.records import Message

_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A record and its place. `written_at` is the producer's clock, in seconds."""

    partition: int
    written_at: float
    message: Message

    @property
    def message_id(self) -> str:
        return self.message.header("ce_id") or ""

    @property
    def raw(self) -> bytes:
        """All that it says."""
        parts = [self.message.key, self.message.value, *(value for _, value in self.message.headers)]
        return b"\0".join(part or b"" for part in parts)


def read_all(bootstrap: str, topic: str, *, committed: bool = True) -> list[Stored]:
    """All records there are now, or with `committed` off also those of aborted transactions.

    Raises TimeoutError when the end is not reached: a transaction is open, or a broker away.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reads-without-a-group",
            "enable.auto.commit": False,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        return _read(consumer, set(partitions))
    finally:
        consumer.close()


def _read(consumer: Consumer, unread: set[int]) -> list[Stored]:
    found: list[Stored] = []
    deadline = time.monotonic() + _TIMEOUT
    while unread:
        if time.monotonic() > deadline:
            raise TimeoutError(f"partitions {sorted(unread)} were not read to their end within {_TIMEOUT:.0f} s")
        for record in consumer.consume(500, timeout=0.1):
            error = record.error()
            if error is None:
                headers = cast("list[tuple[str, bytes | None]]", record.headers() or [])
                message = Message(record.key(), record.value(), tuple(headers))
                found.append(Stored(record.partition() or 0, record.timestamp()[1] / 1000, message))
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(record.partition() or 0)
    return found
