"""A supervisor whose openings and engines a test decides."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from worker.engine import Engine
from worker.supervisor import Supervisor, SupervisorState


class Life:
    """One engine, as the supervisor sees it. It runs until the test ends it."""

    def __init__(self) -> None:
        self.progressed = self.unbroken = False
        self.told: list[str] = []
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        await self._end

    def fail(self, error: Exception) -> None:
        self._end.set_exception(error)

    def suspend(self) -> None:
        self.told.append("suspend")

    def resume(self) -> None:
        self.told.append("resume")

    def close(self) -> None:
        self.told.append("close")

    def doubt(self, why: str) -> None:
        self.told.append(why)


class World:
    """A supervisor whose openings the test decides. The first waits for `open`, or for `refuse`."""

    def __init__(self) -> None:
        self.refusals: list[Exception] = []
        self.lives: list[Life] = []
        self.opening = asyncio.Event()
        self.let_open = asyncio.Event()
        self.closed: list[Engine | None] = []
        self.changes: list[SupervisorState | None] = []
        self.failures: list[str] = []
        self.supervisor = Supervisor(3, opener=self._open, changed=self._changed, failed=self.failures.append)

    @asynccontextmanager
    async def _open(self, number: int) -> AsyncIterator[Engine]:
        assert number == 3
        try:
            self.opening.set()
            await self.let_open.wait()
            if self.refusals:
                raise self.refusals.pop(0)
            self.lives.append(Life())
            yield cast(Engine, self.lives[-1])
        finally:
            self.closed.append(self.supervisor.engine)

    def open(self) -> None:
        self.let_open.set()

    def refuse(self, *errors: Exception) -> None:
        """So many openings fail, with these; the next one succeeds."""
        self.refusals += errors
        self.let_open.set()

    def _changed(self) -> None:
        self.changes.append(self.supervisor.state if self.supervisor.engine else None)

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not true():  # noqa: ASYNC110 - what is awaited is a state, not an event
                await asyncio.sleep(0.001)

    async def life(self, number: int) -> Life:
        """The engine of that number, from 1, once it runs."""
        self.open()

        def runs() -> bool:
            return len(self.lives) >= number and self.supervisor.engine is cast(Engine, self.lives[number - 1])

        await self.until(runs)
        return self.lives[number - 1]

    async def in_state(self, state: SupervisorState) -> None:
        await self.until(lambda: self.supervisor.state is state)
