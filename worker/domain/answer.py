"""What the API's answer means to us, split by what we do next."""

from enum import Enum
from typing import Any, NamedTuple

FINAL_STATUSES = frozenset({"COMPLETED", "FAILED", "TIMEOUT"})


class Operation(NamedTuple):
    """The API's operation object. `body` is the whole of it as it came, unknown members kept."""

    id: str
    terminal_id: str
    operation: str
    status: str
    body: dict[str, Any]

    @property
    def final(self) -> bool:
        return self.status in FINAL_STATUSES


class Verdict(Enum):
    """The meaning of an answer to a create or a poll."""

    OPERATION = "operation"
    """The API gave our operation."""
    UNKNOWN = "unknown"
    """Create: it may have run. Poll: nobody answered. Ask again."""
    NOT_RUN = "not_run"
    """It certainly did not run this time. Ask again."""
    BUSY = "busy"
    """The terminal runs somebody's operation (409). Ask again; this lane waits."""
    REFUSED = "refused"
    """The API will not do it, however often it is asked. Creates only."""
    NOTHING = "nothing"
    """Polls only: the API answered, and what it said is not our operation. Ask again."""
    WITHHELD = "withheld"
    """Creates only: it was not sent, since the door was closed. Look at the deadlines, then ask again."""


class Answer(NamedTuple):
    """One answer. `cause` is a short, bounded label for logs and metrics; `retry_after` is milliseconds, clamped."""

    verdict: Verdict
    operation: Operation | None = None
    http_status: int | None = None
    code: str | None = None
    message: str | None = None
    retry_after: int | None = None
    cause: str = ""
