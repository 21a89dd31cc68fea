"""What goes out: the value of an outcome, told apart by `status`, a person's word on one, and their headers."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, TypeAdapter

from schemas._types import Frozen, MessageId, Note, OperationName, Source, TerminalId, Time
from schemas.operation import Result, TerminalOperation

Reason = Literal["invalid_request", "rejected", "terminal_failed", "terminal_timeout", "expired", "unconfirmed"]


class Error(Frozen):
    """Why a request failed. `reason` is for programs, `message` for a person."""

    reason: Reason
    message: str
    http_status: int | None = Field(default=None, description="Of the API's answer, where there was one.")
    code: str | None = Field(default=None, description="The API's own code.")


class _Outcome(Frozen):
    message_id: MessageId = Field(description="Of the request, as it came.")
    idempotency_key: UUID
    requested_at: Time = Field(description="Time of the request's record.")
    occurred_at: Time


class Created(_Outcome):
    """The API accepted the operation; exactly one `Completed` or `Failed` follows."""

    status: Literal["created"]
    terminal_id: TerminalId
    operation: OperationName
    operation_id: str
    terminal_operation: TerminalOperation | None = None


class Completed(_Outcome):
    """The terminal did it."""

    status: Literal["completed"]
    terminal_id: TerminalId
    operation: OperationName
    operation_id: str
    result: Result | None = None
    terminal_operation: TerminalOperation | None = None


class Failed(_Outcome):
    """It was not done, or (reason `unconfirmed`) nobody can know."""

    status: Literal["failed"]
    terminal_id: TerminalId | None = Field(description="Null when the request's could not be read.")
    operation: OperationName | None = Field(description="Null when the request's could not be read.")
    operation_id: str | None = None
    error: Error
    terminal_operation: TerminalOperation | None = None


Outcome = Annotated[Created | Completed | Failed, Field(discriminator="status")]
OUTCOME: TypeAdapter[Created | Completed | Failed] = TypeAdapter(Outcome)
"""`OUTCOME.validate_json(value)` reads the value of any outcome."""


class Resolved(_Outcome):
    """What became of a request that ended `unconfirmed`, by a person who has looked at the terminal.

    No outcome: the request has had its final one, and a reader of outcomes may skip this.
    """

    status: Literal["resolved"]
    terminal_id: TerminalId
    operation: OperationName
    operation_id: str | None = None
    resolution: Literal["completed", "failed"]
    resolved_by: Note = Field(description="Who looked.")
    note: Note | None = None


class _EventHeaders(Frozen):
    """The same event always has the same `ce_id`, so a reader can drop repeats."""

    ce_specversion: Literal["1.0"]
    ce_id: UUID = Field(description="The same for the same event: drop repeats by it.")
    ce_source: Source
    ce_type: str
    ce_subject: TerminalId | None = Field(
        default=None, description="The terminal id; absent when it could not be read."
    )
    ce_time: Time
    ce_dataschema: str = Field(description="The `$id` of the value's JSON Schema.")
    ce_causationid: MessageId = Field(description="The request's message ID, as it came.")
    ce_correlationid: MessageId = Field(description="The request's, else its message ID.")
    content_type: Literal["application/json"] = Field(alias="content-type")
    traceparent: str | None = None
    tracestate: str | None = None
    baggage: str | None = Field(default=None, description="The request's, as it came.")


class OutcomeHeaders(_EventHeaders):
    """The headers of an outcome. The same event always has the same `ce_id`, so a reader can drop repeats."""

    ce_type: Literal["terminal.operation.created.v1", "terminal.operation.completed.v1", "terminal.operation.failed.v1"]


class ResolvedHeaders(_EventHeaders):
    """The headers of a `Resolved`. A resolution that is sent again has the same `ce_id`."""

    ce_type: Literal["terminal.operation.resolved.v1"]
