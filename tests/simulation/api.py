"""The API, with everything a worker may meet in it, and a record of all that it did."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any
from uuid import UUID

from tests.simulation import nonsense
from tests.simulation.nonsense import Answer

Note = Callable[[str, str], None]


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


class OutageKind(Enum):
    REFUSES = "refuses"
    """No connection is taken: nothing can have run."""
    FAILS = "fails"
    """Each request is answered by an error; half of the creates run all the same."""
    SILENT = "silent"
    """As FAILS, without an answer."""


@dataclass(frozen=True, slots=True)
class Outage:
    start: float
    end: float
    kind: OutageKind


@dataclass(frozen=True, slots=True)
class AccountTrouble:
    """From the start on, one account gets no token (401), may not create (403), or cannot be reached (503)."""

    account: str
    status: int
    until: float


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
    """An error, before or after it ran."""
    nonsense: float = 0.0
    """What is no answer: nothing, another's operation, an unknown status, garbage."""
    outages: tuple[Outage, ...] = ()
    accounts: tuple[AccountTrouble, ...] = ()
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
        self.polled: dict[str, float] = {}
        """When a poll of a key was last answered."""
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
        out = self.outage() is not None
        if self._chance(self._temper.broken / 2) or (out and self._random.random() < 0.5):
            return nonsense.failure(self._random)
        answer = self._create(key, content)
        self._note("api", f"answers {answer[0]} to the create of {key}: {answer[2].get('status', '')}")
        if out or self._chance(self._temper.broken / 2):
            return nonsense.failure(self._random)
        if answer[0] < 300 and self._chance(self._temper.nonsense):  # a refusal that is made up would be a lie
            return nonsense.about(self._random, answer[2])
        return answer

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
        if self.outage() or self._chance(self._temper.broken):
            return nonsense.failure(self._random)
        execution = self._by_id[id_]
        body = execution.body(self._loop.time())
        self.polled[execution.key] = self._loop.time()
        if self._chance(self._temper.nonsense):
            return self._random.choice([(200, {}, []), _error(404), nonsense.about(self._random, body)])
        return 200, {}, [body]

    def outage(self) -> OutageKind | None:
        now = self._loop.time()
        return next((each.kind for each in self._temper.outages if each.start <= now < each.end), None)

    def refuses_connections(self) -> bool:
        return self.outage() is OutageKind.REFUSES or self._chance(self._temper.not_run / 2)

    def trouble(self, account: str) -> int | None:
        now = self._loop.time()
        troubles = self._temper.accounts
        return next((each.status for each in troubles if each.account == account and now < each.until), None)

    def account(self, id_: str) -> str:
        """Whose operation it is."""
        return self._by_id[id_].terminal.partition("-")[0]

    def _at_work(self, terminal: str, now: float) -> bool:
        others = self._occupied.get(terminal, 0.0)
        return now < others or any(e.terminal == terminal and now < e.ends for e in self.executions)

    def _chance(self, chance: float) -> bool:
        return self._loop.time() < self._quiet_at and self._random.random() < chance


def _error(status: int, headers: dict[str, str] | None = None) -> Answer:
    return status, headers or {}, {"error": {"code": "SIMULATED", "message": f"simulated {status}"}}
