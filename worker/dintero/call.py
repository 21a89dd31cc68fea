"""What the worker asks of the API's side."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from pydantic import SecretStr

from worker.domain.answer import Answer
from worker.domain.entry import Entry


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account's client credentials."""

    client_id: str
    client_secret: SecretStr


class CallKind(Enum):
    CREATE = "create"
    POLL = "poll"


class Caller(Protocol):
    """Whose calls they are. Everything is called on the loop."""

    async def prepare(self, call: "Call") -> None:
        """Awaited once the call has its slot, before the door. Raising withholds the call. Bounds its own time."""

    def door(self, call: "Call") -> bool:
        """Asked in the same synchronous step as each send. False: nothing is sent, and the answer is WITHHELD."""

    def done(self, call: "Call", answer: Answer) -> None:
        """Called exactly once, never from within `submit`."""


@dataclass(slots=True, eq=False)
class Call:
    """One create or poll of one entry. Small: in an outage there are as many as the backlog holds."""

    kind: CallKind
    entry: Entry
    caller: Caller
