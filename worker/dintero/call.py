"""What the worker asks of the API's side."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

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


@dataclass(slots=True, eq=False)
class Call:
    """One create or poll of one entry. All three functions are called on the loop."""

    kind: CallKind
    entry: Entry
    prepare: Callable[[], Awaitable[None]]
    """Awaited once the call has its slot, before the door. Raising withholds the call. Its owner bounds its time."""
    door: Callable[[], bool]
    """Asked in the same synchronous step as each send. False: nothing is sent, and the answer is WITHHELD."""
    done: Callable[[Entry, Answer], None]
    """Called exactly once, never from within `submit`."""
