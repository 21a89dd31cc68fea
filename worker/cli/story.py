"""The story of one request: what the four topics have of it, gathered record by record."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from schemas import Completed, Created, Failed, Resolved, names
from schemas.ledger import LedgerEntry, LedgerFinished
from worker.cli import shown
from worker.cli.ledgers import read_record
from worker.cli.letters import Letter
from worker.domain.request import Identity, Record, Request
from worker.kafka.reader import Reader

# Events of one request: a producer that repeats it without end must not fill the memory.
_MOST = 1_000

_EVENTS: dict[str, type[Created | Completed | Failed | Resolved]] = {
    names.CREATED: Created,
    names.COMPLETED: Completed,
    names.FAILED: Failed,
    names.RESOLVED: Resolved,
}


class Event(NamedTuple):
    time: str
    what: str
    where: str
    told: str


class Story:
    """Of the request whose message ID, or idempotency key, is `wanted`. Whatever a record holds, it is taken."""

    def __init__(self, wanted: str, reader: Reader) -> None:
        self._wanted = wanted
        self._key = wanted.lower()
        self._reader = reader
        # A dict keeps the order, and each value once: two sources may use the same message ID.
        self._facts: dict[str, dict[str, None]] = {}
        self._state: str | None = None
        self._final: str | None = None
        self.events: list[Event] = []
        self.left_out = 0

    def request(self, record: Any) -> None:
        identity = self._identity(Record(record.offset, record.timestamp, record.key, record.value, record.headers))
        if identity:
            self._tell(shown.moment(record.timestamp), "requested", record)

    def dead_letter(self, record: Any) -> None:
        letter = Letter.of(record)
        if self._identity(letter.original):
            self._tell(letter.time, "dead letter", record, f"{letter.reason}: {letter.message}")

    def ledger_record(self, record: Any) -> None:
        key = (record.key or b"").decode(errors="backslashreplace")
        read = read_record(record.key or b"", record.value or b"")
        if isinstance(read, LedgerEntry) and self._is_it(read.message_id, key):
            self._know(read.message_id, key, read.terminal_id, read.operation, read.correlation_id, read.traceparent)
            self._fact("operation ID", read.operation_id)
            self._state = read.state
            since = {"creating": read.creating_at, "pending": read.pending_at}.get(read.state)
            self._tell(shown.moment(record.timestamp if since is None else since), read.state, record)
        elif isinstance(read, LedgerFinished) and self._is_it(read.message_id, key):
            self._know(read.message_id, key)
            self._state = read.state
            self._tell(shown.moment(read.finished_at), read.state, record)
        elif record.value is None and key in self._facts.get("idempotency key", ()):
            self._state = None
            self._tell(shown.moment(record.timestamp), "forgotten", record)

    def outcome(self, record: Any) -> None:
        headers = {name: value for name, value in record.headers if value is not None}
        members = _members(record.value)
        message_id, key = members.get("message_id"), members.get("idempotency_key")
        if not (isinstance(message_id, str) and isinstance(key, str) and self._is_it(message_id, key)):
            return
        event_type = headers.get(names.CE_TYPE, b"").decode(errors="replace")
        model = _EVENTS.get(event_type)
        try:
            event = model.model_validate_json(record.value) if model else None
        except ValidationError:
            event = None
        if event is None:
            self._tell(shown.moment(record.timestamp), "unreadable", record, f"of type {event_type or 'unknown'}")
            return
        correlation_id, traceparent = (headers.get(name) for name in (names.CE_CORRELATIONID, names.TRACEPARENT))
        self._know(message_id, key, event.terminal_id, event.operation, _text(correlation_id), _text(traceparent))
        self._fact("operation ID", event.operation_id)
        told = _told(event)
        if not isinstance(event, Created):
            self._final = f"{event.status}, {told}" if told else event.status
        self._tell(shown.moment(int(event.occurred_at.timestamp() * 1000)), event.status, record, told)

    def facts(self) -> Iterator[tuple[str, object]]:
        yield from ((name, ", ".join(values)) for name, values in self._facts.items())
        finished = "finished; its outcome is not on the topic" if self._state == "finished" else None
        yield "now", self._final or finished or self._state or "not in the worker's memory, and without an outcome"

    def _identity(self, record: Record) -> Request | Identity | None:
        """What the record tells of itself, if it is the one."""
        read = self._reader.read(record)
        found = read if isinstance(read, Request) else read.identity
        if found is None or not self._is_it(found.message_id, found.key):
            return None
        told = (found.terminal_id, found.operation, found.correlation_id, found.traceparent)
        self._know(found.message_id, found.key, *told)
        return found

    def _is_it(self, message_id: str, key: str) -> bool:
        return message_id == self._wanted or key == self._key

    def _know(
        self,
        message_id: str,
        key: str,
        terminal_id: str | None = None,
        operation: str | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
    ) -> None:
        self._fact("message ID", message_id)
        self._fact("idempotency key", key)
        self._fact("terminal", terminal_id)
        self._fact("operation", operation)
        self._fact("correlation ID", correlation_id)
        self._fact("trace ID", traceparent and traceparent[3:35])

    def _fact(self, name: str, value: str | None) -> None:
        known = self._facts.setdefault(name, {}) if value else {}
        if value and len(known) < _MOST:
            known[value] = None

    def _tell(self, time: str, what: str, record: Any, told: str = "") -> None:
        if len(self.events) < _MOST:
            where = f"{record.topic.rpartition('.')[2]} {record.partition}:{record.offset}"
            self.events.append(Event(time, what, where, told))
        else:
            self.left_out += 1


def _told(event: Created | Completed | Failed | Resolved) -> str:
    if isinstance(event, Failed):
        return f"{event.error.reason}: {event.error.message}"
    if isinstance(event, Resolved):
        return f"{event.resolution}, says {event.resolved_by}" + (f": {event.note}" if event.note else "")
    return ""


def _members(value: bytes | None) -> dict[str, Any]:
    try:
        members = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return members if isinstance(members, dict) else {}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")
