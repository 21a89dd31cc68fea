"""Records to read, well formed until changed."""

from typing import Any

import orjson

from schemas import names
from worker.domain.request import Invalid, Record, Request
from worker.kafka.reader import Reader

READER = Reader(operations=names.OPERATIONS)
ID = "0D5F3A1C-9C1E-4B7E-8F39-2A9D3B1E7C44"
DATA: dict[str, Any] = {"terminal_id": "P11223351-T0013", "operation": "end_of_day"}
TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BINARY: dict[str, bytes | None] = {
    "ce_specversion": b"1.0",
    "ce_id": ID.encode(),
    "ce_source": b"/upstream",
    "ce_type": b"terminal.operation.requested.v1",
}
STRUCTURED: list[tuple[str, bytes | None]] = [("content-type", b"Application/CloudEvents+JSON; charset=UTF-8")]
ENVELOPE: dict[str, Any] = {"specversion": "1.0", "id": ID, "source": "/upstream", "type": names.REQUESTED}

Headers = list[tuple[str, bytes | None]]


def record(value: Any = DATA, headers: Headers | None = None, timestamp: int = 1_000) -> Record:
    raw = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
    return Record(7, timestamp, b"P11223351-T0013", raw, list(BINARY.items()) if headers is None else headers)


def binary(**changes: bytes | None) -> Headers:
    """The headers of a good binary event, changed; None leaves one out."""
    return [(name, value) for name, value in {**BINARY, **changes}.items() if value is not None]


def accepted(record: Record) -> Request:
    request = READER.read(record)
    assert isinstance(request, Request), request
    return request


def refused(record: Record) -> Invalid:
    invalid = READER.read(record)
    assert isinstance(invalid, Invalid), invalid
    return invalid
