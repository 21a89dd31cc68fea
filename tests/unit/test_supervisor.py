"""The supervisor: opens a partition, opens it again after a doubt, and halts where only a person can help."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast
from unittest.mock import Mock

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NotLeaderForPartitionError,
    ProducerFenced,
    TopicAuthorizationFailedError,
)
from structlog.testing import capture_logs

from tests.unit.domain.support import POLICY, record
from tests.unit.supervised import Life, World
from worker.clock import Clock
from worker.domain.commit import Position
from worker.domain.partition import Partition
from worker.engine import Engine
from worker.kafka.connection import NotAllowedError, within
from worker.kafka.ledger import LedgerRefusedError
from worker.supervisor import Supervisor, SupervisorState
from worker.telemetry.metrics import Metrics
from worker.telemetry.tracing import Tracing

HALTS_AFTER = 6


class Waits(list[float]):
    """The back-offs asked for. Each is cut to a millisecond, unless the test holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.held = False


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()

    async def short(seconds: float, awaitable: Any) -> bool:
        waits.append(seconds)
        return await within(60.0 if waits.held else 0.001, awaitable)

    monkeypatch.setattr("worker.supervisor.within", short)
    return waits


@pytest.fixture
async def world(waits: Waits) -> AsyncIterator[World]:
    world = World()
    yield world
    async with asyncio.timeout(30):
        await world.supervisor.close()


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield cast("list[Any]", logs)


async def test_the_engine_is_there_exactly_while_it_runs(world: World) -> None:
    await world.opening.wait()
    assert (world.supervisor.state, world.supervisor.engine) == (SupervisorState.OPENING, None)
    first = await world.life(1)
    assert world.supervisor.state is SupervisorState.RUNNING
    first.fail(ConnectionError())
    await world.life(2)
    # Told at each change; and gone before the producer is closed, so that nobody uses it meanwhile.
    assert world.changes == [SupervisorState.RUNNING, None, SupervisorState.RUNNING]
    assert world.closed == [None]


async def test_a_doubt_is_followed_by_another_engine_and_said_until_then(world: World, waits: Waits) -> None:
    waits.held = True
    (await world.life(1)).fail(ConnectionError("gone"))
    await world.in_state(SupervisorState.BACKING_OFF)
    assert world.supervisor.error == "ConnectionError: gone"
    assert world.failures == ["ConnectionError"]
    world.supervisor.resume()
    await world.life(2)
    assert world.supervisor.error is None


async def test_back_offs_grow_with_jitter_and_have_a_longest(world: World, waits: Waits) -> None:
    world.refuse(*(ConnectionError() for _ in range(14)))
    await world.life(1)
    longest = [min(5.0, 0.1 * 2**failures) for failures in range(1, 15)]
    assert len(waits) == 14
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, longest, strict=True))
    assert len({wait / most for wait, most in zip(waits, longest, strict=True)}) > 1


async def test_the_longest_error_is_cut(world: World, waits: Waits) -> None:
    waits.held = True
    world.refuse(ConnectionError("x" * 5_000))
    await world.in_state(SupervisorState.BACKING_OFF)
    assert len(world.supervisor.error or "") < 300


async def test_brokers_that_stay_away_are_one_line_and_their_return_another(world: World, logs: list[Any]) -> None:
    world.refuse(*(ConnectionError("gone") for _ in range(10)))
    await world.life(1)
    assert [line["event"] for line in logs] == ["partition_in_doubt", "partition_recovered"]
    assert (logs[0]["partition"], logs[1]["failures"]) == (3, 10)
    assert logs[1]["seconds"] < 60


async def test_what_fails_at_its_first_commit_is_said_once_and_its_opening_is_no_recovery(
    world: World, logs: list[Any]
) -> None:
    for number in range(1, 2 * HALTS_AFTER):
        (await world.life(number)).fail(NotAllowedError("Write on topic 'outcomes'"))
    last = await world.life(2 * HALTS_AFTER)
    assert [line["event"] for line in logs] == ["partition_in_doubt"]
    assert "Write on topic 'outcomes'" in logs[0]["why"]
    last.progressed = True
    last.fail(NotAllowedError("Write on topic 'outcomes'"))  # taken away once more
    await world.life(2 * HALTS_AFTER + 1)
    assert [line["event"] for line in logs] == ["partition_in_doubt", "partition_in_doubt", "partition_recovered"]


async def test_a_refused_ledger_halts_at_once_and_is_said(world: World, logs: list[Any]) -> None:
    world.refuse(LedgerRefusedError("of another group"))
    await world.in_state(SupervisorState.HALTED)
    assert (world.supervisor.engine, world.supervisor.error) == (None, "of another group")
    assert world.failures == ["halted"]
    assert [(line["event"], line["log_level"], line["why"]) for line in logs] == [
        ("partition_halted", "error", "of another group")
    ]
    assert world.lives == []


async def test_the_same_failure_six_times_running_halts(world: World) -> None:
    world.refuse(*(KeyError("state") for _ in range(HALTS_AFTER)))
    await world.in_state(SupervisorState.HALTED)
    assert world.supervisor.error == "the same failure 6 times running: KeyError: 'state'"
    assert world.failures == ["KeyError"] * (HALTS_AFTER - 1) + ["halted"]


async def test_five_times_is_not_six(world: World) -> None:
    world.refuse(*(KeyError() for _ in range(HALTS_AFTER - 1)))
    await world.life(1)
    assert world.supervisor.state is SupervisorState.RUNNING


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionError(),
        OSError("no route"),
        ProducerFenced(),
        KafkaConnectionError(),
        NotLeaderForPartitionError(),
        KafkaError("a sender that died"),
    ],
)
async def test_brokers_in_trouble_never_halt_it(world: World, error: Exception) -> None:
    world.refuse(*[error] * (3 * HALTS_AFTER))
    await world.life(1)
    assert world.supervisor.state is SupervisorState.RUNNING


async def test_what_the_brokers_refuse_for_good_halts(world: World) -> None:
    world.refuse(*(TopicAuthorizationFailedError() for _ in range(HALTS_AFTER)))
    await world.in_state(SupervisorState.HALTED)
    assert world.failures[-1] == "halted"


async def test_a_commit_between_failures_starts_the_count_afresh(world: World, waits: Waits) -> None:
    for number in range(1, 2 * HALTS_AFTER):
        life = await world.life(number)
        life.progressed = number % (HALTS_AFTER - 1) == 0
        life.fail(KeyError())
    await world.life(2 * HALTS_AFTER)
    assert waits[HALTS_AFTER - 2] <= 0.2  # and the back-off


async def test_a_commit_starts_the_count_afresh_whatever_failed_after_it(world: World) -> None:
    for number in range(1, HALTS_AFTER):
        (await world.life(number)).fail(KeyError())
    life = await world.life(HALTS_AFTER)
    life.progressed = True
    life.fail(ConnectionError())
    (await world.life(HALTS_AFTER + 1)).fail(KeyError())
    await world.life(HALTS_AFTER + 2)


async def test_failures_without_a_commit_halt_an_engine_that_opens_each_time(world: World) -> None:
    for number in range(1, HALTS_AFTER + 1):
        (await world.life(number)).fail(KeyError())
    await world.in_state(SupervisorState.HALTED)
    assert world.supervisor.engine is None


async def test_brokers_in_trouble_do_not_count_towards_a_halt(world: World) -> None:
    world.refuse(*(ConnectionError() for _ in range(HALTS_AFTER)), KeyError(), ConnectionError())
    await world.life(1)
    assert world.supervisor.state is SupervisorState.RUNNING


async def test_failures_of_different_kinds_are_not_the_same_failure(world: World) -> None:
    world.refuse(*(error for _ in range(HALTS_AFTER) for error in (KeyError(), ValueError())))
    await world.life(1)
    assert world.supervisor.state is SupervisorState.RUNNING


async def test_a_record_that_cannot_be_taken_in_halts_though_each_engine_proves_itself_first(waits: Waits) -> None:
    """The proof is a commit too, but no progress: with it alone the same failure would go round for ever."""
    opened: list[Engine] = []

    @asynccontextmanager
    async def open_poisoned(_: int) -> AsyncIterator[Engine]:
        log, reader, api = Mock(), Mock(), Mock()
        reader.read.side_effect = KeyError("a bug")
        committed = asyncio.Event()

        async def commit(_: object) -> None:
            committed.set()

        log.commit = commit
        parts: Any = {"committer": log, "api": api, "reader": reader, "metrics": Mock(spec=Metrics), "recent": Mock()}
        partition = Partition(POLICY, lambda: 0.0, Position(0))
        opened.append(Engine(0, partition, **parts, clock=Clock(), proof_age=5.0, tracing=Tracing()))

        async def feed(engine: Engine) -> None:
            await committed.wait()
            engine.accept([record(0)])

        feeding = asyncio.create_task(feed(opened[-1]))
        try:
            yield opened[-1]
        finally:
            feeding.cancel()

    supervisor = Supervisor(0, opener=open_poisoned, changed=lambda: None, failed=lambda _: None)
    try:
        async with asyncio.timeout(30):
            while supervisor.state is not SupervisorState.HALTED and len(opened) < 4 * HALTS_AFTER:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert supervisor.state is SupervisorState.HALTED
        assert len(opened) == HALTS_AFTER
    finally:
        await supervisor.close()


async def test_fenced_as_the_proven_owner_it_waits_for_the_group_to_speak(world: World, waits: Waits) -> None:
    life = await world.life(1)
    life.unbroken = True
    life.fail(ProducerFenced())
    await world.life(2)
    assert waits == [5.0]


async def test_fenced_with_no_commit_since_a_rebalance_it_opens_again_soon(world: World, waits: Waits) -> None:
    (await world.life(1)).fail(ProducerFenced())
    await world.life(2)
    assert waits[0] <= 0.2


@pytest.mark.parametrize("when", ["opening", "running", "backing_off", "halted"])
async def test_closing_ends_it_whatever_it_does(world: World, waits: Waits, when: str) -> None:
    waits.held = True
    await world.opening.wait()
    if when == "backing_off":
        world.refuse(ConnectionError())
    elif when == "halted":
        world.refuse(LedgerRefusedError("no"))
    elif when == "running":
        world.open()
    await world.in_state(SupervisorState(when))
    async with asyncio.timeout(30):
        await world.supervisor.close()
        await world.supervisor.close()
    world.supervisor.resume()
    assert world.supervisor.engine is None
    assert all("close" in life.told for life in world.lives)
    assert world.closed == [None]  # whatever was opened is closed again
    assert "partition-3" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_resuming_ends_a_back_off_and_not_a_halt(world: World, waits: Waits) -> None:
    waits.held = True
    world.refuse(ConnectionError(), LedgerRefusedError("no"))
    await world.in_state(SupervisorState.BACKING_OFF)
    world.supervisor.resume()
    await world.in_state(SupervisorState.HALTED)
    world.supervisor.resume()
    assert "partition-3" not in {task.get_name() for task in asyncio.all_tasks()}
    assert world.supervisor.state is SupervisorState.HALTED


async def test_what_is_told_to_it_is_told_to_its_engine(world: World) -> None:
    life = await world.life(1)
    world.supervisor.resume()
    world.supervisor.reopen("the topic is another one")
    assert life.told == ["resume", "the topic is another one"]


async def test_told_while_it_has_no_engine_nothing_happens(world: World) -> None:
    await world.opening.wait()
    world.supervisor.resume()
    world.supervisor.reopen("the topic is another one")
    assert (await world.life(1)).told == []


async def test_an_engine_that_opens_while_it_is_suspended_is_suspended_before_it_runs(world: World) -> None:
    await world.opening.wait()
    world.supervisor.suspend()
    life = await world.life(1)
    assert life.told == ["suspend"]
    world.supervisor.resume()
    life.fail(ConnectionError())
    assert (await world.life(2)).told == []


async def test_a_close_ends_an_opening_that_swallows_the_cancellation() -> None:
    """As Python 3.11's wait_for does, when what it waits for ends in the same step."""
    opened: list[Any] = []

    @asynccontextmanager
    async def deaf(_: int) -> AsyncIterator[Engine]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            opened.append(life := Life())
        yield cast(Engine, life)

    supervisor = Supervisor(3, opener=deaf, changed=lambda: None, failed=lambda _: None)
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await supervisor.close()
    assert len(opened) == 1
    assert supervisor.engine is None


async def test_being_told_twice_does_not_cut_short_the_closing_of_what_was_opened() -> None:
    """A partition lost in a rebalance is cancelled at once, and then closed: its producer must end all the same."""
    ending, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def slow_to_end(_: int) -> AsyncIterator[Engine]:
        try:
            yield cast(Engine, Life())
        finally:
            ending.set()
            await may_end.wait()
            ended.set()

    opened = asyncio.Event()
    supervisor = Supervisor(3, opener=slow_to_end, changed=opened.set, failed=lambda _: None)
    async with asyncio.timeout(30):
        await opened.wait()
        supervisor.cancel()
        await ending.wait()
        closing = asyncio.create_task(supervisor.close())
        await asyncio.sleep(0)
        may_end.set()
        await closing
    assert ended.is_set()


@pytest.mark.parametrize("state", [SupervisorState.HALTED, SupervisorState.BACKING_OFF])
async def test_losing_it_without_an_engine_is_a_change_too(world: World, waits: Waits, state: SupervisorState) -> None:
    waits.held = True
    world.refuse(LedgerRefusedError("of another group") if state is SupervisorState.HALTED else TimeoutError())
    await world.in_state(state)
    before = len(world.changes)
    world.supervisor.cancel()
    assert len(world.changes) == before + 1
