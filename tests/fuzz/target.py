"""What the fuzzers run: bytes as a record, and all that must hold of whatever a record becomes."""

from collections import deque

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from schemas import names, read_outcome
from worker.domain.commit import Commit, Position
from worker.domain.entry import Entry, State
from worker.domain.outcome import DeadLetterReason, Outcome, OutcomeType, about, about_invalid
from worker.domain.request import Invalid, Record, Request
from worker.kafka.dead_letter import encode_dead_letter
from worker.kafka.ledger import Replay, encode
from worker.kafka.outcomes import encode_outcome
from worker.kafka.reader import Reader

MAX_BYTES = 4_096
READER = Reader(operations=names.OPERATIONS, max_bytes=MAX_BYTES)

# A dead letter of a small bound, so that small inputs are cut too; and what our own headers of an outcome may weigh:
# two identifiers of 256 characters, a terminal id of 128 (four bytes each at most), a trace state and baggage of 512,
# fixed ones.
_MAX_LETTER = 1_024
_MAX_OUTCOME_HEADERS = 4_096
_POSITION = Position(8, 7, 1_000, 1_000)


def decoded(data: bytes) -> Record:
    """A record written as in HTTP: its key, headers one a line, an empty line, its value.

    A header without `: ` has no value, a record without an empty line neither.
    """
    head, separator, value = data.partition(b"\n\n")
    key, *lines = head.split(b"\n")
    headers: list[tuple[str, bytes | None]] = []
    for line in lines:
        name, colon, text = line.partition(b": ")
        headers.append((name.decode(errors="replace"), text if colon else None))
    return Record(7, 1_000, key or None, value if separator else None, headers)


def check(record: Record) -> Request | Invalid:
    """Read a record and write what follows from it. Raises AssertionError, or whatever should never be raised."""
    read = READER.read(record)
    assert read == READER.read(record), "the same record was read differently"
    _check_dead_letter(record)
    if isinstance(read, Request):
        _check_request(read)
        _check_outcome(about(read, OutcomeType.CREATED, 1_000, None, "op-1"))
    else:
        assert len(read.message) < 200, read.message
        if read.identity is not None:
            assert len(read.identity.key) == 36, read.identity.key
            _check_outcome(about_invalid(read, read.identity, record.key, 1_000))
    return read


def _check_request(request: Request) -> None:
    ledger = encode(Commit(_POSITION, entries=[Entry(request, State.QUEUED)]), group="g", topic="t")
    assert len(ledger[0][1] or b"") < MAX_BYTES + 10_240, "the entry is out of all proportion to its request"
    replay = Replay(group="g", topic="t")
    for key, value in ledger:
        replay.add(key, value)
    deque(replay.decode(), 0)
    assert replay.entries[0].request == request, "the ledger gives back another request"


def _check_outcome(outcome: Outcome) -> None:
    key, value, headers = encode_outcome(
        outcome, source="/worker", traceparent=outcome.traceparent, tracestate=outcome.tracestate
    )
    assert len(key or b"") <= 1_024, "the key of an outcome is out of bounds"
    assert len(value) < 8_192, "an outcome is out of bounds"
    assert sum(len(name) + len(text) for name, text in headers) < _MAX_OUTCOME_HEADERS, "its headers are out of bounds"
    assert len(dict(headers)) == len(headers), "a header of an outcome is repeated"
    for _, text in headers:
        # Readers put them into logs and HTTP headers.
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text.decode())
    received = read_outcome(value, headers)
    assert received is not None
    assert received.outcome.message_id == outcome.message_id


def _check_dead_letter(record: Record) -> None:
    key, value, headers = encode_dead_letter(
        record,
        DeadLetterReason.INVALID_REQUEST,
        "value: expected JSON in UTF-8",
        topic="requests",
        partition=3,
        now=1_000,
        max_bytes=_MAX_LETTER,
    )
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 16 * _MAX_LETTER)
    batch.append(0, 1_000, key, value, headers)
    assert len(batch.build()) <= _MAX_LETTER, "the batch of a dead letter is larger than it may be"
    if headers[-1][0] == names.DEAD_LETTER_TRUNCATED:
        kept = headers[:-7]
    else:
        kept = headers[:-6]
        assert (key, value, kept) == (record.key, record.value, list(record.headers)), "a dead letter was altered"
    assert list(record.headers[: len(kept)]) == kept
    assert (record.key or b"").startswith(key or b"")
    assert (record.value or b"").startswith(value or b"")
