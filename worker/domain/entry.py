"""An entry: what the ledger knows of one request, and the one table of what may become of it."""

from dataclasses import dataclass
from enum import Enum

from worker.domain.request import Request


class State(Enum):
    """Where a request is. Names are written to the ledger: never rename one."""

    QUEUED = "queued"
    """Behind others in its lane."""
    CREATING = "creating"
    """From the commit of this state on, the API may have been asked with its key."""
    PENDING = "pending"
    """The API has an operation for it; the terminal has not answered."""
    FINISHED = "finished"
    """Its final outcome is published in the same commit."""


UNFINISHED = (State.QUEUED, State.CREATING, State.PENDING)

TRANSITIONS: dict[State, tuple[State, ...]] = {
    State.QUEUED: (State.CREATING, State.FINISHED),
    State.CREATING: (State.PENDING, State.FINISHED),
    State.PENDING: (State.FINISHED,),
    State.FINISHED: (),
}


class ForbiddenTransitionError(AssertionError):
    """A decision went against the table: a bug here, never bad input."""


@dataclass(slots=True, eq=False)
class Entry:
    """One unfinished request. The fields after `operation_id` live in memory only and start afresh at a restore."""

    request: Request
    state: State
    creating_at: int | None = None
    """Time of the first CREATING: from here on count the create timeout and the age of the key."""
    pending_at: int | None = None
    operation_id: str | None = None

    restored: bool = False
    """Read from the ledger: its earlier steps were those of another process, or came before a doubt."""
    sent: int = 0
    """Creates sent, one of them before a restore that found it CREATING. For traces; `asked` counts the answers."""
    possibly_run: bool = False
    """The API may have run it without our knowing (rule 10). Only an operation from the API clears it."""
    must_ask: bool = False
    """Restored as CREATING: asked once more before the create timeout may end it."""
    asked: int = 0
    """Creates, or since PENDING polls, answered in this life: drives the back-off."""
    asked_at: int = 0
    """When it was last given out to be asked about: an answer can lie unread for long, and then tells of back then."""
    due_at: int | None = None
    """When it is looked at next; None while a call is in flight or a commit must come first."""

    @property
    def begun_at(self) -> int:
        """That of a head which came too late, and ends in a moment, is its request's."""
        return self.creating_at or self.request.requested_at

    def become(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise ForbiddenTransitionError(f"{self.state.name} -> {state.name} ({self.request.key})")
        self.state = state
