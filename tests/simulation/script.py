"""What happens to a history from outside: the requests that come in, and the faults. Written whole from one seed."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from random import Random
from typing import Any
from uuid import UUID

import orjson

from tests.simulation.api import Temper
from tests.simulation.broker import Clock
from tests.simulation.network import Manners

PARTITIONS = 2
SKEW = 3.0
"""Seconds that a machine's wall clock may be wrong by, either way."""


class Kind(Enum):
    REQUEST = "request"
    DUPLICATE = "duplicate"
    REUSED = "reused"
    INVALID = "invalid"
    ANONYMOUS = "anonymous"
    """Invalid, and without a message ID."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A record of the requests topic, and what it is meant to be. Message IDs are UUIDs, so each is its own key."""

    at: float
    kind: Kind
    terminal: str
    partition: int
    message_id: str | None
    data: dict[str, Any]

    @property
    def expires_at(self) -> float | None:
        """On the clock of the history."""
        expires_at = self.data.get("expires_at")
        return datetime.fromisoformat(expires_at).timestamp() - Clock.EPOCH / 1000 if expires_at else None

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        return [("message-id", self.message_id.encode())] if self.message_id else []


class FaultKind(Enum):
    CRASH = "crash"
    PAUSE = "pause"
    CUT = "cut"
    """Its network to Kafka passes nothing for a while."""
    STOP = "stop"
    """Asked to stop, and started again."""
    CLOCK = "clock"
    """Its wall clock is set, forth or back."""


@dataclass(frozen=True, slots=True)
class Fault:
    """It happens to a machine so many of its steps after a time. `seconds` is how long it lasts."""

    at: float
    kind: FaultKind
    machine: int
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Script:
    sent: tuple[Sent, ...]
    faults: tuple[Fault, ...]
    refused: frozenset[str]
    """Message IDs that the API refuses to run."""
    occupied: tuple[tuple[float, str, float], ...]
    machines: int
    temper: Temper
    kafka: Manners
    api: Manners
    trouble: float
    """Chance that a request to Kafka ends in an error."""
    settings: dict[str, Any]
    quiet_at: float
    """From here on nothing fails any more."""

    @property
    def calm(self) -> bool:
        """Nothing ever fails, and no partition changes hands."""
        return self.quiet_at == 0 and self.machines == 1


def write(seed: int) -> Script:
    random = Random(seed)
    calm = random.random() < 0.1
    quiet_at = 0.0 if calm else random.uniform(10, 35)
    sent = _requests(random)
    terminals = sorted({each.terminal for each in sent})
    machines = random.choice((1, 2, 2, 3))
    create_timeout, completion_timeout = random.choice((15.0, 60.0, 120.0)), random.choice((20.0, 60.0))
    window = random.choice((90.0, 600.0))
    temper = _temper(random, forgets_after=window + 60)
    if temper.busy:
        occupied = [(random.uniform(0, 15), random.choice(terminals), random.uniform(1, 6)) for _ in range(3)]
    else:
        occupied = []
    return Script(
        sent=sent,
        faults=() if calm else _faults(random, machines, quiet_at, sent),
        refused=frozenset(each.message_id for each in sent if each.message_id and random.random() < 0.1),
        occupied=tuple(occupied),
        machines=machines,
        temper=replace(temper, stuck=0.0) if calm else temper,
        kafka=Manners(0.002, slow=random.choice((0, 0.002, 0.01)), slowest=20.0, lost=random.choice((0, 0.001, 0.005))),
        api=Manners(0.05, slow=random.choice((0, 0.05, 0.2)), slowest=15.0, lost=random.choice((0, 0.02, 0.1))),
        trouble=random.choice((0, 0.002, 0.01)),
        settings={
            "worker_create_timeout": create_timeout,
            "worker_completion_timeout": completion_timeout,
            "dintero_idempotency_window": window,
            "worker_backlog_limit": random.choice((2, 5, 1000)),
        },
        quiet_at=quiet_at,
    )


def _requests(random: Random) -> tuple[Sent, ...]:
    terminals = [f"P1-T{number}" for number in range(random.randint(1, 4))]
    last = random.choice((0.5, 5.0, 15.0))
    sent: list[Sent] = []
    for at in sorted(random.uniform(0, last) for _ in range(random.randint(5, 14))):
        number = random.randrange(len(terminals))
        operation = random.choice(("end_of_day", "send_logs", "open_menu"))
        data = {"terminal_id": terminals[number], "operation": operation, "parameters": {"n": len(sent)}}
        if random.random() < 0.3:
            data["expires_at"] = _rfc3339(at + random.uniform(0.05, 20.0))
        id_ = str(UUID(int=random.getrandbits(128), version=4))
        request = Sent(at, Kind.REQUEST, terminals[number], number % PARTITIONS, id_, data)
        sent.append(_variant(random, request, [each for each in sent if each.kind is Kind.REQUEST]))
    return tuple(sent)


def _variant(random: Random, request: Sent, earlier: list[Sent]) -> Sent:
    """Now and then something else than a new request."""
    chance = random.random()
    if earlier and chance < 0.12:
        return replace(random.choice(earlier), at=request.at, kind=Kind.DUPLICATE)
    if earlier and chance < 0.2:
        first = random.choice(earlier)
        return replace(first, at=request.at, kind=Kind.REUSED, data={**first.data, "parameters": {"other": True}})
    if chance < 0.25:
        return replace(request, kind=Kind.INVALID, data={**request.data, "operation": "explode"})
    if chance < 0.3:
        return replace(request, kind=Kind.ANONYMOUS, message_id=None)
    return request


def _temper(random: Random, *, forgets_after: float) -> Temper:
    start = random.uniform(0, 20)
    return Temper(
        busy=random.random() < 0.3,
        slowest=random.choice((0.5, 4.0, 10.0)),
        stuck=random.choice((0.0, 0.0, 0.05)),
        not_run=random.choice((0.0, 0.1, 0.4)),
        broken=random.choice((0.0, 0.1, 0.4)),
        nonsense=random.choice((0.0, 0.1)),
        outages=((start, start + random.uniform(1, 10)),) if random.random() < 0.3 else (),
        forgets_after=forgets_after,
    )


def _faults(random: Random, machines: int, quiet_at: float, sent: tuple[Sent, ...]) -> tuple[Fault, ...]:
    """Half of them at any time, half soon after a request, when there is most to go wrong."""
    faults = []
    for _ in range(random.randint(0, 6)):
        at = random.choice((random.uniform(0, quiet_at), random.choice(sent).at + random.expovariate(0.5)))
        kind = random.choices(tuple(FaultKind), (6, 6, 2, 2, 1))[0]
        seconds = random.choice((random.uniform(0, 3), random.uniform(8, 25)))
        steps = min(int(random.expovariate(0.03)), 200)
        faults.append(Fault(min(at, quiet_at), kind, random.randrange(machines), steps, seconds))
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(Clock.EPOCH / 1000 + at, UTC).isoformat(timespec="milliseconds")


def encoded(sent: Sent) -> bytes:
    return orjson.dumps(sent.data)
