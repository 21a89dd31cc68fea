"""The API itself, without HTTP: tokens, idempotent creates, one operation per terminal, and what became of each.

Pure but for its counters: time and chance are given. It keeps the promises the worker relies on, and counts what would
break them: executions of a key, and operations overlapping on a terminal.
"""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from hmac import compare_digest
from itertools import islice
from random import Random
from typing import Any
from uuid import UUID

import orjson
from pydantic import SecretStr

from schemas import names
from worker.simulator.settings import AccountCredentials, Settings

MOST_KEPT = 200_000
"""Operations, keys and tokens kept, each; the oldest go first."""
MOST_LISTED = 100

WRITE_SCOPES = frozenset({"admin:checkout", "write:checkout:/admin/terminals"})
READ_SCOPES = frozenset({"admin:checkout", "read:checkout:/admin/terminals"})


class ApiError(Exception):
    """The API's error answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Token:
    account: str
    expires_at: float
    scopes: frozenset[str]


@dataclass(slots=True)
class SimulatedOperation:
    """One operation. `ends` is the status it will have from `ends_at` on."""

    body: dict[str, Any]
    ends: str
    ends_at: float


@dataclass(slots=True)
class Counters:
    requests: int = 0
    creates: int = 0
    executions: int = 0
    overlaps: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    by_key: OrderedDict[str, int] = field(default_factory=OrderedDict)
    executed_twice: OrderedDict[str, None] = field(default_factory=OrderedDict)


class Simulation:
    """The API's state. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        random: Random,
        accounts: Mapping[str, AccountCredentials] | None = None,
    ) -> None:
        self.settings = settings
        self.counters = Counters()
        self._clock = clock
        self._random = random
        self._accounts = accounts
        self._tokens: OrderedDict[str, Token] = OrderedDict()
        self._operations: OrderedDict[str, SimulatedOperation] = OrderedDict()
        self._by_terminal: dict[str, dict[str, None]] = {}
        self._at_work: Counter[str] = Counter()
        self._answers: OrderedDict[str, tuple[float, bytes, bytes]] = OrderedDict()
        self._ends: list[tuple[float, str]] = []

    def issue_token(self, account: str, client_id: str, client_secret: str, audience: object) -> dict[str, Any]:
        """A token for the account. Any client is accepted, unless the simulator was given accounts."""
        if self._accounts is not None:
            known = self._accounts.get(account)
            if known is None or known.client_id != client_id or not _same(known.client_secret, client_secret):
                raise ApiError(401, "UNAUTHORIZED", "unknown client")
        if audience != f"https://api.dintero.com/v1/accounts/{account}":
            raise ApiError(400, "BAD_REQUEST", "wrong audience")
        lifetime = self.settings.token_lifetime
        token = f"simulated.{self._random.getrandbits(128):032x}"
        self._tokens[token] = Token(account, self._clock() + lifetime, self.settings.scopes)
        _trim(self._tokens)
        return {"access_token": token, "token_type": "Bearer", "expires_in": lifetime}

    def create(self, bearer: str, key: str | None, content: object) -> bytes:
        """The create's answer, executed now or replayed as it first was. Raises `ApiError`."""
        self.counters.creates += 1
        token = self._authorize(bearer, WRITE_SCOPES)
        terminal_id, operation, parameters = _request(content)
        payload = orjson.dumps([terminal_id, operation, parameters], option=orjson.OPT_SORT_KEYS)
        now = self._settle()
        if key is not None and (replay := self._replay(key, payload, now)) is not None:
            return replay
        if not terminal_id.startswith(f"{token.account}-"):
            raise ApiError(403, "FORBIDDEN", "the terminal is another account's")
        if fnmatchcase(terminal_id, self.settings.reject):
            raise ApiError(404, "NOT_FOUND", "no such terminal")
        if terminal_id in self._at_work:
            if self.settings.busy:
                raise ApiError(409, "CONFLICT", "the terminal is busy")
            self.counters.overlaps += 1
        self._make_room()
        answer = orjson.dumps(self._execute(token.account, terminal_id, operation, parameters, now))
        if key is not None:
            self._remember(key, payload, answer, now)
        return answer

    def list_operations(self, bearer: str, operation_id: str | None, terminal_id: str | None) -> bytes:
        """The newest of the account's operations that fit, the last one first."""
        token = self._authorize(bearer, READ_SCOPES)
        self._settle()
        ids: Iterable[str] = reversed(self._operations)
        if terminal_id is not None:
            ids = reversed(self._by_terminal.get(terminal_id, {}))
        if operation_id is not None:
            ids = [operation_id] if operation_id in self._operations else []
        bodies = (self._operations[known].body for known in ids)
        fitting = (
            body
            for body in bodies
            if body["account_id"] == token.account and terminal_id in (None, body["terminal_id"])
        )
        return orjson.dumps(list(islice(fitting, MOST_LISTED)))

    def report(self) -> dict[str, Any]:
        """The counters, for the control endpoint."""
        self._settle()
        return {
            "requests": self.counters.requests,
            "creates": self.counters.creates,
            "executions": self.counters.executions,
            "executed_twice": list(self.counters.executed_twice),
            "overlaps": self.counters.overlaps,
            "operations": dict(self.counters.statuses),
        }

    def _authorize(self, bearer: str, allowed: frozenset[str]) -> Token:
        token = self._tokens.get(bearer)
        if token is None or token.expires_at <= self._clock():
            raise ApiError(401, "UNAUTHORIZED", "unknown or expired token")
        if not token.scopes & allowed:
            raise ApiError(403, "FORBIDDEN", "missing scope")
        return token

    def _replay(self, key: str, payload: bytes, now: float) -> bytes | None:
        first = self._answers.get(key)
        if first is None or now - first[0] >= self.settings.idempotency_window:
            return None
        if first[1] != payload:
            raise ApiError(422, "UNPROCESSABLE_ENTITY", "the key was used with another payload")
        return first[2]

    def _remember(self, key: str, payload: bytes, answer: bytes, now: float) -> None:
        self._answers[key] = (now, payload, answer)
        _trim(self._answers)
        by_key = self.counters.by_key
        by_key[key] = by_key.get(key, 0) + 1
        if by_key[key] > 1:
            self.counters.executed_twice[key] = None
            _trim(self.counters.executed_twice)
        _trim(by_key)

    def _execute(
        self, account: str, terminal_id: str, operation: str, parameters: object, now: float
    ) -> dict[str, Any]:
        id_ = str(UUID(int=self._random.getrandbits(128), version=4))
        at = _rfc3339(now)
        body: dict[str, Any] = {
            "id": id_,
            "account_id": account,
            "terminal_id": terminal_id,
            "operation": operation,
            "status": "PENDING",
            "created_at": at,
            "created_by": "simulator",
            "updated_at": at,
            "updated_by": "simulator",
        }
        if parameters is not None:
            body["parameters"] = parameters
        ends_at = now + self._random.uniform(self.settings.completion_min, self.settings.completion_max)
        self._operations[id_] = SimulatedOperation(body, self._end_of(terminal_id), ends_at)
        self._by_terminal.setdefault(terminal_id, {})[id_] = None
        self._at_work[terminal_id] += 1
        heapq.heappush(self._ends, (ends_at, id_))
        self.counters.executions += 1
        self.counters.statuses["PENDING"] += 1
        return body

    def _end_of(self, terminal_id: str) -> str:
        settings = self.settings
        chance = self._random.random()
        if fnmatchcase(terminal_id, settings.fail) or chance < settings.fail_rate:
            return "FAILED"
        if fnmatchcase(terminal_id, settings.timeout) or chance < settings.fail_rate + settings.timeout_rate:
            return "TIMEOUT"
        return "COMPLETED"

    def _settle(self) -> float:
        """End the operations whose time has come. Returns the time."""
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            ends_at, id_ = heapq.heappop(self._ends)
            operation = self._operations[id_]
            # A new body: the create's answer keeps the first one for replays.
            operation.body = {**operation.body, "status": operation.ends, "updated_at": _rfc3339(ends_at)}
            if operation.ends == "COMPLETED":
                operation.body["result"] = _result(operation.body["operation"], ends_at, self._random)
            terminal_id = operation.body["terminal_id"]
            self._at_work[terminal_id] -= 1
            if not self._at_work[terminal_id]:
                del self._at_work[terminal_id]
            self.counters.statuses["PENDING"] -= 1
            self.counters.statuses[operation.ends] += 1
        return now

    def _make_room(self) -> None:
        if len(self._operations) < MOST_KEPT:
            return
        id_, oldest = next(iter(self._operations.items()))
        terminal_id = oldest.body["terminal_id"]
        if oldest.body["status"] == "PENDING":
            raise ApiError(503, "UNAVAILABLE", "too many operations under way")
        del self._operations[id_]
        del self._by_terminal[terminal_id][id_]
        if not self._by_terminal[terminal_id]:
            del self._by_terminal[terminal_id]


def _request(content: object) -> tuple[str, str, dict[str, Any] | None]:
    if not isinstance(content, dict):
        raise ApiError(400, "BAD_REQUEST", "the body must be an object")
    terminal_id, operation, parameters = (content.get(name) for name in ("terminal_id", "operation", "parameters"))
    if not isinstance(terminal_id, str) or not 0 < len(terminal_id) <= 200:
        raise ApiError(400, "BAD_REQUEST", "terminal_id must be a string")
    if not isinstance(operation, str) or operation not in names.OPERATIONS:
        raise ApiError(400, "BAD_REQUEST", "unknown operation")
    if not (parameters is None or isinstance(parameters, dict)):
        raise ApiError(400, "BAD_REQUEST", "parameters must be an object")
    return terminal_id, operation, parameters


def _result(operation: str, now: float, random: Random) -> dict[str, Any]:
    if operation != "end_of_day":
        return {"outcome": "accepted"}
    purchases, reversals, tips = random.randrange(1, 200), random.randrange(5), random.randrange(50_000)
    purchased, reversed_ = purchases * random.randrange(1_000, 50_000), reversals * random.randrange(1_000, 50_000)
    return {
        "batch_id": f"{random.randrange(1_000_000):06d}",
        "start_of_day_at": _rfc3339(now - 86400),
        "last_end_of_day_at": _rfc3339(now - 86400),
        "purchases_count": purchases,
        "purchases_amount": purchased,
        "reversals_count": reversals,
        "reversals_amount": reversed_,
        "sale_amount": purchased - reversed_,
        "tip_amount": tips,
    }


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _same(secret: SecretStr, given: str) -> bool:
    return compare_digest(secret.get_secret_value().encode(), given.encode())


def _trim(kept: OrderedDict[str, Any]) -> None:
    while len(kept) > MOST_KEPT:
        kept.popitem(last=False)
