"""The shell around a partition: what is sent when, and what a failed commit costs."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop
from opentelemetry.sdk.resources import Resource
from structlog.testing import capture_logs

from tests.unit.domain.support import NOT_RUN, POLICY, REFUSED, UNKNOWN, gave, invalid, record, request
from worker.clock import Clock
from worker.dintero.api import Api
from worker.dintero.call import Call, CallKind
from worker.domain.commit import Commit, Position
from worker.domain.entry import ForbiddenTransitionError
from worker.domain.partition import Partition
from worker.domain.request import Invalid, Record, Request
from worker.engine import Engine, EngineDoubtError
from worker.telemetry.metrics import Metrics
from worker.telemetry.recent import Recent
from worker.telemetry.tracing import Tracing

PROOF_AGE = 60.0
IMPATIENT = replace(POLICY, retry_initial_delay=10, retry_max_delay=20)  # the engine's timers run in real time


class Log:
    """Commits, each of which waits to be let through when told to hold."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.error: Exception | None = None
        self.begun = 0
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def commit(self, commit: Commit) -> None:
        self.begun += 1
        await self._open.wait()
        if self.error:
            raise self.error
        self.commits.append(commit)


class Calls:
    """The API as the engine sees it: calls pile up, the test answers them."""

    def __init__(self) -> None:
        self.waiting: list[Call] = []

    def submit(self, call: Call) -> None:
        self.waiting.append(call)


class OneRequestPerRecord:
    def read(self, record: Record) -> Request:
        return request(f"m-{record.offset}", "P1-T1" if record.offset % 2 == 0 else "P1-T2", record.offset)


class World:
    def __init__(self, make_metrics: Callable[[], Metrics]) -> None:
        self.slept = 0.0
        self.log = Log()
        self.calls = Calls()
        self.recent = Recent()
        self.engine = Engine(
            0,
            Partition(IMPATIENT, lambda: 0.0, Position(0)),
            committer=self.log,
            api=cast(Api, self.calls),
            reader=OneRequestPerRecord(),
            clock=Clock(lambda: 1_700_000_000.0, lambda: time.monotonic() + self.slept),
            proof_age=PROOF_AGE,
            tracing=Tracing(),
            metrics=make_metrics(),
            recent=self.recent,
        )
        self.running = asyncio.create_task(self.engine.run())

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not true():  # noqa: ASYNC110 - what is awaited is a state, not an event
                await asyncio.sleep(0.001)

    async def first_create(self) -> Call:
        self.engine.accept([record(0)])
        await self.until(lambda: self.calls.waiting)
        return self.calls.waiting.pop()

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])


@pytest.fixture
def metrics() -> Callable[[], Metrics]:
    made: list[Metrics] = []

    def make() -> Metrics:
        names = {"requests_topic": "r", "outcomes_topic": "o", "dead_letters_topic": "d", "group_id": "g"}
        made.append(Metrics(Resource.create(), **names, api_url="http://127.0.0.1"))
        return made[-1]

    return make


@pytest.fixture
async def world(metrics: Callable[[], Metrics]) -> Any:
    world = World(metrics)
    yield world
    await world.close()
    await world.engine._metrics.stop(1.0)


async def test_the_first_commit_proves_ownership_before_anything_comes_in(world: World) -> None:
    await world.until(lambda: world.log.commits)
    assert world.log.commits[0].position.offset == 0
    assert world.engine.proved


async def test_nothing_is_asked_until_the_commit_is_durable(world: World) -> None:
    await world.until(lambda: world.log.commits)
    world.log.hold()
    world.engine.accept([record(0)])
    await world.until(lambda: world.log.begun == 2)
    assert world.calls.waiting == []
    world.log.release()
    await world.until(lambda: world.calls.waiting)
    call = world.calls.waiting[0]
    assert call.kind is CallKind.CREATE
    assert call.caller.door(call)


async def test_what_comes_while_a_commit_runs_goes_into_the_next_one_together(world: World) -> None:
    await world.until(lambda: world.log.commits)
    world.log.hold()
    world.engine.accept([record(0)])
    await world.until(lambda: world.log.begun == 2)
    for offset in range(1, 10):
        world.engine.accept([record(offset)])
    world.log.release()
    await world.until(lambda: len(world.log.commits) == 3)
    assert len(world.log.commits[2].entries) == 9
    assert world.log.commits[2].position.offset == 10


async def test_a_failure_is_told_once_its_commit_is_durable(world: World) -> None:
    call = await world.first_create()
    world.log.hold()
    begun = world.log.begun + 1
    call.caller.done(call, REFUSED)
    await world.until(lambda: world.log.begun == begun)
    assert world.recent.failures() == []
    world.log.release()
    await world.until(world.recent.failures)
    (failed,) = world.recent.failures()
    assert (failed["partition"], failed["message_id"], failed["reason"]) == (0, "m-0", "rejected")


async def test_a_record_read_twice_is_taken_in_once(world: World) -> None:
    world.engine.accept([record(0), record(1)])
    world.engine.accept([record(0), record(1), record(2)])
    await world.until(lambda: world.engine.partition.committed_position.offset == 3)
    assert world.engine.partition.backlog == 3
    assert sum(len(commit.dead_letters) for commit in world.log.commits) == 0


async def test_the_door_is_closed_when_the_proof_is_old_and_a_commit_opens_it(world: World) -> None:
    call = await world.first_create()
    commits = len(world.log.commits)
    world.slept += PROOF_AGE
    assert not call.caller.door(call)
    await call.caller.prepare(call)
    assert call.caller.door(call)
    assert len(world.log.commits) == commits + 1


async def test_the_door_is_closed_after_a_rebalance_until_a_commit_that_began_after_it(world: World) -> None:
    call = await world.first_create()
    world.engine.suspend()
    assert not call.caller.door(call)
    world.log.hold()
    world.engine.accept([record(1)])
    begun = world.log.begun + 1
    await world.until(lambda: world.log.begun == begun)
    world.slept += 0.1
    world.engine.resume()  # the commit in flight began before: it proves nothing
    world.slept += 0.1
    world.log.release()
    await world.until(lambda: len(world.log.commits) == begun)
    assert not call.caller.door(call)
    await call.caller.prepare(call)
    assert call.caller.door(call)


async def test_a_suspended_engine_asks_nothing_new_but_takes_answers(world: World) -> None:
    call = await world.first_create()
    world.engine.suspend()
    world.engine.accept([record(1)])
    call.caller.done(call, gave(call.entry))
    await world.engine.settle(5.0)
    assert [o.type.value for commit in world.log.commits for o in commit.outcomes] == ["created"]
    assert world.engine.partition.committed_position.offset == 2
    assert world.calls.waiting == []


async def test_what_came_due_while_suspended_is_asked_once_it_is_resumed(world: World) -> None:
    call = await world.first_create()
    world.engine.suspend()
    call.caller.done(call, NOT_RUN)
    world.slept += 60
    world.engine.accept([record(1)])
    await world.until(lambda: world.engine.partition.committed_position.offset == 2)
    assert world.calls.waiting == []
    world.engine.resume()
    await world.until(lambda: len(world.calls.waiting) == 2)


async def test_settling_waits_for_the_commit_in_flight(world: World) -> None:
    call = await world.first_create()
    world.log.hold()
    begun = world.log.begun
    call.caller.done(call, gave(call.entry))
    await world.until(lambda: world.log.begun > begun)
    world.engine.suspend()
    settling = asyncio.create_task(world.engine.settle(5.0))
    done, _ = await asyncio.wait([settling], timeout=0.05)
    assert not done
    world.log.release()
    await settling
    assert [o.type.value for commit in world.log.commits for o in commit.outcomes] == ["created"]


async def test_settling_waits_for_the_creates_in_flight_no_longer_than_it_may(world: World) -> None:
    await world.first_create()
    world.engine.suspend()
    await world.engine.settle(0.05)
    assert world.engine.partition.backlog == 1


async def test_a_failed_commit_ends_the_engine_and_later_answers_change_nothing(world: World) -> None:
    call = await world.first_create()
    world.log.error = ConnectionError("gone")
    world.engine.accept([record(1)])
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(world.running, 30.0)
    assert not call.caller.door(call)
    call.caller.done(call, gave(call.entry))
    world.engine.accept([record(2)])
    assert call.entry.operation_id is None
    assert world.engine.partition.position.offset == 2
    await asyncio.wait_for(call.caller.prepare(call), 30.0)


async def test_a_bug_in_a_decision_ends_the_engine_rather_than_being_lost(world: World) -> None:
    call = await world.first_create()
    call.caller.done(call, REFUSED)
    call.caller.done(call, REFUSED)  # answered twice: against the table of transitions
    with pytest.raises(ForbiddenTransitionError):
        await asyncio.wait_for(world.running, 30.0)


async def test_a_doubt_from_outside_ends_the_engine(world: World) -> None:
    world.engine.doubt("the topic is another one")
    with pytest.raises(EngineDoubtError, match="another one"):
        await asyncio.wait_for(world.running, 30.0)


async def test_an_answer_that_asks_for_patience_is_followed_by_another_call(world: World) -> None:
    call = await world.first_create()
    call.caller.done(call, NOT_RUN)
    await world.until(lambda: world.calls.waiting)
    assert world.calls.waiting[0].entry is call.entry


async def test_a_dead_letter_is_counted_and_told_once_it_is_committed(world: World) -> None:
    invalid = Invalid("is not JSON", 0, 0)
    world.engine._reader = cast(Any, SimpleNamespace(read=lambda _: invalid))
    await world.until(lambda: world.log.commits)
    world.log.hold()
    with capture_logs() as logs:
        world.engine.accept([record(0)])
        await world.until(lambda: world.log.begun == 2)
        assert (world.engine._metrics._dead_letters.total, logs) == (0, [])
        world.log.release()
        await world.until(lambda: logs)
    assert world.engine._metrics._dead_letters.total == 1
    (line,) = logs
    assert (line["event"], line["log_level"], line["reason"]) == ("dead_letter", "warning", "invalid_request")
    assert (line["why"], line["partition"], line["offset"]) == ("is not JSON", 0, 0)


async def test_only_the_first_unknown_answer_to_a_create_is_worth_a_line(world: World) -> None:
    call = await world.first_create()
    with capture_logs() as logs:
        for _ in range(5):
            world.engine.done(call, UNKNOWN)
            await world.until(lambda: world.calls.waiting)
            call = world.calls.waiting.pop()
    told = [(line["event"], line["log_level"]) for line in logs]
    assert told == [("create_unanswered", "info")] + [("asking_again", "debug")] * 4
    assert {line["message_id"] for line in logs} == {"m-0"}


async def test_nothing_more_is_asked_while_many_outcomes_wait_for_a_commit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine._MOST_UNPUBLISHED", 0)
    call = await world.first_create()
    world.log.hold()
    world.engine.accept([record(2)])  # the commit that is held
    await world.until(lambda: world.log.begun == 3)
    world.engine._reader = cast(Any, SimpleNamespace(read=lambda _: invalid("m-3")))
    world.engine.accept([record(3)])
    call.caller.done(call, NOT_RUN)
    world.slept += 60
    world.engine.resume()
    assert (world.engine.partition.unpublished, world.calls.waiting) == (1, [])
    world.log.release()
    await world.until(lambda: world.calls.waiting)
    assert [again.entry for again in world.calls.waiting] == [call.entry]


def test_more_than_is_asked_at_once_is_asked_in_turns_on_the_loop_of_the_worker(
    metrics: Callable[[], Metrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine._ASK_AT_ONCE", 1)

    async def ask() -> None:
        world, asked = World(metrics), []

        def submit(call: Call) -> None:
            asked.append(call)
            asyncio.get_running_loop().call_soon(call.caller.done, call, NOT_RUN)  # before the engine's timer rings

        monkeypatch.setattr(world.calls, "submit", submit)
        world.engine.accept([record(0), record(1)])
        await world.until(lambda: len(asked) >= 4)  # the engine lives on
        await world.close()
        assert [call.entry.request.message_id for call in asked][:4] == ["m-0", "m-1"] * 2
        await world.engine._metrics.stop(1.0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())
