"""Reading a topic for a person: committed records only, of no group, from a time on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from worker.kafka.connection import Connection, stop_client
from worker.kafka.records import tolerate_bad_records
from worker.kafka.topics import TopicsError

# No progress for this long is a broker in trouble.
STALLED = 15.0


def patience() -> asyncio.Timeout:
    """What one answer of the brokers may take; TimeoutError after it."""
    return asyncio.timeout(STALLED)


class TopicReader:
    """Made by `open_reader`."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        self._consumer = consumer
        self._partitions = partitions

    async def batches(self, *, follow: bool) -> AsyncIterator[list[ConsumerRecord]]:
        """Records in the order of their partitions: at least those that were there when it was asked, or for ever.

        Raises KafkaError, and TimeoutError when there are records and none of them comes.
        """
        async with patience():
            ends = await self._consumer.end_offsets(self._partitions)
        loop = asyncio.get_running_loop()
        before: dict[TopicPartition, int] = {}
        progressed = loop.time()
        while True:
            # By position, not by the last record: transactions end with a marker, which is no record.
            at = {partition: await self._consumer.position(partition) for partition in self._partitions}
            if not follow and all(at[partition] >= end for partition, end in ends.items()):
                return
            if at != before or follow:
                before, progressed = at, loop.time()
            elif loop.time() - progressed > STALLED:
                raise TimeoutError(f"no records for {STALLED:.0f} s")
            for records in (await self._consumer.getmany(timeout_ms=200, max_records=500)).values():
                yield records


@asynccontextmanager
async def open_consumer(connection: Connection) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of no group that reads what is committed; nothing is assigned to it."""
    tolerate_bad_records()
    consumer = AIOKafkaConsumer(
        **connection.options(),
        group_id=None,
        # Retention may take the oldest records while we read.
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=100,
    )
    try:
        async with patience():
            await consumer.start()
        yield consumer
    finally:
        await stop_client(consumer)


@asynccontextmanager
async def open_reader(connection: Connection, topic: str, *, since: int | None) -> AsyncIterator[TopicReader]:
    """A reader that stands at the first record of each partition that is not before `since` (ms), or at its start.

    Raises TopicsError when the topic does not exist; KafkaError or TimeoutError when brokers are in trouble.
    """
    partitions = [TopicPartition(topic, number) for number in range(await partition_count(connection, topic))]
    async with open_consumer(connection) as consumer:
        async with patience():
            consumer.assign(partitions)
            offsets = await starts(consumer, partitions, since)
        for partition, offset in offsets.items():
            consumer.seek(partition, offset)
        yield TopicReader(consumer, partitions)


async def partition_count(connection: Connection, topic: str) -> int:
    """Raises TopicsError when there is no such topic; asking does not make it."""
    admin = AIOKafkaAdminClient(**connection.options())
    try:
        async with patience():
            await admin.start()
            if topic not in await admin.list_topics():
                raise TopicsError(f"topic {topic!r} does not exist: make it with `terminal-worker topics create`")
            (described,) = await admin.describe_topics([topic])
    finally:
        await stop_client(admin)
    return len(described["partitions"])


async def starts(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], since: int | None
) -> dict[TopicPartition, int]:
    """The first record of each partition that is not before `since` (milliseconds); its end when there is none."""
    offsets: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
    if since is not None:
        offsets = await consumer.end_offsets(partitions)
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
        offsets |= {partition: at.offset for partition, at in found.items() if at is not None}
    return offsets
