"""What the worker shows of itself: ready, status, and the figures behind the gauges."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from structlog.testing import capture_logs

from tests.support.loop_watch import held_nowhere
from tests.unit.domain.support import POLICY, REFUSED, gave, request
from tests.unit.domain.support import record as input_record
from worker.domain.commit import Position
from worker.domain.entry import Entry, State
from worker.domain.finished import Finished
from worker.domain.partition import Partition
from worker.kafka.restore import Restored
from worker.runtime import Runtime
from worker.settings import load
from worker.supervisor import SupervisorState

SECRET = "hunter2-hunter2"


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "KAFKA_GROUP_ID": "the group",
        "DINTERO_ACCOUNT_ID": "P11223351",
        "DINTERO_CLIENT_ID": "client",
        "DINTERO_CLIENT_SECRET": SECRET,
    }
    runtime = Runtime(load(environment))
    yield runtime
    await runtime.aclose()


def partition() -> Partition:
    """One request pending, one creating on another terminal, one queued behind each."""
    now = int(time.time() * 1000)
    partition = Partition(POLICY, lambda: 0.0, Position(0))
    for offset, terminal in enumerate(("P1-T1", "P1-T2", "P1-T1", "P1-T2")):
        partition.accept(request(f"m-{offset}", terminal, offset), input_record(offset), now)
    commit = partition.take(now)
    assert commit
    partition.committed(commit, now)
    first = partition.due(now, 1)[0]
    partition.answered(first, gave(first), now - 5_000)
    commit = partition.take(now)
    assert commit
    partition.committed(commit, now)
    return partition


def give(runtime: Runtime, **supervisors: Any) -> None:
    """Make the worker a member with these partitions: `p3=(state, error, partition)`."""
    runtime._group.joined = True
    runtime._group._consumer = SimpleNamespace(last_stable_offset=lambda _: 6)
    for name, (state, error, held) in supervisors.items():
        engine = SimpleNamespace(partition=held) if held else None
        supervisor = SimpleNamespace(state=state, error=error, engine=engine)
        runtime._group.supervisors[int(name[1:])] = cast(Any, supervisor)


RUNNING = (SupervisorState.RUNNING, None)


async def test_it_is_not_ready_before_it_has_joined_and_says_why(runtime: Runtime) -> None:
    assert runtime.view.ready() == (False, "not a member of the group: joining")
    runtime._group.error = "KafkaError: gone"
    assert runtime.view.ready() == (False, "not a member of the group: KafkaError: gone")


async def test_it_is_ready_when_every_partition_runs_or_none_is_its_own(runtime: Runtime) -> None:
    give(runtime)
    assert runtime.view.ready() == (True, "ready")
    give(runtime, p0=(*RUNNING, partition()), p1=(*RUNNING, partition()))
    assert runtime.view.ready() == (True, "ready")


@pytest.mark.parametrize(
    ("state", "error", "told"),
    [
        (SupervisorState.OPENING, None, "partition 1 is opening: restoring"),
        (SupervisorState.BACKING_OFF, "TimeoutError", "partition 1 is backing_off: TimeoutError"),
        (SupervisorState.HALTED, "of another group", "partition 1 is halted: of another group"),
    ],
)
async def test_one_partition_that_does_not_run_makes_it_not_ready_and_is_named(
    runtime: Runtime, state: SupervisorState, error: str | None, told: str
) -> None:
    give(runtime, p0=(*RUNNING, partition()), p1=(state, error, None))
    assert runtime.view.ready() == (False, told)


async def test_the_status_counts_what_each_partition_holds(runtime: Runtime) -> None:
    give(runtime, p2=(*RUNNING, partition()))
    (shown,) = runtime.view.status()["partitions"]
    age = shown.pop("oldest_pending_age_s")
    assert 4 <= age < 60
    assert shown == {
        "partition": 2,
        "state": "running",
        "error": None,
        "offset": 4,
        "lag": 2,
        "backlog": 4,
        "paused": False,
        "lanes": 2,
        "queued": 2,
        "creating": 1,
        "pending": 1,
        "finished_remembered": 0,
    }


async def test_the_status_names_the_lanes_whose_heads_were_begun_first(runtime: Runtime) -> None:
    first, second = partition(), partition()
    for head, _ in second.lanes.oldest(2):
        head.creating_at = (head.creating_at or 0) - 60_000
    give(runtime, p0=(*RUNNING, first), p1=(*RUNNING, second), p2=(SupervisorState.HALTED, "no", None))
    lanes = runtime.view.status()["oldest_lanes"]
    assert [lane["partition"] for lane in lanes] == [1, 1, 0, 0]
    age = lanes[0].pop("age_s")
    assert 60 <= age < 120
    assert lanes[0] == {
        "partition": 1,
        "terminal_id": "P1-T1",
        "state": "pending",
        "operation": "end_of_day",
        "message_id": "m-0",
        "behind": 1,
    }


async def test_the_status_names_few_lanes_however_many_there_are(runtime: Runtime) -> None:
    first, second = (Partition(POLICY, lambda: 0.0, Position(0)) for _ in range(2))
    for offset in range(200):
        half = (first, second)[offset % 2]
        half.accept(request(f"m-{offset}", f"P1-T{offset}", offset), input_record(offset), 1_000 - offset)
    give(runtime, p0=(*RUNNING, first), p1=(*RUNNING, second))
    lanes = runtime.view.status()["oldest_lanes"]
    assert [lane["terminal_id"] for lane in lanes] == [f"P1-T{number}" for number in range(199, 179, -1)]


async def test_the_status_tells_the_last_outcomes_and_what_failed(runtime: Runtime) -> None:
    held = partition()
    (head,) = held.due(int(time.time() * 1000), 1)
    held.answered(head, REFUSED, 1_000)
    commit = held.take(1_000)
    assert commit
    runtime._recent.committed(0, commit.outcomes)
    status = runtime.view.status()
    assert set(status["outcomes"]) == {"interval_s", "completed", "failed"}
    assert [(failed["message_id"], failed["reason"]) for failed in status["last_failures"]] == [("m-1", "rejected")]


async def test_a_halted_partition_is_shown_beside_those_that_work(runtime: Runtime) -> None:
    give(runtime, p1=(SupervisorState.HALTED, "of another group", None), p0=(*RUNNING, partition()))
    first, second = runtime.view.status()["partitions"]
    assert (first["partition"], first["state"]) == (0, "running")
    assert second == {"partition": 1, "state": "halted", "error": "of another group"}


async def test_the_status_tells_the_worker_and_its_accounts_and_no_secret(runtime: Runtime) -> None:
    status = runtime.view.status()
    assert status["worker"]["group"] == "the group"
    assert status["worker"]["topic"] == "terminal-operations.requests"
    assert status["worker"]["delivery"] == "exactly_once"
    assert status["worker"]["joined"] is False
    assert (status["worker"]["ready"], status["worker"]["reason"]) == runtime.view.ready()
    assert set(status["accounts"]) == {"P11223351"}
    assert status["accounts"]["P11223351"]["circuit"] == "closed"
    assert SECRET not in repr(status)


async def test_the_gauges_show_the_partitions_that_run_and_no_other(runtime: Runtime) -> None:
    give(runtime, p2=(*RUNNING, partition()), p3=(SupervisorState.HALTED, "no", None))
    lines = runtime.view.metrics().decode().splitlines()
    assert 'terminal_operations_pending{partition="2"} 1.0' in lines
    assert 'terminal_operations_queued{partition="2"} 2.0' in lines
    assert 'terminal_operations_backlog{partition="2"} 4.0' in lines
    assert 'terminal_operations_partitions{state="halted"} 1.0' in lines
    (age,) = [
        line for line in lines if line.startswith('terminal_operations_oldest_pending_age_seconds{partition="2"}')
    ]
    assert 5 <= float(age.split()[1]) < 60
    assert 'terminal_operations_circuit_open{account="P11223351"} 0.0' in lines
    assert 'terminal_operations_budget_limit{account="P11223351"} 64.0' in lines
    assert not [line for line in lines if 'partition="3"' in line]


async def test_the_last_owner_is_fenced_before_the_ledger_is_read(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Producer:
        async def start(self) -> None:
            told.append("fence")

        async def close(self) -> None:
            told.append("close")

    async def restore(*_: object, **__: object) -> Restored:
        told.append("restore")
        return Restored(Position(7), [], Finished(), 0)

    monkeypatch.setattr("worker.runtime.partition_producer", lambda *_, **__: Producer())
    monkeypatch.setattr("worker.runtime.restore", restore)
    with pytest.raises(ConnectionError):
        await _fail_in(runtime, told)
    assert told == ["fence", "restore", "engine", "close"]  # and thrown away, whatever ended it


async def test_a_large_ledger_is_taken_up_in_short_steps(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.runtime.partition_producer", lambda *_, **__: AsyncMock())
    for watch in held_nowhere(monkeypatch, 0.02):
        entries = [Entry(request(f"m-{number}", f"P1-T{number}", number), State.QUEUED) for number in range(20_000)]
        restored = Restored(Position(20_000), entries, Finished(), 20_000)
        monkeypatch.setattr("worker.runtime.restore", AsyncMock(return_value=restored))
        with watch:
            gc.disable()  # a guest leaves it as it is, and `run` sets it
            try:
                assert await asyncio.create_task(_backlog(runtime)) == 20_000
            finally:
                gc.enable()


@pytest.mark.parametrize(("ahead", "said"), [(5, []), (3_600, [("ledger_ahead_of_clock", 3, 3_600)])])
async def test_a_ledger_that_a_fast_clock_wrote_is_said_to_be_ahead(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, ahead: int, said: list[tuple[str, int, int]]
) -> None:
    # Else nobody knows why requests expire an hour early, whichever worker has the partition by now.
    position = Position(0, time=int((time.time() + ahead) * 1000))
    monkeypatch.setattr("worker.runtime.partition_producer", lambda *_, **__: AsyncMock())
    monkeypatch.setattr("worker.runtime.restore", AsyncMock(return_value=Restored(position, [], Finished(), 0)))
    with capture_logs() as logs:
        await _backlog(runtime)
    warned = [line for line in logs if line["log_level"] == "warning"]
    assert [(line["event"], line["partition"], round(line["seconds"], -1)) for line in warned] == said


async def test_restores_are_taken_up_one_after_the_other(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    taking_up = most = 0

    def steps(*_given: object) -> Iterator[None]:
        nonlocal taking_up, most
        taking_up += 1
        for _ in range(1_000):
            most = max(most, taking_up)
            yield
        taking_up -= 1

    monkeypatch.setattr("worker.runtime.partition_producer", lambda *_, **__: AsyncMock())
    monkeypatch.setattr("worker.runtime.restore", AsyncMock(return_value=Restored(Position(0), [], Finished(), 0)))
    monkeypatch.setattr(Partition, "restore", steps)
    await asyncio.gather(_backlog(runtime), _backlog(runtime))
    assert most == 1


async def _backlog(runtime: Runtime) -> int:
    async with runtime._open(3) as engine:
        return engine.partition.backlog


async def _fail_in(runtime: Runtime, told: list[str]) -> None:
    async with runtime._open(3) as engine:
        told.append("engine")
        assert engine.partition.position.offset == 7
        raise ConnectionError
