"""The way out of a halted partition: tombstones for what is given up, and a fresh position."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import typer
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import ProducerFenced

from worker.cli import common, reading, shown
from worker.cli.ledgers import Ledger, read_ledger
from worker.cli.topic_reader import patience
from worker.domain.commit import Commit, Position
from worker.kafka import ledger as records
from worker.kafka.connection import stop_client
from worker.kafka.ledger import POSITION_KEY, LedgerRefusedError
from worker.kafka.producer import Message, partition_producer
from worker.kafka.restore import restore
from worker.settings import Settings

# Records of one write: under its timeout with room. Only the memory of others has more than fits.
_AT_ONCE = 20_000
_GROUP_ID_NOT_FOUND = 69
_OFFSET = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Plan:
    """`told` is what a person must know before it is carried out, a line each; `given_up` are the keys."""

    partition: int
    offset: int
    time: int
    given_up: frozenset[bytes]
    told: list[str] = field(repr=False)


def check_partition(partition: int, partitions: Sequence[int]) -> None:
    if partition not in partitions:
        message = f"there is no partition {partition}: the state topic has {len(partitions)}, counted from 0"
        common.fail(message, code=common.WRONG_SETTINGS)


async def prepare(settings: Settings, partition: int, start: str) -> Plan:
    """Looks, and changes nothing. Ends the command when the partition is owned, or `start` is no offset of it."""
    topics = settings.topics
    await _refuse_owned(settings, partition)
    async with reading.opened(settings) as opened:
        check_partition(partition, await opened.partitions(topics.state))
        check_partition(partition, await opened.partitions(topics.requests))
        requests = TopicPartition(topics.requests, partition)
        first, ends = await opened.bounds([requests])
        offset = _offset(start, first[requests], ends[requests])
        ledger = await read_ledger(opened, topics.state, partition)
    if ledger.has_keyless:
        common.fail(f"{topics.state!r} has records without a key, which nothing can remove: use a new state topic")
    others = ledger.is_of_others(settings.kafka_group_id, topics.requests)
    known = ledger.position.time if ledger.position and not others else 0
    told = list(_told(ledger, others, offset, first[requests], ends[requests]))
    return Plan(partition, offset, max(known, shown.now()), _given_up(ledger, others), told)


async def carry_out(settings: Settings, plan: Plan) -> None:
    """Ends the command, with nothing changed, when the memory is another than the plan was made for."""
    topics = settings.topics
    producer = partition_producer(
        settings.connection,
        settings.worker_delivery,
        group=settings.kafka_group_id,
        topic=topics.requests,
        partition=plan.partition,
    )
    try:
        # Fences first: only then is all that another owner has written to be seen.
        await producer.start()
        await _refuse_owned(settings, plan.partition)
        async with reading.opened(settings) as opened:
            ledger = await read_ledger(opened, topics.state, plan.partition)
        others = ledger.is_of_others(settings.kafka_group_id, topics.requests)
        if _given_up(ledger, others) != plan.given_up:
            common.fail(f"partition {plan.partition} has changed meanwhile, and nothing was reset: look again")
        commit = Commit(Position(plan.offset, time=plan.time))
        fresh = records.encode(commit, group=settings.kafka_group_id, topic=topics.requests)
        writes = [(key, None) for key in sorted(plan.given_up - {POSITION_KEY})] + fresh
        # The position comes last: cut short, the partition still halts, and can be reset again.
        for begin in range(0, len(writes), _AT_ONCE):
            some = writes[begin : begin + _AT_ONCE]
            await producer.write((), [Message(topics.state, key, value, (), plan.partition) for key, value in some])
    except ProducerFenced:
        common.fail(f"a worker has taken partition {plan.partition} meanwhile: stop the workers, and look again")
    finally:
        await producer.close()
    await _verify(settings, plan.partition)


async def _verify(settings: Settings, partition: int) -> None:
    """As a worker does before it works on it."""
    try:
        await restore(
            settings.connection, settings.topics, partition, group=settings.kafka_group_id, start_at_end=False
        )
    except LedgerRefusedError as refused:
        common.fail(f"partition {partition} was reset, and would halt again: {refused}")


async def _refuse_owned(settings: Settings, partition: int) -> None:
    group = settings.kafka_group_id
    admin = AIOKafkaAdminClient(**settings.connection.options())
    try:
        async with patience():
            await admin.start()
            (response,) = await admin.describe_consumer_groups([group])
    finally:
        await stop_client(admin)
    ((code, _, state, _, _, members, *_),) = response.groups
    if code not in (0, _GROUP_ID_NOT_FOUND):
        common.fail(f"the members of group {group!r} could not be read (Kafka's error {code}): nothing was changed")
    if state in ("PreparingRebalance", "CompletingRebalance"):
        common.fail(f"group {group!r} is rebalancing: stop its workers, and try again")
    wanted = TopicPartition(settings.kafka_requests_topic, partition)
    for _, _, host, _, assignment, *_ in members:
        if assignment and wanted in ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions():
            common.fail(
                f"a worker at {host.lstrip('/')} owns partition {partition}: stop the workers of {group!r} first"
            )


def _offset(start: str, first: int, end: int) -> int:
    offset = {"earliest": first, "latest": end}.get(start)
    if offset is None:
        if not (_OFFSET.fullmatch(start) and first <= int(start) <= end):
            raise typer.BadParameter(f"--from: expected earliest, latest, or an offset from {first} to {end}")
        offset = int(start)
    return offset


def _given_up(ledger: Ledger, others: bool) -> frozenset[bytes]:
    keys = ledger.entries.keys() | ledger.unreadable.keys()
    return frozenset(keys | ledger.finished if others else keys)


def _told(ledger: Ledger, others: bool, offset: int, first: int, end: int) -> Iterator[str]:
    was = ledger.position
    if was is None:
        yield f"partition {ledger.partition} has no position that can be read"
    elif others:
        yield shown.harmless(
            f"partition {ledger.partition} is the memory of group {was.group!r} and topic {was.topic!r}"
        )
    yield f"{len(ledger.entries)} unfinished requests are given up{':' if ledger.entries else ''}"
    for entry in sorted(ledger.entries.values(), key=lambda entry: entry.offset):
        again = "read again" if offset <= entry.offset < end else "not read again"
        operation = f", operation {entry.operation_id}" if entry.operation_id else ""
        told = f"{entry.message_id} {entry.terminal_id} {entry.operation}: {entry.state}{operation}, {again}"
        yield "  " + shown.harmless(told)
    if ledger.unreadable:
        yield f"{len(ledger.unreadable)} records that this version cannot read are removed"
    if ledger.finished:
        what = "are forgotten: repeats of them can run" if others else "stay known: repeats of them stay duplicates"
        yield f"{len(ledger.finished)} finished message IDs {what}"
    yield _reading_on(None if others or was is None else was.offset, offset, first, end)


def _reading_on(was: int | None, offset: int, first: int, end: int) -> str:
    reads = f"it reads on at offset {offset} of {first} to {end}"
    if was is None:
        return reads
    if was > end:
        return f"{reads}; it stood at {was}, beyond the end"
    if offset > was:
        return f"{reads}: up to {offset - was} requests are skipped and never run"
    return f"{reads}: up to {was - offset} requests are read again" if offset < was else f"{reads}, where it stood"
