"""Restoring a partition: where it begins, and the ledgers and topics it refuses to go on with."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from tests.support.loop_watch import held_nowhere
from worker.domain.commit import Commit, Position
from worker.domain.entry import Entry, State
from worker.domain.request import Request
from worker.kafka import ledger
from worker.kafka import restore as restores
from worker.kafka.connection import Connection, Topics
from worker.kafka.ledger import LedgerRefusedError
from worker.kafka.restore import Restored

TOPICS = Topics("requests", "outcomes", "state", "dead")
REQUESTS, STATE = TopicPartition("requests", 0), TopicPartition("state", 0)
GROUP = "group"


class Log:
    """One partition: offsets from `first` to `end`, of which only some hold a record; `hidden` ones follow."""

    def __init__(self, first: int = 0, end: int = 0) -> None:
        self.first, self.end = first, end
        self.hidden = 0
        self.records: dict[int, Any] = {}

    def write(self, key: bytes | None, value: bytes | None, timestamp: int = 0) -> None:
        self.records[self.end] = SimpleNamespace(offset=self.end, key=key, value=value, timestamp=timestamp)
        self.end += 1


class Kafka:
    """Brokers with the two logs and the group's offset; it makes the clients that `restore` asks for."""

    def __init__(self) -> None:
        self.logs = {REQUESTS: Log(), STATE: Log()}
        self.group_offsets: dict[TopicPartition, OffsetAndMetadata] = {REQUESTS: OffsetAndMetadata(-1, "")}
        self.clients: list[Client] = []
        self.stuck = False
        self.at_once = 1
        self.given = 0

    def client(self, **_: object) -> "Client":
        self.clients.append(Client(self))
        return self.clients[-1]

    def ledger(self, position: Position, *entries: Entry) -> None:
        for key, value in ledger.encode(Commit(position, entries=list(entries)), group=GROUP, topic="requests"):
            self.logs[STATE].write(key, value)
        self.logs[STATE].end += 1  # the transaction's marker

    async def restore(self, *, start_at_end: bool = False) -> Restored:
        return await restores.restore(Connection("nowhere"), TOPICS, 0, group=GROUP, start_at_end=start_at_end)


class Client:
    """The consumer and the admin client of a restore."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._at: dict[TopicPartition, int] = {}
        self._fetched: set[TopicPartition] = set()
        self.stopped = False

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    def assign(self, partitions: list[TopicPartition]) -> None: ...

    def pause(self, partition: TopicPartition) -> None: ...

    def resume(self, partition: TopicPartition) -> None: ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._at[partition] = offset

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self._kafka.logs[tp].first for tp in partitions}

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self._kafka.logs[tp].end for tp in partitions}

    async def getmany(self, tp: TopicPartition, *, max_records: int, **_: object) -> dict[TopicPartition, list[Any]]:
        """At once while there is something; by default an offset at a time, and nothing where it has no record."""
        at = self._at[tp]
        if self._kafka.stuck:
            return {}
        self._fetched.add(tp)
        self._at[tp] = min(at + min(max_records, self._kafka.at_once), self._kafka.logs[tp].end)
        found = [self._kafka.logs[tp].records.get(offset) for offset in range(at, self._at[tp])]
        self._kafka.given += len(found)
        return {tp: list(filter(None, found))}

    def highwater(self, tp: TopicPartition) -> int | None:
        """Brokers tell it with what they give."""
        log = self._kafka.logs[tp]
        return log.end + log.hidden if tp in self._fetched else None

    def last_stable_offset(self, tp: TopicPartition) -> int | None:
        return self._kafka.logs[tp].end if tp in self._fetched else None

    async def getone(self, tp: TopicPartition) -> Any:
        later = [found for offset, found in self._kafka.logs[tp].records.items() if offset >= self._at[tp]]
        return later[0]

    async def position(self, tp: TopicPartition) -> int:
        return self._at[tp]

    async def list_consumer_group_offsets(
        self, group: str, *, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        assert (group, partitions) == (GROUP, [REQUESTS])
        return self._kafka.group_offsets


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    kafka = Kafka()
    monkeypatch.setattr(restores, "AIOKafkaConsumer", kafka.client)
    monkeypatch.setattr(restores, "AIOKafkaAdminClient", kafka.client)
    return kafka


def entry(offset: int) -> Entry:
    key = f"0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1{offset:05}"
    terminal = f"P1-T{offset}"
    return Entry(
        Request(f"m-{offset}", key, "ab" * 16, terminal, "end_of_day", None, None, "c", 1, offset), State.QUEUED
    )


@pytest.mark.parametrize(("start_at_end", "begins"), [(False, 5), (True, 9)])
async def test_a_new_partition_begins_where_the_setting_says(kafka: Kafka, start_at_end: bool, begins: int) -> None:
    kafka.logs[REQUESTS] = Log(5, 9)
    restored = await kafka.restore(start_at_end=start_at_end)
    assert (restored.position, restored.entries, len(restored.finished)) == (Position(begins), [], 0)


async def test_a_ledger_gives_its_entries_and_position_past_gaps_and_markers(kafka: Kafka) -> None:
    for timestamp in range(4):
        kafka.logs[REQUESTS].write(b"k", b"v", timestamp)
    kafka.ledger(Position(2, 1, 1, 50), entry(0), entry(1))
    kafka.logs[STATE].end += 3  # compacted away, or aborted
    kafka.ledger(Position(3, 2, 2, 60), entry(2))
    restored = await kafka.restore(start_at_end=True)
    assert restored.position == Position(3, 2, 2, 60)
    assert [found.request.offset for found in restored.entries] == [0, 1, 2]
    assert (restored.records, restored.lost) == (5, 0)


async def test_a_position_at_the_end_of_its_topic_is_a_good_one(kafka: Kafka) -> None:
    kafka.logs[REQUESTS].write(b"k", b"v", 7)
    kafka.ledger(Position(1, 0, 7))
    assert (await kafka.restore()).position.offset == 1


async def test_a_group_offset_without_a_ledger_is_refused_and_both_are_named(kafka: Kafka) -> None:
    kafka.group_offsets = {REQUESTS: OffsetAndMetadata(12, "")}
    with pytest.raises(LedgerRefusedError, match=r"'group'.* 12.*'state'"):
        await kafka.restore()


async def test_a_group_offset_that_could_not_be_read_is_not_taken_for_none(kafka: Kafka) -> None:
    # The client gives an empty answer for a coordinator in trouble. A lost ledger would pass for a new partition.
    kafka.group_offsets = {}
    with pytest.raises(TimeoutError):
        await kafka.restore()


async def test_a_topic_that_ends_before_the_position_is_refused(kafka: Kafka) -> None:
    kafka.logs[REQUESTS].write(b"k", b"v", 7)
    kafka.ledger(Position(5, 4, 7))
    with pytest.raises(LedgerRefusedError, match=r"ends at offset 1.*position 5.*KAFKA_STATE_TOPIC"):
        await kafka.restore()


async def test_another_record_where_the_last_one_was_is_refused(kafka: Kafka) -> None:
    for _ in range(9):
        kafka.logs[REQUESTS].write(b"k", b"v", 1_000)
    kafka.ledger(Position(5, 4, 7))
    with pytest.raises(LedgerRefusedError, match=r"offset 4.*recreated.*KAFKA_GROUP_ID"):
        await kafka.restore()


async def test_a_gap_where_the_last_record_was_is_refused(kafka: Kafka) -> None:
    for timestamp in range(9):
        kafka.logs[REQUESTS].write(b"k", b"v", timestamp)
    del kafka.logs[REQUESTS].records[4]
    kafka.ledger(Position(5, 4, 5))
    with pytest.raises(LedgerRefusedError, match="offset 4"):
        await kafka.restore()


async def test_a_ledger_that_lost_entries_is_refused_rather_than_taken_for_whole(kafka: Kafka) -> None:
    # Made anew under its worker, cleaned by time instead of compacted, cut: what was pending would never end.
    kafka.logs[REQUESTS] = Log(0, 2)
    kafka.ledger(Position(1, unfinished=1), entry(0))
    kafka.ledger(Position(2, unfinished=2), entry(1))
    assert len((await kafka.restore()).entries) == 2
    kafka.logs[STATE].first = 3
    with pytest.raises(
        LedgerRefusedError, match=r"holds 1 unfinished requests where 2 .* `terminal-worker state reset`"
    ):
        await kafka.restore()


@pytest.mark.parametrize(("first", "begins", "lost"), [(5, 5, 0), (6, 6, 1), (9, 9, 4)])
async def test_what_retention_took_is_counted_and_work_goes_on(
    kafka: Kafka, first: int, begins: int, lost: int
) -> None:
    kafka.logs[REQUESTS] = Log(first, 9)
    kafka.ledger(Position(5, 4, 7, 50), entry(3))
    restored = await kafka.restore()
    assert (restored.position.offset, restored.position.time, restored.lost) == (begins, 50, lost)
    assert len(restored.entries) == 1


async def test_little_of_a_fetch_is_taken_in_before_others_get_their_turn(kafka: Kafka) -> None:
    kafka.at_once = 10_000
    kafka.ledger(Position(0), *map(entry, range(2_000)))
    most = 0

    async def others() -> None:
        nonlocal most
        while True:
            most, kafka.given = max(most, kafka.given), 0
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    restored = await kafka.restore()
    task.cancel()
    assert len(restored.entries) == 2_000
    assert 0 < most <= 500


async def test_a_large_ledger_holds_the_loop_nowhere(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka.at_once = 10_000
    kafka.ledger(Position(0), *map(entry, range(20_000)))
    for watch in held_nowhere(monkeypatch, 0.02):
        with watch:
            gc.disable()  # a guest leaves it as it is, and `run` sets it
            try:
                restored = await asyncio.create_task(kafka.restore())
            finally:
                gc.enable()
        assert len(restored.entries) == 20_000


async def test_brokers_that_give_nothing_are_given_up_and_not_waited_for(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restores, "_STALLED", 0.02)
    kafka.ledger(Position(1, 0, 7))
    kafka.stuck = True
    with pytest.raises(TimeoutError, match="past offset 0 of 2"):
        await kafka.restore()


@pytest.mark.parametrize("visible", [False, True])
async def test_a_ledger_behind_a_strangers_open_transaction_is_not_taken_for_whole(kafka: Kafka, visible: bool) -> None:
    # Taken for whole, all that was committed behind it would be done and published once more.
    if visible:
        kafka.ledger(Position(0))
    kafka.logs[STATE].hidden = 3
    end = kafka.logs[STATE].end
    with pytest.raises(TimeoutError, match=rf"offset {end} of {end + 3}: .* transaction open on 'state'"):
        await kafka.restore()
    kafka.logs[STATE].hidden = 0
    assert (await kafka.restore()).position == Position(0)


async def test_every_client_is_stopped_whatever_happens(kafka: Kafka) -> None:
    await kafka.restore()
    kafka.logs[STATE].write(b"key", b"garbage")
    with pytest.raises(LedgerRefusedError):
        await kafka.restore()
    assert len(kafka.clients) == 3
    assert all(client.stopped for client in kafka.clients)
