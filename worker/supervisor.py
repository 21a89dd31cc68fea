"""A supervisor owns one assigned partition: opens it, runs its engine, and opens it again after a doubt."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from enum import Enum

import structlog
from aiokafka.errors import BrokerResponseError, KafkaError, ProducerFenced

from worker.engine import Engine
from worker.kafka.connection import within
from worker.kafka.ledger import LedgerRefusedError

log = structlog.wrap_logger(logging.getLogger(__name__))

# Failures of the same kind in a row, with no progress between, after which only a person can help. Brokers' trouble
# passes by itself: it counts for the back-off alone.
_HALT_AFTER = 6
_LONGEST_BACK_OFF = 5.0
# Fenced though the group says the partition is ours: if we are the zombie, a heartbeat (every second) will soon say so,
# and opening again before it does would fence the rightful owner.
_FENCED_BACK_OFF = 5.0

Opener = Callable[[int], AbstractAsyncContextManager[Engine]]
"""Opens a partition: fence, restore, engine. On leaving, the producer is thrown away."""


class SupervisorState(Enum):
    OPENING = "opening"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    HALTED = "halted"


class _Streak:
    """Failures with no progress between them: how long to wait after the last, and whether to give up."""

    def __init__(self) -> None:
        self._length = 0
        self._alike = 0
        self._kind: type[Exception] | None = None

    def add(self, error: Exception, *, progressed: bool) -> None:
        """`progressed`: there was progress before this failure, which begins a new streak."""
        if progressed:
            self._length = self._alike = 0
        self._length += 1
        if not _is_brokers_trouble(error):
            self._alike = self._alike + 1 if type(error) is self._kind else 1
            self._kind = type(error)

    @property
    def hopeless(self) -> bool:
        return self._alike >= _HALT_AFTER

    def back_off(self) -> float:
        return min(_LONGEST_BACK_OFF, 0.1 * 2.0 ** min(self._length, 10)) * random.uniform(0.5, 1.0)


class Supervisor:
    """Runs until closed. `engine` is there exactly while the partition can work; `changed` tells when that changes."""

    def __init__(
        self, number: int, *, opener: Opener, changed: Callable[[], None], failed: Callable[[str], None]
    ) -> None:
        self.number = number
        self.engine: Engine | None = None
        self.state = SupervisorState.OPENING
        self.error: str | None = None
        self._opener = opener
        self._changed = changed
        self._failed = failed
        self._said: str | None = None
        self._in_vain = False
        self._failures = 0
        self._failing_since = 0.0
        self._suspended = False
        self._nudge = asyncio.Event()
        self._closing = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"partition-{number}")

    def reopen(self, why: str) -> None:
        """Throw the engine away and restore: what the consumer reads no longer fits it."""
        if self.engine:
            self.engine.doubt(why)

    def suspend(self) -> None:
        """The group is rebalancing, or we are stopping: no engine, nor a next one, asks anything until `resume`."""
        self._suspended = True
        if self.engine:
            self.engine.suspend()

    def resume(self) -> None:
        """Still ours after a rebalance."""
        self._suspended = False
        self._nudge.set()
        if self.engine:
            self.engine.resume()

    def cancel(self) -> None:
        """No longer ours: nothing more is sent or decided from this very step on."""
        if self._closing.is_set():
            return  # a second cancellation would cut short the closing of the producer, and leak its tasks
        self._closing.set()
        if self.engine:
            self.engine.close()
        self._task.cancel()
        self._changed()  # also without an engine: its share of the API's rate goes with it

    async def close(self) -> None:
        """End at once; what is not committed is left to the next owner."""
        self.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        streak = _Streak()
        # A cancellation can be lost on its way: Python 3.11's wait_for and aiokafka swallow it when what they wait for
        # ends in the same step. The flag is not.
        while not self._closing.is_set():
            self.state = SupervisorState.OPENING
            served = progressed = unbroken = False
            try:
                async with self._opener(self.number) as engine:
                    if self._closing.is_set():
                        return
                    self._serve(engine)
                    served = True
                    try:
                        await engine.run()
                    finally:
                        progressed, unbroken = engine.progressed, engine.unbroken
                        self.engine = None
                        self._changed()
            except LedgerRefusedError as refused:
                self._halt(str(refused))
                return
            except Exception as error:  # noqa: BLE001 - any doubt ends the engine, never the worker (rule 6)
                if self._closing.is_set():
                    return
                streak.add(error, progressed=progressed)
                self._in_vain = served and not progressed
                if progressed:
                    self._said, self._failures = None, 0
                if streak.hopeless:
                    self._halt(f"the same failure {_HALT_AFTER} times running: {_describe(error)}")
                    return
                fenced_as_owner = isinstance(error, ProducerFenced) and unbroken
                await self._back_off(error, _FENCED_BACK_OFF if fenced_as_owner else streak.back_off())

    def _serve(self, engine: Engine) -> None:
        # What failed at its first commit opens as well as ever: that is no recovery.
        if self._said and not self._in_vain:
            seconds = round(time.monotonic() - self._failing_since, 1)
            log.info("partition_recovered", partition=self.number, failures=self._failures, seconds=seconds)
            self._said, self._failures = None, 0
        if self._suspended:
            engine.suspend()
        self.engine, self.state, self.error = engine, SupervisorState.RUNNING, None
        self._changed()

    def _halt(self, why: str) -> None:
        self.state, self.error = SupervisorState.HALTED, why
        self._failed("halted")
        log.error("partition_halted", partition=self.number, why=why)

    async def _back_off(self, error: Exception, delay: float) -> None:
        description = _describe(error)
        if self._said != description:  # one line for each change, however long brokers stay away
            log.warning("partition_in_doubt", partition=self.number, why=description, reopening_in_s=round(delay, 2))
        self._said = description
        if not self._failures:
            self._failing_since = time.monotonic()
        self._failures += 1
        self.state, self.error = SupervisorState.BACKING_OFF, description
        self._failed(type(error).__name__)
        self._nudge.clear()
        await within(delay, self._nudge.wait())


def _is_brokers_trouble(error: Exception) -> bool:
    """Passes by itself, so it never halts a partition, however long it lasts."""
    if isinstance(error, TimeoutError | ProducerFenced | OSError):
        return True
    return isinstance(error, KafkaError) and (error.retriable or not isinstance(error, BrokerResponseError))


def _describe(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
