"""The records of the state topic: what the worker knows of each request, for tools that read it. None may write it.

A record's key is `position`, or an idempotency key. A record without a value says that its key is forgotten.
Times are milliseconds since the epoch.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from schemas._types import Frozen, MessageId, OperationName, TerminalId

Milliseconds = Annotated[int, Field(description="Milliseconds since the epoch.")]
Offset = Annotated[int, Field(ge=0)]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="What the request asks for, as a hash.")]


class LedgerEntry(Frozen):
    """A request that is not finished."""

    v: Literal[1]
    state: Literal["queued", "creating", "pending"]
    message_id: MessageId
    fingerprint: Fingerprint
    terminal_id: TerminalId
    operation: OperationName
    correlation_id: MessageId
    requested_at: Milliseconds
    offset: Offset = Field(description="Of the request's record.")
    parameters: dict[str, Any] | None = None
    expires_at: Milliseconds | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    baggage: str | None = None
    creating_at: Milliseconds | None = Field(default=None, description="When the API may first have been asked.")
    pending_at: Milliseconds | None = Field(default=None, description="When the API had its operation.")
    operation_id: str | None = None


class LedgerFinished(Frozen):
    """A request whose final outcome is published, kept through the dedupe window."""

    v: Literal[1]
    state: Literal["finished"]
    message_id: MessageId
    fingerprint: Fingerprint
    finished_at: Milliseconds


class LedgerPosition(Frozen):
    """The next request to read, and whose ledger this is."""

    v: Literal[1]
    group: str
    topic: str
    offset: Offset
    last_offset: Offset | None = Field(description="Of the record before it; null while there was none.")
    last_timestamp: int | None = Field(description="Of the record before it; null while there was none.")
    time: Milliseconds = Field(description="The newest time the ledger knows.")
    unfinished: int | None = Field(
        default=None, ge=0, description="How many unfinished requests stand beside it; null where nobody can know."
    )


LedgerRecord = Annotated[LedgerEntry | LedgerFinished, Field(discriminator="state")] | LedgerPosition
LEDGER: TypeAdapter[LedgerEntry | LedgerFinished | LedgerPosition] = TypeAdapter(LedgerRecord)
"""`LEDGER.validate_json(value)` reads the value of any record of the state topic."""
