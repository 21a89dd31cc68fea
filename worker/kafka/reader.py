"""Records in, as requests: CloudEvents of both modes and plain JSON. By hand, since it runs for every record.

Names and limits come from `schemas.names`; tests hold what is accepted here against the models of `schemas`.
"""

import base64
import re
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import partial
from sys import intern
from typing import Any, NamedTuple

import orjson

from schemas import names
from schemas.request import check_parameters
from worker.domain import identity
from worker.domain.request import Identity, Invalid, Record, Request
from worker.kafka.fields import LATEST, Refused, ascii_bytes, bounded, kept_json, member, milliseconds

_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# A trace state or baggage. They go into headers: printable ASCII only, so that no line break gets through. And into the
# ledger with each request: baggage may be 8 KiB elsewhere, here it is carried up to what a trace state may be.
_CARRIED = re.compile(rb"[\x20-\x7e]{1,512}")

_CLOUDEVENTS = names.CLOUDEVENTS.encode()
_CLOUDEVENTS_JSON = names.CLOUDEVENTS_JSON.encode()
BINARY = frozenset({names.CE_SPECVERSION, names.CE_ID, names.CE_SOURCE, names.CE_TYPE})
"""Headers of which any one makes a record a CloudEvent in binary mode."""

_Text = Callable[[str], str | None]


class _Attributes(NamedTuple):
    """What the attributes we read are called in one of the two modes of CloudEvents."""

    id: str
    source: str
    correlation_id: str
    spec_version: str
    type: str


_IN_ENVELOPE = _Attributes("id", "source", "correlationid", "specversion", "type")
_IN_HEADERS = _Attributes(*(names.CE_PREFIX + name for name in _IN_ENVELOPE))


@dataclass(slots=True)
class _Draft:
    """What is known of a request so far: all that remains of it when it turns out invalid."""

    message_id: str | None = None
    source: str = ""
    correlation_id: str | None = None
    terminal_id: str | None = None
    operation: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    baggage: str | None = None

    def identity(self, value: bytes | None) -> Identity | None:
        if self.message_id is None:
            return None
        return Identity(
            message_id=self.message_id,
            key=identity.idempotency_key(self.message_id, self.source),
            fingerprint=identity.raw_fingerprint(value),
            correlation_id=self.correlation_id or self.message_id,
            terminal_id=self.terminal_id,
            operation=self.operation,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
            baggage=self.baggage,
        )

    def trace(self, parent: bytes | None, state: bytes | None) -> None:
        """Keeps the first context that is well formed. A malformed one is ignored: tracing never costs a request."""
        if self.traceparent is None and parent is not None and _TRACEPARENT.fullmatch(parent):
            self.traceparent = parent.decode()
            if state is not None and _CARRIED.fullmatch(state):
                self.tracestate = state.decode()


class _Headers:
    """A record's headers. The first of a name counts where a repeat is harmless; `text` refuses repeats."""

    __slots__ = ("_repeated", "found")

    def __init__(self, record: Record) -> None:
        self.found = dict(record.headers)
        self._repeated: Container[str] = ()
        if len(self.found) < len(record.headers):
            self.found = dict(reversed(record.headers))
            self._repeated = {name for name, count in Counter(name for name, _ in record.headers).items() if count > 1}

    def text(self, name: str) -> str | None:
        """A header that identifies the request, so that it must not be ambiguous; None when it is absent or null."""
        value = self.found.get(name)
        if name in self._repeated:
            raise Refused(f"{name}: expected one header of this name")
        if value is None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Refused(f"{name}: expected UTF-8") from None


class Reader:
    """Reads requests. `operations` are the names accepted, `max_bytes` bounds a record's value."""

    def __init__(
        self, *, message_id_header: str = names.MESSAGE_ID, operations: frozenset[str], max_bytes: int = 65536
    ) -> None:
        self._message_id_header = message_id_header
        self._operations = operations
        self._max_bytes = max_bytes
        self._expected_operation = f"operation: expected one of {', '.join(sorted(operations))}"

    def read(self, record: Record) -> Request | Invalid:
        """The request of a record. Whatever the record, it returns; its cost is bounded by the record's size."""
        draft = _Draft()
        # Never out of what RFC 3339 can say, so that it can be published.
        requested_at = min(max(record.timestamp, 0), LATEST)
        try:
            return self._request(record, draft, requested_at)
        except Refused as refused:
            return Invalid(str(refused), record.offset, requested_at, draft.identity(record.value))

    def _request(self, record: Record, draft: _Draft, requested_at: int) -> Request:
        headers = _Headers(record)
        found = headers.found
        draft.trace(found.get(names.TRACEPARENT), found.get(names.TRACESTATE))
        baggage = found.get(names.BAGGAGE)
        if baggage is not None and _CARRIED.fullmatch(baggage):
            draft.baggage = baggage.decode()
        content_type = found.get(names.CONTENT_TYPE)
        if content_type and content_type[: len(_CLOUDEVENTS)].lower() == _CLOUDEVENTS:
            data = self._structured(record, draft, content_type)
        elif not BINARY.isdisjoint(found):
            draft.trace(found.get(names.CE_TRACEPARENT), found.get(names.CE_TRACESTATE))
            _read_attributes(draft, headers.text, _IN_HEADERS)
            data = self._object(record.value)
        else:
            data = self._plain(record, draft, headers)
        return self._accepted(record, draft, data, requested_at)

    def _structured(self, record: Record, draft: _Draft, content_type: bytes) -> dict[str, Any]:
        if content_type.partition(b";")[0].strip().lower() != _CLOUDEVENTS_JSON:
            raise Refused(f"{names.CONTENT_TYPE}: expected {names.CLOUDEVENTS_JSON}, the only format read")
        envelope = self._object(record.value)
        draft.trace(ascii_bytes(envelope.get(names.TRACEPARENT)), ascii_bytes(envelope.get(names.TRACESTATE)))
        _read_attributes(draft, partial(member, envelope), _IN_ENVELOPE)
        data, encoded = envelope.get("data"), envelope.get("data_base64")
        if encoded is None:
            if not isinstance(data, dict):
                raise Refused("data: expected a JSON object")
            return data
        if data is not None:
            raise Refused("data: expected either data or data_base64")
        try:
            return self._object(base64.b64decode(encoded, validate=True))
        except (TypeError, ValueError):
            raise Refused("data_base64: expected base64") from None

    def _plain(self, record: Record, draft: _Draft, headers: _Headers) -> dict[str, Any]:
        name = self._message_id_header
        message_id = headers.text(name)
        if message_id is not None:
            draft.message_id = bounded(message_id, name, names.MAX_MESSAGE_ID)
        draft.trace(headers.found.get(names.CE_TRACEPARENT), headers.found.get(names.CE_TRACESTATE))
        draft.correlation_id = _correlation_id(headers.text, names.CE_CORRELATIONID)
        data = self._object(record.value)
        if message_id is None:
            message_id = member(data, "message_id")
            if message_id is None:
                raise Refused(f"message ID: expected the header {name}, the member message_id, or a CloudEvent")
            draft.message_id = bounded(message_id, "message_id", names.MAX_MESSAGE_ID)
        return data

    def _object(self, value: bytes | None) -> dict[str, Any]:
        if value is None:
            raise Refused("value: expected a JSON object, not null")
        if len(value) > self._max_bytes:
            raise Refused(f"value: expected at most {self._max_bytes} bytes")
        try:
            document = orjson.loads(value)  # bounds the depth by itself, at 1024
        except orjson.JSONDecodeError:
            raise Refused("value: expected JSON in UTF-8") from None
        if not isinstance(document, dict):
            raise Refused("value: expected a JSON object")
        return document

    def _accepted(self, record: Record, draft: _Draft, data: dict[str, Any], requested_at: int) -> Request:
        terminal_id = bounded(member(data, "terminal_id"), "terminal_id", names.MAX_TERMINAL_ID)
        draft.terminal_id = terminal_id
        operation = bounded(member(data, "operation"), "operation", names.MAX_TERMINAL_ID)
        draft.operation = operation
        if operation not in self._operations:
            raise Refused(self._expected_operation)
        parameters, written = data.get("parameters"), None
        if parameters is not None:
            if not isinstance(parameters, dict):
                raise Refused("parameters: expected an object")
            try:
                check_parameters(parameters)
            except ValueError as error:
                raise Refused(f"parameters: {error}") from None
            # `1e15` is written again with 18 digits: the ledger's record must stay one that a broker takes.
            written = kept_json(parameters)
            if len(written) > self._max_bytes:
                raise Refused(f"parameters: expected at most {self._max_bytes} bytes when written in full")
        expires_at = member(data, "expires_at")
        message_id = draft.message_id
        assert message_id is not None  # noqa: S101 - every shape has refused by now
        key = identity.idempotency_key(message_id, draft.source)
        return Request(
            message_id=message_id,
            key=message_id if key == message_id else key,  # mostly the same text: kept once
            fingerprint=identity.fingerprint(terminal_id, operation, parameters, expires_at),
            terminal_id=terminal_id,
            operation=intern(operation),
            parameters=written,
            expires_at=None if expires_at is None else milliseconds(expires_at, "expires_at"),
            correlation_id=draft.correlation_id or message_id,
            requested_at=requested_at,
            offset=record.offset,
            traceparent=draft.traceparent,
            tracestate=draft.tracestate,
            baggage=draft.baggage,
        )


def _read_attributes(draft: _Draft, text: _Text, attributes: _Attributes) -> None:
    """The attributes of a CloudEvent. The id comes first: with it, even an event refused below gets its outcome."""
    draft.message_id = bounded(text(attributes.id), attributes.id, names.MAX_MESSAGE_ID)
    draft.source = bounded(text(attributes.source), attributes.source, names.MAX_SOURCE)
    draft.correlation_id = _correlation_id(text, attributes.correlation_id)
    if text(attributes.spec_version) != names.SPEC_VERSION:
        raise Refused(f"{attributes.spec_version}: expected {names.SPEC_VERSION}")
    if text(attributes.type) != names.REQUESTED:
        raise Refused(f"{attributes.type}: expected {names.REQUESTED}")


def _correlation_id(text: _Text, name: str) -> str | None:
    correlation_id = text(name)
    return None if correlation_id is None else bounded(correlation_id, name, names.MAX_MESSAGE_ID)
