"""Resetting a partition: what it tells, when it refuses, and what it writes."""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import typer
from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import ProducerFenced

from schemas import example_messages
from worker.cli import reading, reset
from worker.kafka.ledger import LedgerRefusedError, Replay
from worker.kafka.producer import Message
from worker.settings import Settings

SETTINGS = Settings(kafka_bootstrap_servers="nowhere", kafka_group_id="group", kafka_requests_topic="requests")
STATE = SETTINGS.kafka_state_topic
FIRST, END = 10, 50
POSITION = {**example_messages.LEDGER_POSITION.value, "group": "group", "topic": "requests", "offset": 40}


def key(number: int) -> bytes:
    return b"0d5f3a1c-9c1e-4b7e-8f39-0000000%05d" % number


def entry(number: int, offset: int) -> tuple[bytes, bytes]:
    members = {"message_id": f"order-{number}", "offset": offset, "state": "pending"}
    return key(number), orjson.dumps({**example_messages.LEDGER_ENTRY.value, **members})


def finished(number: int) -> tuple[bytes, bytes]:
    return key(number), orjson.dumps(example_messages.LEDGER_FINISHED.value)


def position(**members: Any) -> tuple[bytes, bytes]:
    return b"position", orjson.dumps({**POSITION, **members})


class Kafka:
    """Brokers with the ledger of partition 3, the group's members, and a producer that writes to the ledger."""

    def __init__(self) -> None:
        self.ledger: list[tuple[bytes, bytes | None]] = []
        self.members: list[Any] = []
        self.group_state = "Stable"
        self.done: list[str] = []
        self.writes: list[list[tuple[bytes | None, bytes | None]]] = []
        self.fenced = False
        self.refusal: LedgerRefusedError | None = None

    def owner(self, *partitions: int) -> None:
        assignment = ConsumerProtocolMemberAssignment(0, [("requests", list(partitions))], b"").encode()
        self.members.append(("id", "client", "/10.0.0.7", b"", assignment))

    @asynccontextmanager
    async def opened(self, _: Settings) -> AsyncIterator["Kafka"]:
        yield self

    async def partitions(self, topic: str) -> range:
        return range(4)

    async def bounds(
        self, tps: Sequence[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        return dict.fromkeys(tps, FIRST), dict.fromkeys(tps, END)

    async def scan(self, topic: str, partitions: Sequence[int]) -> AsyncIterator[Any]:
        assert (topic, partitions) == (STATE, [3])
        self.done.append("read")
        for key, value in self.ledger:
            yield SimpleNamespace(key=key, value=value)

    async def start(self) -> None:
        self.done.append("start")

    async def close(self) -> None:
        self.done.append("close")

    async def write(self, events: Iterable[Message], ledger: Iterable[Message]) -> None:
        assert not list(events)
        if self.fenced:
            raise ProducerFenced
        written = list(ledger)
        assert {(message.topic, message.partition) for message in written} == {(STATE, 3)}
        self.writes.append([(message.key, message.value) for message in written])

    async def restore(self, *_: object, **__: object) -> None:
        self.done.append("judged")
        if self.refusal:
            raise self.refusal

    def after(self) -> Replay:
        """What a worker would restore now."""
        replay = Replay(group="group", topic="requests")
        for key, value in [*self.ledger, *(record for write in self.writes for record in write)]:
            replay.add(key, value)
        deque(replay.decode(), 0)
        return replay


class Admin:
    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def describe_consumer_groups(self, groups: list[str]) -> list[Any]:
        assert groups == ["group"]
        described = (0, "group", self._kafka.group_state, "consumer", "range", self._kafka.members)
        return [SimpleNamespace(groups=[described])]


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    kafka = Kafka()
    monkeypatch.setattr(reading, "opened", kafka.opened)
    monkeypatch.setattr(reset, "AIOKafkaAdminClient", lambda **_: Admin(kafka))
    monkeypatch.setattr(reset, "partition_producer", lambda *_, **__: kafka)
    monkeypatch.setattr(reset, "restore", kafka.restore)
    return kafka


async def plan(start: str = "latest") -> reset.Plan:
    return await reset.prepare(SETTINGS, 3, start)


async def test_it_tells_what_is_given_up_and_what_is_read_again(kafka: Kafka) -> None:
    kafka.ledger = [entry(1, 20), entry(2, 30), finished(3), position()]
    told = (await plan("30")).told
    assert told[0] == "2 unfinished requests are given up:"
    assert "order-1" in told[1]
    assert "pending" in told[1]
    assert told[1].endswith("not read again")
    assert told[2].endswith(", read again")
    assert told[3].startswith("1 finished message IDs stay known")
    assert told[4] == "it reads on at offset 30 of 10 to 50: up to 10 requests are read again"
    assert "up to 10 requests are skipped" in (await plan("latest")).told[-1]


@pytest.mark.parametrize(
    ("start", "offset"), [("earliest", FIRST), ("latest", END), ("10", 10), ("50", 50), ("42", 42)]
)
async def test_it_reads_on_where_it_is_told(kafka: Kafka, start: str, offset: int) -> None:
    assert (await plan(start)).offset == offset


@pytest.mark.parametrize("start", ["9", "51", "-1", "", "newest", "１２", "9" * 9000])
async def test_an_offset_that_is_not_there_is_wrong_use(kafka: Kafka, start: str) -> None:
    with pytest.raises(typer.BadParameter, match="from 10 to 50"):
        await plan(start)


async def test_an_owned_partition_is_refused_and_one_of_another_worker_is_not(
    kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.owner(0, 1)
    await plan()
    kafka.owner(2, 3)
    with pytest.raises(typer.Exit):
        await plan()
    assert "a worker at 10.0.0.7 owns partition 3: stop the workers" in capsys.readouterr().err


@pytest.mark.parametrize("state", ["PreparingRebalance", "CompletingRebalance"])
async def test_a_group_that_is_rebalancing_is_refused(
    kafka: Kafka, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.group_state = state
    with pytest.raises(typer.Exit):
        await plan()
    assert "rebalancing" in capsys.readouterr().err


async def test_the_unfinished_go_and_the_finished_stay_and_the_position_is_fresh(kafka: Kafka) -> None:
    kafka.ledger = [entry(1, 20), finished(3), (b"what", b"is this"), position(time=9_999_999_999_999)]
    await reset.carry_out(SETTINGS, await plan("42"))
    after = kafka.after()
    at = after.position
    assert at is not None
    assert (at.offset, at.last_offset, at.last_timestamp) == (42, None, None)
    assert at.time == 9_999_999_999_999  # no clock of a later owner may start before what the ledger knew
    assert after.entries == []
    assert [known.encode() for known in after.finished.forget(at.time, 10)] == [key(3)]
    assert kafka.done[-1] == "judged"


async def test_the_last_owner_is_fenced_before_the_ledger_is_read(kafka: Kafka) -> None:
    kafka.ledger = [position()]
    prepared = await plan()
    kafka.done.clear()
    await reset.carry_out(SETTINGS, prepared)
    writing = [done for done in kafka.done if done in ("start", "read")]
    assert writing.index("start") < writing.index("read")


async def test_the_memory_of_others_is_given_up_whole_and_the_position_comes_last(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reset, "_AT_ONCE", 2)
    kafka.ledger = [entry(1, 20), finished(2), finished(3), position(group="another", time=9_999_999_999_999)]
    prepared = await plan()
    assert "the memory of group 'another'" in prepared.told[0]
    await reset.carry_out(SETTINGS, prepared)
    after = kafka.after()
    assert (after.entries, len(after.finished)) == ([], 0)
    assert after.position is not None
    assert after.position.time < 9_999_999_999_999
    assert [len(write) for write in kafka.writes] == [2, 2]
    assert kafka.writes[-1][-1][0] == b"position"


async def test_a_ledger_that_changed_since_it_was_shown_is_left_alone(
    kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.ledger = [position()]
    prepared = await plan()
    kafka.ledger.append(entry(1, 20))
    with pytest.raises(typer.Exit):
        await reset.carry_out(SETTINGS, prepared)
    assert kafka.writes == []
    assert "nothing was reset" in capsys.readouterr().err


async def test_a_worker_that_came_meanwhile_wins(kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> None:
    kafka.ledger = [position()]
    prepared = await plan()
    kafka.fenced = True
    with pytest.raises(typer.Exit):
        await reset.carry_out(SETTINGS, prepared)
    assert "a worker has taken partition 3" in capsys.readouterr().err
    assert "judged" not in kafka.done


async def test_a_reset_that_does_not_help_says_so(kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> None:
    kafka.ledger = [position()]
    kafka.refusal = LedgerRefusedError("the topic was recreated")
    with pytest.raises(typer.Exit):
        await reset.carry_out(SETTINGS, await plan())
    assert "would halt again: the topic was recreated" in capsys.readouterr().err
