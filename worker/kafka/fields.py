"""Single values of the wire: checked strings, JSON that survives being written again, times as they come."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

LATEST = 253_402_300_799_999
"""The last millisecond that RFC 3339 can say in UTC: the end of the year 9999."""
_EARLIEST = -62_135_596_800_000  # the year 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


class Refused(Exception):  # noqa: N818 - a verdict on the input, and never leaves the wire
    """The record is no request we can accept. The text names the member and what was expected, never the payload."""


def member(document: dict[str, Any], name: str) -> str | None:
    """A string member; null means absent, as many serializers write it."""
    value = document.get(name)
    if value is None or isinstance(value, str):
        return value
    raise Refused(f"{name}: expected a string")


def bounded(text: str | None, name: str, limit: int) -> str:
    # What is printable has no control character: the common case, at a fifth of the search's cost.
    if not text or len(text) > limit or not (text.isprintable() or not _CONTROL.search(text)):
        raise Refused(f"{name}: expected 1 to {limit} characters, none of them a control character")
    return text


def kept_json(value: Any) -> bytes:
    """JSON to be kept. A copy: orjson leaves its result in the buffer it grew, which can be sixty times as large."""
    return bytes(memoryview(orjson.dumps(value)))


def milliseconds(text: str, name: str) -> int:
    if _RFC3339.fullmatch(text):
        try:
            moment = (datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND
        except ValueError:
            pass
        else:
            if _EARLIEST <= moment <= LATEST:
                return moment
    raise Refused(f"{name}: expected an RFC 3339 time with an offset")


def ascii_bytes(value: object) -> bytes | None:
    return value.encode("ascii", "replace") if isinstance(value, str) else None
