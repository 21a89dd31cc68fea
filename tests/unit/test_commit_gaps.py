"""How far apart the commits of an engine are, in virtual time."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from tests.simulation.loop import SimulatedLoop
from tests.support.unmeasured import Unmeasured
from tests.unit.domain.support import POLICY, record, request
from worker.clock import Clock
from worker.domain.commit import Commit, Position
from worker.domain.partition import Partition
from worker.domain.request import Record, Request
from worker.engine import Engine
from worker.telemetry.recent import Recent
from worker.telemetry.tracing import Tracing

A_COMMIT = 0.004


class World:
    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.sizes: list[int] = []
        self.begun: list[float] = []
        self._offset = 0
        self.engine = Engine(
            0,
            Partition(POLICY, lambda: 0.0, Position(0)),
            committer=self,
            api=cast(Any, Unmeasured()),
            reader=self,
            clock=Clock(lambda: 1_700_000_000 + loop.time(), loop.time),
            proof_age=5.0,
            tracing=Tracing(),
            metrics=cast(Any, Unmeasured()),
            recent=Recent(),
        )

    def read(self, record: Record) -> Request:
        return request(f"m-{record.offset}", "P1-T1", record.offset)

    def accept(self, count: int) -> None:
        self.engine.accept([record(self._offset + number) for number in range(count)])
        self._offset += count

    async def commit(self, commit: Commit) -> None:
        self.begun.append(self.loop.time())
        self.sizes.append(commit.size)
        await asyncio.sleep(A_COMMIT)

    async def gap_after(self, count: int) -> float:
        """Seconds from the end of a commit of so many records to the next one's beginning, which is wanted at once."""
        await asyncio.sleep(1)
        self.accept(count)
        await asyncio.sleep(A_COMMIT / 2)
        self.accept(1)
        await asyncio.sleep(1)
        assert self.sizes[-2:] == [count + 1, 2]  # and the position
        return self.begun[-1] - self.begun[-2] - A_COMMIT


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop()
    yield loop
    loop.unwind([])


def in_virtual_time(loop: SimulatedLoop, scenario: Callable[[World], Any]) -> Any:
    async def main() -> Any:
        world = World(loop)
        running = loop.create_task(world.engine.run())
        found = await scenario(world)
        running.cancel()
        await asyncio.wait([running])
        return found

    return loop.run(main())


def test_an_idle_partition_commits_at_once(loop: SimulatedLoop) -> None:
    async def waited(world: World) -> float:
        await asyncio.sleep(1)
        accepted_at = loop.time()
        world.accept(1)
        await asyncio.sleep(1)
        return world.begun[-1] - accepted_at

    assert in_virtual_time(loop, waited) == 0


@pytest.mark.parametrize(("records", "seconds"), [(1, 0.001), (9, 0.005), (19, 0.010), (98, 0.0495), (120, 0.050)])
def test_the_more_a_commit_had_the_longer_the_next_one_gathers(
    loop: SimulatedLoop, records: int, seconds: float
) -> None:
    async def gap(world: World) -> float:
        return await world.gap_after(records)

    assert in_virtual_time(loop, gap) == pytest.approx(seconds)
