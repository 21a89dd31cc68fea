"""What happens to a history from outside: the requests that come in, and the faults."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import orjson

from tests.simulation.api import Temper
from tests.simulation.broker import Clock
from tests.simulation.network import Manners

PARTITIONS = 2
UNKNOWN_ACCOUNT = "P9"
"""Its terminals are asked for, and the worker has no credentials for it."""
SKEW = 3.0
"""Seconds that a machine's wall clock may be wrong by, either way."""


class Kind(Enum):
    REQUEST = "request"
    DUPLICATE = "duplicate"
    REUSED = "reused"
    INVALID = "invalid"
    ANONYMOUS = "anonymous"
    """Invalid, and without a message ID."""
    LATE = "late"
    """The same again, when the dedupe window of the first is over: a request of its own."""


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
class Cut:
    """Retention deletes this part, 0 to 1, of what a partition of the requests topic holds."""

    at: float
    partition: int
    part: float


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A worker of a newer version takes a partition, leaves a record that only it can read, and is gone."""

    at: float
    partition: int
    key: bytes


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
    compactions: tuple[float, ...]
    """When the state topic is cleaned."""
    cuts: tuple[Cut, ...]
    upgrade: Upgrade | None
    late: int
    """How many message IDs come again when the dedupe window is over."""
    settings: dict[str, Any]
    quiet_at: float
    """From here on nothing fails any more."""

    @property
    def calm(self) -> bool:
        """Nothing ever fails but whole accounts, and no partition changes hands."""
        return self.quiet_at == 0 and self.machines == 1

    @property
    def transactions(self) -> bool:
        return bool(self.settings["worker_delivery"] == "exactly_once")


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(Clock.EPOCH / 1000 + at, UTC).isoformat(timespec="milliseconds")


def encoded(sent: Sent) -> bytes:
    return orjson.dumps(sent.data)
