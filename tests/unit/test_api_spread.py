"""How the API is asked when thousands of terminals are due at once, and over an outage: in virtual time."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from random import Random
from typing import cast

import httpx
import orjson
import pytest
import structlog

from tests.simulation import loop as simulated
from tests.support.unmeasured import Unmeasured
from tests.unit.dintero.support import ACCOUNT, CREDENTIALS
from tests.unit.domain.support import request
from worker.clock import Clock
from worker.dintero.api import Api
from worker.dintero.http1 import Received
from worker.dintero.pool import Door, DoorClosedError
from worker.dintero.route import Headers
from worker.dintero.transport import Transport, always
from worker.domain.commit import Commit, Position
from worker.domain.entry import Entry, State
from worker.domain.finished import Finished
from worker.domain.outcome import OutcomeType
from worker.domain.partition import Partition
from worker.domain.policy import Policy
from worker.domain.request import Record, Request
from worker.engine import Engine
from worker.telemetry.metrics import Metrics
from worker.telemetry.recent import Recent
from worker.telemetry.tracing import Tracing

TERMINALS = 10_000
ANSWERS_AFTER = 0.05
POLICY = Policy(backlog_limit=TERMINALS, poll_initial_delay=2_000)


class Server(Transport):
    """Answers after a while, and remembers when it was asked. Down, it refuses every other call and fails the rest."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.creates: list[float] = []
        self.polls: list[float] = []
        self.ran: set[str] = set()
        self.most_at_once = 0
        self.down_until = 0.0
        self._clock = clock
        self._at_once = 0

    async def send(self, method: str, url: str, headers: Headers, body: bytes, door: Door = always) -> Received:
        if url.endswith("/auth/token"):
            return _received({"access_token": "token", "expires_in": 86_400})
        if not door():
            raise DoorClosedError
        (self.creates if method == "POST" else self.polls).append(self._clock())
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(method, url, body)
        finally:
            self._at_once -= 1

    async def _answer(self, method: str, url: str, body: bytes) -> Received:
        down = self._clock() < self.down_until
        if down and (len(self.creates) + len(self.polls)) % 2:
            raise httpx.ConnectError("refused")
        if method == "POST":
            # Down, it may run what it gives no answer to.
            content = orjson.loads(body)
            self.ran.add(content["terminal_id"])
            operation = {"id": content["terminal_id"], **content, "status": "PENDING"}
        else:
            terminal = url.partition("operation_id=")[2]
            operation = {"id": terminal, "terminal_id": terminal, "operation": "end_of_day", "status": "COMPLETED"}
        await asyncio.sleep(ANSWERS_AFTER)
        if down:
            return Received(502, {}, b"")
        return _received(operation if method == "POST" else [operation])


def _received(content: object) -> Received:
    return Received(200, {}, orjson.dumps(content))


class World:
    """One partition on one account; its commits succeed after 5 ms. Time is that of the simulated loop."""

    def __init__(
        self, loop: simulated.SimulatedLoop, *, max_in_flight: int, rate: float | None = None, pending: int = 0
    ) -> None:
        random = Random(7)
        self.loop = loop
        self.server = Server(loop.time)
        self.ended: Counter[OutcomeType] = Counter()
        clock = Clock(lambda: 1_700_000_000 + loop.time(), loop.time)
        partition = Partition(POLICY, random.random, Position(0))
        entries = [_pending(number, clock.now()) for number in range(pending)]
        deque(partition.restore(entries, Finished(), clock.now()), 0)
        self.api = Api(
            {ACCOUNT: CREDENTIALS},
            base_url="https://api.example",
            transport=self.server,
            request_timeout=5.0,
            max_in_flight=max_in_flight,
            max_requests_per_second=rate,
            tracing=Tracing(),
            metrics=cast(Metrics, Unmeasured()),
            clock=loop.time,
            random=random.random,
        )
        self.engine = Engine(
            0,
            partition,
            committer=self,
            api=self.api,
            reader=self,
            clock=clock,
            proof_age=5.0,
            tracing=Tracing(),
            metrics=cast(Metrics, Unmeasured()),
            recent=Recent(),
        )
        self.running = loop.create_task(self.engine.run())

    def read(self, record: Record) -> Request:
        return request(f"m-{record.offset}", f"{ACCOUNT}-T{record.offset}", record.offset)

    async def commit(self, commit: Commit) -> None:
        await asyncio.sleep(0.005)
        self.ended.update(outcome.type for outcome in commit.outcomes if outcome.type is not OutcomeType.CREATED)

    def accept(self, count: int) -> None:
        self.engine.accept([Record(offset, 0, f"{ACCOUNT}-T{offset}".encode(), b"{}") for offset in range(count)])

    async def until_ended(self, count: int, patience: float) -> None:
        async with asyncio.timeout(patience):
            while self.ended.total() < count:  # noqa: ASYNC110 - what is awaited is a state, not an event
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])
        await self.api.aclose(1)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[simulated.SimulatedLoop]:
    monkeypatch.setattr(simulated, "_MOST_STEPS", 20_000_000)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    loop = simulated.SimulatedLoop()
    yield loop
    loop.unwind([])
    structlog.reset_defaults()


def test_ten_thousand_terminals_at_once_keep_the_bounds_and_neither_creates_nor_polls_starve(
    loop: simulated.SimulatedLoop,
) -> None:
    rate = 500

    async def main() -> Server:
        world = World(loop, max_in_flight=64, rate=rate)
        world.accept(TERMINALS)
        await world.until_ended(TERMINALS, patience=60)
        await world.close()
        return world.server

    server = loop.run(main())
    assert server.most_at_once <= 64
    assert max(_by_second(server.creates + server.polls).values()) <= rate * 1.1
    creates, polls = _by_second(server.creates), _by_second(server.polls)
    for second in range(5, int(server.creates[-1])):
        assert creates[second] >= rate * 0.7
        assert polls[second] >= rate * 0.2


def test_first_polls_of_what_was_created_at_once_are_spread(loop: simulated.SimulatedLoop) -> None:
    async def main() -> Server:
        world = World(loop, max_in_flight=2_000)
        world.accept(2_000)
        await world.until_ended(2_000, patience=10)
        await world.close()
        return world.server

    server = loop.run(main())
    assert server.creates[-1] == server.creates[0]
    # Over a second, the upper half of the initial delay.
    assert len(server.polls) == 2_000
    assert max(_by_tenth(server.polls).values()) < 2 * 200


def test_first_polls_of_what_was_restored_are_spread(loop: simulated.SimulatedLoop) -> None:
    async def main() -> Server:
        world = World(loop, max_in_flight=TERMINALS, pending=TERMINALS)
        await world.until_ended(TERMINALS, patience=10)
        await world.close()
        return world.server

    server = loop.run(main())
    # Over the two seconds of the initial delay.
    assert len(server.polls) == TERMINALS
    assert max(_by_tenth(server.polls).values()) < 2 * 500


def test_an_outage_of_ten_minutes_fails_no_request_and_its_end_brings_no_burst(loop: simulated.SimulatedLoop) -> None:
    count = 2_000

    async def main() -> World:
        world = World(loop, max_in_flight=64)
        world.accept(count)
        await asyncio.sleep(0.5)
        world.server.down_until = loop.time() + 600
        await world.until_ended(count, patience=720)
        await world.close()
        return world

    world = loop.run(main())
    assert world.ended == {OutcomeType.COMPLETED: count}
    assert len(world.server.ran) == count
    calls = world.server.creates + world.server.polls
    back_at = world.server.down_until
    assert sum(10 < at < back_at for at in calls) < 30
    assert world.server.most_at_once <= 64
    # One call at a time at first, and those who waited come back one by one: 64 at once would be 1,280 a second.
    assert max(_by_second([at for at in calls if at > back_at]).values()) < 400


def _by_second(times: list[float]) -> Counter[int]:
    return Counter(int(at) for at in times)


def _by_tenth(times: list[float]) -> Counter[int]:
    return Counter(int(at * 10) for at in times)


def _pending(number: int, now: int) -> Entry:
    asked = request(f"m-{number}", f"{ACCOUNT}-T{number}", number)
    return Entry(asked, State.PENDING, operation_id=asked.terminal_id, pending_at=now)
