"""What comes in: a request that can be accepted, or one that cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Record(NamedTuple):
    """A Kafka record as it came. Kept only until its request is accepted; a dead letter gives it back whole."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()

    @property
    def size(self) -> int:
        """Bytes of what it holds."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class Request(NamedTuple):
    """One operation asked of one terminal. `requested_at` is the time of its record.

    `parameters` stay JSON: read, those of 64 KiB could take 1.5 MB.
    """

    message_id: str
    key: str
    fingerprint: str
    terminal_id: str
    operation: str
    parameters: bytes | None
    expires_at: int | None
    correlation_id: str
    requested_at: int
    offset: int
    traceparent: str | None = None
    tracestate: str | None = None
    baggage: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What an invalid request still tells of itself, enough for a `failed` outcome."""

    message_id: str
    key: str
    fingerprint: str
    correlation_id: str
    terminal_id: str | None
    operation: str | None
    traceparent: str | None = None
    tracestate: str | None = None
    baggage: str | None = None


@dataclass(frozen=True, slots=True)
class Invalid:
    """A record that is no request we can accept. Without an identity it gets a dead letter only.

    `message` is for a person: it names the member and what was expected, and quotes no payload.
    """

    message: str
    offset: int
    requested_at: int
    identity: Identity | None = None
