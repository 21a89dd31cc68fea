"""A record that could not be taken, given back whole, with why and whence; cut only where it could not be sent."""

from schemas import names
from worker.clock import rfc3339
from worker.domain.outcome import DeadLetterReason
from worker.domain.request import Record

# What Kafka's format adds at most: per header its two lengths, per record its batch's header and its own fields.
_HEADER_OVERHEAD = 10
_RECORD_OVERHEAD = 128

_Headers = list[tuple[str, bytes | None]]


def encode_dead_letter(
    record: Record, reason: DeadLetterReason, message: str, *, topic: str, partition: int, now: int, max_bytes: int
) -> tuple[bytes | None, bytes | None, _Headers]:
    """Key, value and headers of a dead letter. `topic` and `partition` are where the record came from.

    The record's own headers stand first, so the last of a name is ours. Over `max_bytes` in all, the end of the
    value goes first, then headers from the last, then the end of the key; `dead-letter-truncated` names the parts.
    """
    ours: _Headers = [
        (names.DEAD_LETTER_REASON, reason.value.encode()),
        (names.DEAD_LETTER_MESSAGE, message.encode()),
        (names.DEAD_LETTER_TOPIC, topic.encode()),
        (names.DEAD_LETTER_PARTITION, b"%d" % partition),
        (names.DEAD_LETTER_OFFSET, b"%d" % record.offset),
        (names.DEAD_LETTER_TIME, rfc3339(now).encode()),
    ]
    key, value, headers = record.key, record.value, list(record.headers)
    excess = _RECORD_OVERHEAD + _size(ours) + _size(headers) + len(key or b"") + len(value or b"") - max_bytes
    if excess <= 0:
        return key, value, headers + ours

    excess += _size([(names.DEAD_LETTER_TRUNCATED, b"value,headers,key")])
    cut = []
    if value:
        cut.append(b"value")
        excess -= len(value)
        value = value[: max(-excess, 0)]
    if excess > 0 and headers:
        cut.append(b"headers")
        while excess > 0 and headers:
            excess -= _size([headers.pop()])
    if excess > 0 and key:
        cut.append(b"key")
        key = key[: max(len(key) - excess, 0)]
    return key, value, [*headers, *ours, (names.DEAD_LETTER_TRUNCATED, b",".join(cut))]


def _size(headers: _Headers) -> int:
    return sum(_HEADER_OVERHEAD + len(name.encode()) + len(value or b"") for name, value in headers)
