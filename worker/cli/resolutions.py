"""Outcomes that wait for a person's word, and the event of that word."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pydantic import ValidationError

from schemas import Failed, Resolved, ResolvedHeaders, UnreadableOutcomeError, names, read_outcome
from worker.cli import shown
from worker.domain import identity
from worker.domain.outcome import Reason
from worker.kafka.producer import Message


class RefusedError(ValueError):
    """What a person said cannot be published. The message says what was expected."""


class Resolution(Enum):
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """An outcome that waits for a person's word; with what the event of that word takes from it."""

    outcome: Failed
    key: bytes | None
    correlation_id: str
    traceparent: str | None


@dataclass(slots=True)
class Found:
    """By idempotency key."""

    unconfirmed: dict[str, Unconfirmed] = field(default_factory=dict)
    resolved: dict[str, Resolved] = field(default_factory=dict)

    @property
    def open(self) -> list[Unconfirmed]:
        return [each for key, each in self.unconfirmed.items() if key not in self.resolved]

    def keys(self, wanted: str) -> list[str]:
        """Of the unconfirmed requests with this message ID, or idempotency key."""
        message_ids = {key: each.outcome.message_id for key, each in self.unconfirmed.items()}
        return [key for key, message_id in message_ids.items() if message_id == wanted or key == wanted.lower()]

    def take(self, record: Any) -> None:
        """What is neither, or no event at all, says nothing here."""
        headers = dict(record.headers)
        if headers.get(names.CE_TYPE) == names.RESOLVED.encode():
            try:
                resolved = Resolved.model_validate_json(record.value or b"")
            except ValidationError:
                return
            self.resolved.setdefault(str(resolved.idempotency_key), resolved)
        elif headers.get(names.CE_TYPE) == names.FAILED.encode():
            try:
                read = read_outcome(record.value, record.headers)
            except UnreadableOutcomeError:
                return
            if read and isinstance(read.outcome, Failed) and read.outcome.error.reason == Reason.UNCONFIRMED.value:
                told = read.headers
                waits = Unconfirmed(read.outcome, record.key, told.ce_correlationid, told.traceparent)
                self.unconfirmed[str(read.outcome.idempotency_key)] = waits


def event(each: Unconfirmed, resolution: Resolution, *, by: str, note: str | None, topic: str, source: str) -> Message:
    """A binary CloudEvent, to stand beside the outcomes. Raises RefusedError for a `by` or `note` that is no line."""
    outcome = each.outcome
    now = shown.moment(shown.now())
    taken = outcome.model_dump(
        include={"message_id", "idempotency_key", "terminal_id", "operation", "operation_id", "requested_at"}
    )
    said = {"status": "resolved", "resolution": resolution.value, "resolved_by": by, "note": note, "occurred_at": now}
    try:
        resolved = Resolved.model_validate(taken | said)
        headers = ResolvedHeaders.model_validate(
            {
                names.CE_SPECVERSION: names.SPEC_VERSION,
                names.CE_TYPE: names.RESOLVED,
                names.CE_ID: identity.event_id(str(outcome.idempotency_key), names.RESOLVED),
                names.CE_SOURCE: source,
                names.CE_SUBJECT: resolved.terminal_id,
                names.CE_TIME: now,
                names.CE_DATASCHEMA: names.SCHEMA_PREFIX + names.RESOLVED,
                names.CE_CAUSATIONID: outcome.message_id,
                names.CE_CORRELATIONID: each.correlation_id,
                names.CONTENT_TYPE: names.JSON,
                names.TRACEPARENT: each.traceparent,
            }
        )
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        raise RefusedError(f"{problem['loc'][0]}: expected one line of 1 to {names.MAX_NOTE} characters") from None
    wired = headers.model_dump(mode="json", by_alias=True, exclude_none=True)
    value = resolved.model_dump_json(exclude_none=True).encode()
    return Message(topic, each.key, value, [(name, text.encode()) for name, text in wired.items()])
