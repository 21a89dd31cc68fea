"""The API, with everything a worker may meet in it, and a record of all that it did.

It stands behind the worker's real client, as its HTTP transport.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import httpx
import orjson

from tests.simulation.network import Network

Note = Callable[[str, str], None]
Answer = tuple[int, dict[str, str], Any]
"""Status, headers and JSON."""


@dataclass(slots=True)
class Execution:
    """One operation. It is at work from `began` up to `ends`, when its status becomes `result`."""

    id: str
    key: str
    terminal: str
    operation: str
    began: float
    ends: float
    result: str

    def body(self, now: float) -> dict[str, Any]:
        status = self.result if now >= self.ends else "PENDING"
        body = {"id": self.id, "terminal_id": self.terminal, "operation": self.operation, "status": status}
        return {**body, "result": {"ran": self.key}} if status == "COMPLETED" else body


@dataclass(frozen=True, slots=True)
class Temper:
    """What kind of API it is in this history. Chances are of each answer, and end when it becomes quiet."""

    busy: bool = False
    """Whether a terminal at work is refused (409), or its overlap is only seen by the checker."""
    slowest: float = 4.0
    """Of operations."""
    stuck: float = 0.0
    """Of operations: one that takes longer than anybody waits."""
    not_run: float = 0.0
    """Refused connections, 401, 429 and 503: certainly not run."""
    broken: float = 0.0
    """500, before or after it ran."""
    nonsense: float = 0.0
    """To a poll: nothing, another's operation, an unknown status."""
    outages: tuple[tuple[float, float], ...] = ()
    forgets_after: float = 1e9
    """How long it keeps an idempotency key."""


class ApiServer:
    """Creates are idempotent by their key: the first answer is given again, though the operation moves on."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, random: Random, temper: Temper, quiet_at: float, note: Note
    ) -> None:
        self.executions: list[Execution] = []
        self.sent: list[tuple[float, str, str]] = []
        """Each create when it was sent: time, key, process."""
        self.refused: set[str] = set()
        """Keys of requests it will not run."""
        self._loop = loop
        self._random = random
        self._temper = temper
        self._quiet_at = quiet_at
        self._by_id: dict[str, Execution] = {}
        self._by_key: dict[str, Execution] = {}
        self._note = note
        self._occupied: dict[str, float] = {}

    def occupy(self, terminal: str, seconds: float) -> None:
        """Somebody else's operation keeps the terminal busy."""
        self._occupied[terminal] = self._loop.time() + seconds

    def create(self, key: str, content: dict[str, Any]) -> Answer:
        if self._chance(self._temper.not_run):
            return self._random.choice(
                [_error(429, {"retry-after": "1"}), _error(503, {"retry-after": "2"}), _error(401)]
            )
        if self._chance(self._temper.broken / 2):
            return _error(500)
        answer = self._create(key, content)
        self._note("api", f"answers {answer[0]} to the create of {key}: {answer[2].get('status', '')}")
        return _error(502) if self._chance(self._temper.broken / 2) else answer

    def _create(self, key: str, content: dict[str, Any]) -> Answer:
        now = self._loop.time()
        known = self._by_key.get(key)
        if known and now - known.began < self._temper.forgets_after:
            return 201, {}, known.body(known.began)
        terminal = content["terminal_id"]
        if key in self.refused:
            return _error(self._random.choice((400, 404, 422)))
        if self._temper.busy and self._at_work(terminal, now):
            return _error(409)
        lasts = 100.0 if self._random.random() < self._temper.stuck else self._random.uniform(0.1, self._temper.slowest)
        result = self._random.choices(("COMPLETED", "FAILED", "TIMEOUT"), (6, 1, 1))[0]
        id_ = str(UUID(int=self._random.getrandbits(128), version=4))
        execution = Execution(id_, key, terminal, content["operation"], now, now + lasts, result)
        if lasts > 1 and self._random.random() < 0.1:  # so fast that the create's answer is final
            execution.ends = now
        self.executions.append(execution)
        self._note("api", f"runs {key} on {terminal} for {execution.ends - now:.2f} s, up to {result}")
        self._by_id[id_] = self._by_key[key] = execution
        return 201, {}, execution.body(now)

    def poll(self, id_: str) -> Answer:
        if self._chance(self._temper.broken):
            return _error(500)
        body = self._by_id[id_].body(self._loop.time())
        if self._chance(self._temper.nonsense):
            foreign = {**body, "terminal_id": "P1-other"}
            strange = {**body, "status": "THINKING"}
            return self._random.choice([(200, {}, []), (200, {}, [foreign]), (200, {}, [strange]), _error(404)])
        return 200, {}, [body]

    def refuses_connections(self) -> bool:
        now = self._loop.time()
        return any(start <= now < end for start, end in self._temper.outages) or self._chance(self._temper.not_run / 2)

    def _at_work(self, terminal: str, now: float) -> bool:
        others = self._occupied.get(terminal, 0.0)
        return now < others or any(e.terminal == terminal and now < e.ends for e in self.executions)

    def _chance(self, chance: float) -> bool:
        return self._loop.time() < self._quiet_at and self._random.random() < chance


@dataclass(slots=True)
class Transport(httpx.AsyncBaseTransport):
    """One process's way to the API, in place of the network."""

    server: ApiServer
    network: Network
    process: str
    loop: asyncio.AbstractEventLoop
    closed: bool = field(default=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        target = request.extensions["target"].decode()
        if target.endswith("/auth/token"):
            await asyncio.sleep(0.01)
            return _response((200, {}, {"access_token": "token", "expires_in": 3600}))
        if self.server.refuses_connections():
            raise httpx.ConnectError("refused")
        if request.method == "GET":
            id_ = target.partition("operation_id=")[2]
            return _response(await self.network.ask(lambda: self.server.poll(id_)))
        key = request.headers["idempotency-key"]
        content = orjson.loads(b"".join(request.stream))  # type: ignore[arg-type]
        self.server.sent.append((self.loop.time(), key, self.process))
        return _response(await self.network.ask(lambda: self.server.create(key, content)))


def _error(status: int, headers: dict[str, str] | None = None) -> Answer:
    return status, headers or {}, {"error": {"code": "SIMULATED", "message": f"simulated {status}"}}


def _response(answer: Answer) -> httpx.Response:
    status, headers, content = answer
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(orjson.dumps(content)))
