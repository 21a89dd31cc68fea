"""What the API's answers mean: the whole table, as data and pure functions.

Nothing in an answer is trusted: what cannot be read is never taken for an operation, and for a create it is UNKNOWN.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson

from worker.dintero.http1 import ResponseTooLarge
from worker.domain.answer import Answer, Operation, Verdict
from worker.domain.entry import Entry

MAX_RETRY_AFTER = 5 * 60 * 1000
MAX_MESSAGE = 500
MAX_OPERATION = 256 * 1024
"""Bytes of JSON. An operation is published and must fit into a Kafka record, twice over with its result."""
MAX_LISTED = 1_000
"""Of a list so many are looked at: one was asked for, and 100,000 empty ones would hold the loop for 35 ms."""

CREATE_STATUSES = {
    401: Verdict.NOT_RUN,
    408: Verdict.UNKNOWN,
    409: Verdict.BUSY,
    425: Verdict.UNKNOWN,
    429: Verdict.NOT_RUN,
}
"""Others: a 4xx is REFUSED, a 503 with Retry-After is NOT_RUN, everything else UNKNOWN."""

POLL_STATUSES = {401: Verdict.NOT_RUN, 408: Verdict.UNKNOWN, 425: Verdict.UNKNOWN, 429: Verdict.NOT_RUN}
"""Others: a 4xx is NOTHING, a 503 with Retry-After is NOT_RUN, everything else UNKNOWN."""

ERRORS: tuple[tuple[type[Exception], Verdict, str], ...] = (
    (httpx.ConnectTimeout, Verdict.NOT_RUN, "connect_timeout"),
    (httpx.ConnectError, Verdict.NOT_RUN, "connect_error"),
    (httpx.TimeoutException, Verdict.UNKNOWN, "timeout"),
    (ResponseTooLarge, Verdict.UNKNOWN, "too_large"),
    (httpx.NetworkError, Verdict.UNKNOWN, "connection_lost"),
    (httpx.ProtocolError, Verdict.UNKNOWN, "protocol_error"),
)
"""No answer at all; the first row that fits counts."""

_DATE_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
_SECONDS = re.compile(r"[0-9]{1,20}", re.ASCII)


def read_create(entry: Entry, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """The meaning of an answer to a create."""
    if not 200 <= status < 300:
        return _read_error(CREATE_STATUSES, Verdict.REFUSED, status, headers, body)
    found = _operation(_json(body))
    if found is None:
        return Answer(Verdict.UNKNOWN, http_status=status, cause="not_an_operation")
    if not _is_ours(found, entry):
        return Answer(Verdict.UNKNOWN, http_status=status, cause="foreign_operation")
    return _given(found, status, body, too_large=Verdict.UNKNOWN)


def read_poll(entry: Entry, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """The meaning of an answer to a poll: NOTHING says that the API answered, UNKNOWN and NOT_RUN that nobody did."""
    if not 200 <= status < 300:
        return _read_error(POLL_STATUSES, Verdict.NOTHING, status, headers, body)
    listed = _json(body)
    if not isinstance(listed, list):
        return Answer(Verdict.UNKNOWN, http_status=status, cause="not_an_array")
    found = [operation for operation in map(_operation, listed[:MAX_LISTED]) if operation is not None]
    ours = next((operation for operation in found if _is_ours(operation, entry)), None)
    if ours is None:
        cause = "foreign_operation" if found else "not_an_operation" if listed else "empty"
        return Answer(Verdict.NOTHING, http_status=status, cause=cause)
    return _given(ours, status, body, too_large=Verdict.NOTHING)


def read_exception(error: Exception) -> Answer:
    """The meaning of an error of the transport."""
    for kind, verdict, cause in ERRORS:
        if isinstance(error, kind):
            return Answer(verdict, cause=cause)
    return Answer(Verdict.UNKNOWN, cause="http_error")


def retry_after(headers: Mapping[str, str], wall_clock: Callable[[], float] = time.time) -> int | None:
    """Milliseconds the answer asks to wait, 0 to `MAX_RETRY_AFTER`; None if it says nothing that can be read.

    A date counts from the answer's own `Date` where it has one, so that our clock need not agree with the API's.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(MAX_RETRY_AFTER, int(value) * 1000)
    until = _timestamp(value)
    if until is None:
        return None
    since = _timestamp(headers.get("date", "").strip())
    return min(MAX_RETRY_AFTER, max(0, int((until - (wall_clock() if since is None else since)) * 1000)))


def _read_error(
    statuses: dict[int, Verdict], other_4xx: Verdict, status: int, headers: Mapping[str, str], body: bytes
) -> Answer:
    wait = retry_after(headers)
    verdict = statuses.get(status)
    if verdict is None:
        if 400 <= status < 500:
            verdict = other_4xx
        else:
            verdict = Verdict.NOT_RUN if status == 503 and wait is not None else Verdict.UNKNOWN
    code, message = _error(body)
    return Answer(
        verdict,
        http_status=status,
        code=code,
        message=message or f"the API answered {status}",
        retry_after=wait,
        cause=f"http_{status}",
    )


def _error(body: bytes) -> tuple[str | None, str | None]:
    content = _json(body)
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, dict):
        return None, None
    return _text(error.get("code"), 100), _text(error.get("message"), MAX_MESSAGE)


def _operation(value: Any) -> Operation | None:
    if not isinstance(value, dict):
        return None
    texts: list[Any] = list(map(value.get, ("id", "terminal_id", "operation", "status")))
    for text in texts:
        if not isinstance(text, str) or not 0 < len(text) <= 200:
            return None
    id_, terminal_id, operation, status = texts
    return Operation(id_, terminal_id, operation, status, value)


def _is_ours(operation: Operation, entry: Entry) -> bool:
    # The terminal's id begins with its account's: one comparison covers both.
    request = entry.request
    return (
        operation.terminal_id == request.terminal_id
        and operation.operation == request.operation
        and entry.operation_id in (None, operation.id)
    )


def _given(operation: Operation, status: int, body: bytes, *, too_large: Verdict) -> Answer:
    # JSON is read to a greater depth than it can be written again; and then `1e15` has 18 digits, so that JSON of many
    # such numbers grows almost to four times its size.
    if len(body) > MAX_OPERATION // 4 or body.count(b"[") + body.count(b"{") > 100:
        try:
            fits = len(orjson.dumps([operation.body])) <= MAX_OPERATION
        except orjson.JSONEncodeError:
            fits = False
        if not fits:
            return Answer(too_large, http_status=status, cause="too_large")
    return Answer(Verdict.OPERATION, operation=operation, http_status=status)


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _text(value: object, limit: int) -> str | None:
    return value[:limit] if isinstance(value, str) and value else None


def _timestamp(value: str) -> float | None:
    if len(value) > 40:
        return None
    for form in _DATE_FORMS:
        try:
            return datetime.strptime(value, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return None
