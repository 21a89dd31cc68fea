"""Reading topics for a person: up to where they ended, past what holds no record, and never for ever."""

from types import SimpleNamespace
from typing import Any

import pytest
import typer
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import OffsetAndTimestamp

from worker.cli import reading
from worker.cli.reading import Topics
from worker.kafka.connection import Connection
from worker.kafka.topics import TopicsError
from worker.settings import Settings

SETTINGS = Settings(kafka_bootstrap_servers="kafka:9092")
A, B = TopicPartition("topic", 0), TopicPartition("topic", 1)


class Consumer:
    """A topic of two partitions. Each fetch passes `fetch` offsets of each partition asked; gaps hold no record."""

    def __init__(self, **offsets: list[int]) -> None:
        self.records = {A: set(offsets.get("a", [])), B: set(offsets.get("b", []))}
        self.ends = {A: 0, B: 0}
        self.first = {A: 0, B: 0}
        self.times: dict[TopicPartition, OffsetAndTimestamp | None] = {}
        self.stuck = False
        self.fetch = 1
        self._at: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._at, self._paused = dict.fromkeys(partitions, -1), set()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._at[partition] = offset

    def pause(self, partition: TopicPartition) -> None:
        self._paused.add(partition)

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.first[tp] for tp in partitions}

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.ends[tp] for tp in partitions}

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        return {tp: self.times.get(tp) for tp in times}

    async def getmany(self, *partitions: TopicPartition, **_: object) -> dict[TopicPartition, list[Any]]:
        assert not self._paused & set(partitions)
        found: dict[TopicPartition, list[Any]] = {}
        for tp in partitions if not self.stuck else ():
            fetched = range(self._at[tp], self._at[tp] + self.fetch)
            records = [SimpleNamespace(partition=tp.partition, offset=at) for at in fetched if at in self.records[tp]]
            if records:
                found[tp] = records
            self._at[tp] += self.fetch
        return found

    async def position(self, partition: TopicPartition) -> int:
        return self._at[partition]


@pytest.fixture(autouse=True)
def two_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    async def partition_count(_: Connection, topic: str) -> int:
        return 2

    monkeypatch.setattr(reading, "partition_count", partition_count)


async def scanned(consumer: Consumer, *partitions: int, since: int | None = None) -> list[tuple[int, int]]:
    topics = Topics(consumer, SETTINGS.connection)
    records = topics.scan("topic", partitions or None, since=since)
    return sorted([(record.partition, record.offset) async for record in records])


@pytest.mark.parametrize("fetch", [1, 4])
async def test_what_came_after_the_beginning_is_not_read(fetch: int) -> None:
    consumer = Consumer(a=[0, 1, 2, 3], b=[0])
    consumer.fetch = fetch
    consumer.ends = {A: 2, B: 0}
    assert await scanned(consumer) == [(0, 0), (0, 1)]


async def test_gaps_and_markers_at_the_end_are_passed() -> None:
    consumer = Consumer(a=[5, 8], b=[3])
    consumer.first, consumer.ends = {A: 4, B: 3}, {A: 12, B: 5}
    assert await scanned(consumer) == [(0, 5), (0, 8), (1, 3)]


async def test_one_partition_alone_is_read() -> None:
    consumer = Consumer(a=[0], b=[0])
    consumer.ends = {A: 1, B: 1}
    assert await scanned(consumer, 1) == [(1, 0)]


async def test_a_partition_with_nothing_since_then_is_not_read() -> None:
    consumer = Consumer(a=[0, 1, 2], b=[0, 1])
    consumer.ends = {A: 3, B: 2}
    consumer.times = {A: OffsetAndTimestamp(2, 9), B: None}
    assert await scanned(consumer, since=5) == [(0, 2)]


async def test_one_record_is_found_where_it_is_and_nowhere_else() -> None:
    consumer = Consumer(a=[0, 2])
    consumer.ends = {A: 3, B: 0}
    topics = Topics(consumer, SETTINGS.connection)
    found = [await topics.at("topic", *place) for place in ((0, 2), (0, 1), (0, 3), (1, 0), (7, 0))]
    assert [record and record.offset for record in found] == [2, None, None, None, None]


async def test_brokers_that_give_nothing_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "STALLED", 0.0)
    consumer = Consumer()
    consumer.ends, consumer.stuck = {A: 1, B: 0}, True
    records = Topics(consumer, SETTINGS.connection)._read({A: 0}, {A: 1})
    with pytest.raises(TimeoutError, match="partition 0 of 'topic' at 0"):
        await anext(records)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KafkaConnectionError("no\nroute"), "error: no answer from kafka:9092: KafkaConnectionError: no route"),
        (TimeoutError(), "error: no answer from kafka:9092: TimeoutError"),
        (TopicsError("topic 'x' does not exist"), "error: topic 'x' does not exist"),
    ],
)
def test_a_failure_of_the_brokers_is_one_line(error: Exception, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def fails() -> None:
        raise error

    with pytest.raises(typer.Exit) as ended:
        reading.run(SETTINGS, fails())
    assert ended.value.exit_code == 1
    err = capsys.readouterr().err
    assert err.startswith(told)
    assert err.count("\n") == 1


def test_a_reader_of_our_output_that_has_gone_is_no_failure_of_the_brokers() -> None:
    async def fails() -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        reading.run(SETTINGS, fails())
