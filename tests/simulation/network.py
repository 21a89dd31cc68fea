"""The way between a process and what it asks: each direction takes its time, and anything may be lost or come late."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from aiokafka.errors import KafkaError

from tests.simulation.loop import OUTSIDE

_LATEST = 2.0


@dataclass(frozen=True, slots=True)
class Manners:
    """How a network treats its messages. Times are seconds, the rest chances of each message."""

    usual: float
    slow: float = 0.0
    slowest: float = 0.0
    lost: float = 0.0


class Network:
    """One process's link to one service. What is on its way arrives though its sender dies (`OUTSIDE`)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, random: Random, manners: Manners, quiet_at: float) -> None:
        self._loop = loop
        self._random = random
        self._manners = manners
        self._quiet_at = quiet_at
        self._cut_until = 0.0

    def cut(self, seconds: float) -> None:
        """Nothing passes for so long; what is sent meanwhile arrives after, as TCP has it."""
        self._cut_until = self._loop.time() + seconds

    async def ask(self, act: Callable[[], Any], manners: Manners | None = None) -> Any:
        """Do `act` at the other side, and give its answer. Waits for ever when either message is lost.

        `act` may give a future: the answer is sent when that is done.
        """
        manners = manners or self._manners
        answer: asyncio.Future[Any] = self._loop.create_future()

        def arrive() -> None:
            try:
                result = act()
            except Exception as error:  # noqa: BLE001 - an answer like any other
                self._carry(partial(_settle, answer, error=error), manners)
                return
            if isinstance(result, asyncio.Future):
                result.add_done_callback(
                    lambda done: self._carry(lambda: _settle(answer, done.result()), manners), context=OUTSIDE
                )
            else:
                self._carry(lambda: _settle(answer, result), manners)

        self._carry(arrive, manners)
        return await answer

    def leave(self, act: Callable[[], Any]) -> None:
        """Do `act` at the other side some time in the next seconds. Nobody hears of it."""

        def arrive() -> None:
            with suppress(KafkaError):  # an answer like any other
                act()

        self._loop.call_later(self._random.uniform(0.0, _LATEST), arrive, context=OUTSIDE)

    def _carry(self, deliver: Callable[[], None], manners: Manners) -> None:
        now = self._loop.time()
        delay = self._random.expovariate(1 / manners.usual)
        if now < self._quiet_at:
            chance = self._random.random()
            if chance < manners.lost:
                return
            if chance < manners.lost + manners.slow:
                delay = self._random.uniform(0.05, manners.slowest)
        delay += max(0.0, self._cut_until - now)
        self._loop.call_later(delay, deliver, context=OUTSIDE)


def _settle(answer: "asyncio.Future[Any]", result: Any = None, error: Exception | None = None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
        answer.exception()  # nobody may be left to look at it
