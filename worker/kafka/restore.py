"""Restore: reading a partition back from its ledger, and checking that the input still fits it.

Call it after the partition's producer has started: only then does the last stable offset include all that the
previous owner committed (trap T10).
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from worker.domain.commit import Position
from worker.domain.entry import Entry
from worker.domain.finished import Finished
from worker.kafka.connection import Connection, Topics, stop_client
from worker.kafka.ledger import LedgerRefusedError, Replay

# No progress for this long is a broker in trouble: give up, back off, begin again.
_STALLED = 15.0
# Records read in one step of the loop: 1 to 2 ms.
_AT_ONCE = 250


@dataclass(frozen=True, slots=True)
class Restored:
    """Entries in the order of the ledger. `lost` is how many input records retention deleted before they were read."""

    position: Position
    entries: list[Entry]
    finished: Finished
    records: int
    lost: int = 0


async def restore(
    connection: Connection,
    topics: Topics,
    partition: int,
    *,
    group: str,
    start_at_end: bool,
    turn: asyncio.Lock | None = None,
) -> Restored:
    """Read the ledger of a partition up to its last stable offset. Restores that share a `turn` decode one at a time.

    Raises LedgerRefusedError when the ledger and the input do not belong together (a person must look), TimeoutError
    or KafkaError when brokers are in trouble (try again).
    """
    consumer = AIOKafkaConsumer(
        **connection.options(),
        group_id=None,
        auto_offset_reset="none",
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=100,
    )
    try:
        async with asyncio.timeout(_STALLED):
            await consumer.start()
        requests = TopicPartition(topics.requests, partition)
        state = TopicPartition(topics.state, partition)
        consumer.assign([state, requests])
        consumer.pause(requests)
        consumer.seek(requests, 0)
        replay = Replay(group=group, topic=topics.requests)
        read_to = await _read(consumer, state, replay)
        # Not in a thread: with its share of the interpreter it would hold up every step of the loop.
        async with turn or asyncio.Lock():
            for _ in replay.decode():
                await asyncio.sleep(0)
        position = replay.position
        consumer.pause(state)
        first, end = await _bounds(consumer, requests)
        if position is None:
            try:
                await _refuse_lost_ledger(connection, group, requests, topics.state)
            except LedgerRefusedError:
                if (await _bounds(consumer, state))[1] > read_to:
                    # We slept between the two, and another owner has begun the ledger meanwhile: it is not lost.
                    raise TimeoutError(f"the ledger of partition {partition} grew while it was read") from None
                raise
            return Restored(Position(end if start_at_end else first), [], Finished(), replay.records)
        await _check_input(consumer, requests, position, first, end)
        lost = max(0, first - position.offset)
        if lost:
            position = Position(first, time=position.time)
        return Restored(position, replay.entries, replay.finished, replay.records, lost)
    finally:
        await stop_client(consumer)


async def _bounds(consumer: Any, tp: TopicPartition) -> tuple[int, int]:
    async with asyncio.timeout(_STALLED):
        first = (await consumer.beginning_offsets([tp]))[tp]
        end = (await consumer.end_offsets([tp]))[tp]
    return first, end


async def _read(consumer: Any, tp: TopicPartition, replay: Replay) -> int:
    """Read the ledger; gives the offset it was read up to."""
    first, end = await _bounds(consumer, tp)
    consumer.seek(tp, first)
    at = first
    loop = asyncio.get_running_loop()
    progressed = loop.time()
    # Until the position, not until "no more records": control markers and compacted gaps hold no records. And one fetch
    # at least, which tells how much there is.
    while at < end or consumer.highwater(tp) is None:
        batches = await consumer.getmany(tp, timeout_ms=200, max_records=_AT_ONCE)
        for record in batches.get(tp, ()):
            replay.add(record.key, record.value)
        await asyncio.sleep(0)  # what was fetched is given without a pause, the whole mebibyte
        reached = await consumer.position(tp)
        if reached > at:
            at, progressed = reached, loop.time()
        elif loop.time() - progressed > _STALLED:
            raise TimeoutError(f"the ledger of partition {tp.partition} could not be read past offset {at} of {end}")
    stable, written = consumer.last_stable_offset(tp), consumer.highwater(tp)
    if stable < written:
        # Ours ended with our producer's start. A stranger's hides what we have committed behind it, and would do again.
        raise TimeoutError(
            f"the ledger of partition {tp.partition} can be read up to offset {stable} of {written}: "
            f"something else has a transaction open on {tp.topic!r}"
        )
    return end


async def _refuse_lost_ledger(connection: Connection, group: str, tp: TopicPartition, state_topic: str) -> None:
    """A group offset without a position: the ledger was there and is gone. Its pending operations would be lost."""
    admin = AIOKafkaAdminClient(**connection.options())
    try:
        async with asyncio.timeout(_STALLED):
            await admin.start()
            offsets = await admin.list_consumer_group_offsets(group, partitions=[tp])
    finally:
        await stop_client(admin)
    known = offsets.get(tp)
    if known is None:
        # The client drops the coordinator's errors and gives nothing; a group that has no offset gives -1.
        raise TimeoutError(f"the offset of group {group!r} could not be read")
    if known.offset >= 0:
        raise LedgerRefusedError(
            f"group {group!r} has read partition {tp.partition} up to offset {known.offset}, but {state_topic!r} has "
            f"no ledger for it: restore that topic, or give this worker a new KAFKA_GROUP_ID"
        )


async def _check_input(consumer: Any, tp: TopicPartition, position: Position, first: int, end: int) -> None:
    """The records before the position must be the ones the ledger was written for."""
    way_out = "give this worker a new state topic (KAFKA_STATE_TOPIC) and KAFKA_GROUP_ID, or restore the requests topic"
    if position.offset > end:
        raise LedgerRefusedError(
            f"partition {tp.partition} of {tp.topic!r} ends at offset {end}, before the ledger's position "
            f"{position.offset}: the topic was recreated or has lost records; {way_out}"
        )
    last = position.last_offset
    if last is None or last < first or first >= end:
        return
    consumer.seek(tp, last)
    consumer.resume(tp)
    async with asyncio.timeout(_STALLED):
        record = await consumer.getone(tp)
    if record.offset != last or record.timestamp != position.last_timestamp:
        raise LedgerRefusedError(
            f"offset {last} of partition {tp.partition} of {tp.topic!r} holds another record than the one the ledger "
            f"was written for: the topic was recreated; {way_out}"
        )
