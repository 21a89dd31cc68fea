"""A deterministic event loop: virtual time, no sockets, no threads, and processes that can die or stop at any await.

Time jumps to the next timer when nothing else can run. Callbacks run in asyncio's own order, so chance enters only
where the simulation puts it: in delays and faults.
"""

import asyncio
import heapq
from asyncio.events import _set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from itertools import count
from random import Random
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PROCESS: ContextVar["Process"] = ContextVar("process")
"""Whose code runs. Tasks and callbacks inherit it with their context."""

OUTSIDE = Context()
"""The context of what belongs to no process: brokers, the API, the network. It goes on whoever stops."""

_MOST_STEPS = 400_000


class EndlessError(Exception):
    """The history does not end by itself."""


class Process:
    """A simulated process. Frozen, none of its callbacks runs: for a while it is paused, for ever it is dead."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.frozen = False
        self.on_signal: Callable[[], object] | None = None
        self._ready: list[asyncio.Handle] = []
        self._timers: list[asyncio.Handle] = []
        self._steps_left: int | None = None
        self._then: Callable[[], None] = lambda: None

    def after(self, steps: int, then: Callable[[], None]) -> None:
        """Call `then` when this process has run so many more callbacks: between two of them, so at any await."""
        self._steps_left, self._then = steps, then

    def may_step(self) -> bool:
        if self._steps_left is not None:
            self._steps_left -= 1
            if self._steps_left < 0:
                self._steps_left = None
                self._then()
        return not self.frozen

    def hold(self, handle: asyncio.Handle) -> None:
        (self._timers if isinstance(handle, asyncio.TimerHandle) else self._ready).append(handle)

    def thaw(self, random: Random) -> list[asyncio.Handle]:
        """What was held, in the order in which it runs now: a woken process may see its timers or its I/O first."""
        self.frozen = False
        kinds, mixed = (self._ready, self._timers), list[asyncio.Handle]()
        while any(kinds):
            kind = random.choice([kind for kind in kinds if kind])
            mixed.append(kind.pop(0))
        return mixed


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs one history. Nothing in it depends on the real time or on the order of a set."""

    def __init__(self) -> None:
        super().__init__()
        self.crashes: list[str] = []
        """What callbacks raised: always a bug."""
        self._now = 0.0
        self._soon: deque[tuple[Process | None, asyncio.Handle]] = deque()
        self._later: list[tuple[float, int, Process | None, asyncio.Handle]] = []
        self._order = count()
        self._steps = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_exception_handler(self._crashed)
        self.set_task_factory(self._task)

    # -- what asyncio asks of a loop ----------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append((_process(context), handle))
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._later, (when, next(self._order), _process(context), handle))
        return handle

    def run_in_executor(self, executor: Any, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> "asyncio.Future[T]":
        """In place: a thread would bring its own timing."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits
            future.set_exception(error)
        return future

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers stay in the heap until their time."""

    def _task(self, loop: asyncio.AbstractEventLoop, coro: Any, context: Context | None = None) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, context=context)
        self._tasks.append(task)  # or the tasks of the dead would be collected, and their `finally` clauses run
        return task

    def _crashed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.crashes.append(f"{context['message']}: {context.get('exception')!r}")

    # -- running ------------------------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        task = OUTSIDE.run(self.create_task, main)
        self._run_until(task.done)
        return task.result()

    def thaw(self, process: Process, random: Random) -> None:
        self._soon.extend((process, handle) for handle in process.thaw(random))

    def unwind(self, processes: list[Process]) -> None:
        """End all tasks, those of the dead too, so that none is left for the garbage collector to complain about."""
        self._steps = 0
        for process in processes:
            self.thaw(process, Random(0))
        while left := [task for task in self._tasks if not task.done()]:
            for task in left:
                task.cancel()
            self._run_until(lambda: not self._soon)
        for task in self._tasks:
            if not task.cancelled():
                task.exception()
        self.close()

    def _run_until(self, done: Callable[[], bool]) -> None:
        _set_running_loop(self)
        try:
            while not done():
                self._step()
        finally:
            _set_running_loop(None)

    def _step(self) -> None:
        if self._soon:
            process, handle = self._soon.popleft()
        elif self._later:
            when, _, process, handle = heapq.heappop(self._later)
            if handle.cancelled():
                return
            self._now = max(self._now, when)
        else:
            raise EndlessError("everybody waits, and nothing is left to happen")
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise EndlessError(f"no end after {_MOST_STEPS} steps")
        if process and not process.may_step():
            process.hold(handle)
        elif not handle.cancelled():
            handle._run()


def _process(context: Context | None) -> Process | None:
    return PROCESS.get(None) if context is None else context.get(PROCESS)
