"""The records of the ledger: what a partition's memory looks like on the state topic.

Keys are `position`, or an idempotency key; values are JSON with a version. Entries are small arrays of named
members rather than models: a restore decodes 100,000 of them while a partition waits.
"""

from collections.abc import Iterator
from operator import itemgetter
from sys import intern
from typing import Any

import orjson

from worker.domain.commit import Commit, Ended, Position
from worker.domain.entry import UNFINISHED, Entry, State
from worker.domain.finished import Finished
from worker.domain.request import Request
from worker.kafka.fields import kept_json

VERSION = 1
POSITION_KEY = b"position"
# The shape of an idempotency key, and what makes it of one: a fifth of a regular expression's cost.
_KEY_SHAPE = b"00000000-0000-0000-0000-000000000000"
_TO_SHAPE = bytes.maketrans(b"0123456789abcdef", b"0" * 16)
_UNFINISHED = {state.value: state for state in UNFINISHED}
# Decoded in one step: 1 to 2 ms. Other restores and the work of other partitions take turns.
_STEP_BYTES = 65_536
# Of every unfinished entry, in one call.
_required = itemgetter(
    "message_id",
    "fingerprint",
    "terminal_id",
    "operation",
    "correlation_id",
    "requested_at",
    "offset",
    "state",
)

LedgerRecord = tuple[bytes, bytes | None]


class LedgerRefusedError(Exception):
    """This ledger cannot be carried on by this worker. The message says why and names the way out."""


def encode(commit: Commit, *, group: str, topic: str) -> list[LedgerRecord]:
    """The commit's ledger records; a forgotten key becomes a tombstone."""
    records: list[LedgerRecord] = [(entry.request.key.encode(), _entry_value(entry)) for entry in commit.entries]
    records += [(ended.key.encode(), _ended_value(ended)) for ended in commit.ended]
    records += [(key.encode(), None) for key in commit.forgotten]
    records.append((POSITION_KEY, _position_value(commit.position, group, topic)))
    return records


def _entry_value(entry: Entry) -> bytes:
    request = entry.request
    members: dict[str, Any] = {
        "v": VERSION,
        "state": entry.state.value,
        "message_id": request.message_id,
        "fingerprint": request.fingerprint,
        "terminal_id": request.terminal_id,
        "operation": request.operation,
        "correlation_id": request.correlation_id,
        "requested_at": request.requested_at,
        "offset": request.offset,
    }
    if request.parameters is not None:
        members["parameters"] = orjson.Fragment(request.parameters)
    if request.expires_at is not None:
        members["expires_at"] = request.expires_at
    if request.traceparent is not None:
        members["traceparent"] = request.traceparent
    if request.tracestate is not None:
        members["tracestate"] = request.tracestate
    if request.baggage is not None:
        members["baggage"] = request.baggage
    if entry.creating_at is not None:
        members["creating_at"] = entry.creating_at
    if entry.pending_at is not None:
        members["pending_at"] = entry.pending_at
    if entry.operation_id is not None:
        members["operation_id"] = entry.operation_id
    return orjson.dumps(members)


def _ended_value(ended: Ended) -> bytes:
    return orjson.dumps(
        {
            "v": VERSION,
            "state": State.FINISHED.value,
            "message_id": ended.message_id,
            "fingerprint": ended.fingerprint,
            "finished_at": ended.finished_at,
        }
    )


def _position_value(position: Position, group: str, topic: str) -> bytes:
    return orjson.dumps(
        {
            "v": VERSION,
            "group": group,
            "topic": topic,
            "offset": position.offset,
            "last_offset": position.last_offset,
            "last_timestamp": position.last_timestamp,
            "time": position.time,
            "unfinished": position.unfinished,
        }
    )


class Replay:
    """Reads a ledger from its start: the last record of each key wins.

    What it tells is complete once `decode` is exhausted. `entries` and `finished` are in the order of the ledger.
    """

    def __init__(self, *, group: str, topic: str) -> None:
        self._group = group
        self._topic = topic
        self._values: dict[bytes, bytes] = {}
        self.records = 0
        self.position: Position | None = None
        self.entries: list[Entry] = []
        self.finished = Finished()

    def add(self, key: bytes | None, value: bytes | None) -> None:
        self.records += 1
        if key is None:
            raise LedgerRefusedError("the state topic holds a record without a key: something else writes to it")
        self._values.pop(key, None)  # it would keep its first record's place among the others
        if value is not None:
            self._values[key] = value

    def decode(self) -> Iterator[None]:
        """Decode what was added, in steps short enough for an event loop, and drop it: it is never in memory twice.

        Raises LedgerRefusedError for a ledger of another group or topic, of a newer version, or with entries missing.
        """
        size = 0
        for key in list(self._values):
            value = self._values.pop(key)
            try:
                self._decode(key, _members(value))
            except (KeyError, TypeError, ValueError) as error:
                message = "the state topic holds a record that is no ledger record: something else writes to it"
                raise LedgerRefusedError(message) from error
            size += len(value)
            if size >= _STEP_BYTES:
                size = 0
                yield
        unfinished = self.position.unfinished if self.position else None
        if unfinished is not None and unfinished != len(self.entries):
            raise LedgerRefusedError(
                f"the state topic holds {len(self.entries)} unfinished requests where {unfinished} were written: it "
                f"was made anew or has lost records; restore that topic, or use `terminal-worker state reset`"
            )

    def _decode(self, key: bytes, members: dict[str, Any]) -> None:
        if key.translate(_TO_SHAPE) == _KEY_SHAPE:
            if members["state"] == State.FINISHED.value:
                self.finished.remember(key.decode(), members["fingerprint"], members["finished_at"])
            else:
                self.entries.append(_read_entry(key.decode(), members))
        elif key == POSITION_KEY:
            self.position = self._read_position(members)
        else:
            raise ValueError("no idempotency key")

    def _read_position(self, members: dict[str, Any]) -> Position:
        owner = (members["group"], members["topic"])
        if owner != (self._group, self._topic):
            raise LedgerRefusedError(
                f"the state topic belongs to group {owner[0]!r} and topic {owner[1]!r}, not to {self._group!r} and "
                f"{self._topic!r}: give this worker a state topic of its own (KAFKA_STATE_TOPIC)"
            )
        of_record = members["last_offset"], members["last_timestamp"]
        # Older ledgers do not say how many.
        return Position(members["offset"], *of_record, members["time"], members.get("unfinished"))


def _members(value: bytes) -> dict[str, Any]:
    members = orjson.loads(value)
    version = members["v"]
    if version != VERSION:
        raise LedgerRefusedError(f"the ledger has records of version {version}; this worker reads {VERSION}: update it")
    return members  # type: ignore[no-any-return]


def _read_entry(key: str, members: dict[str, Any]) -> Entry:
    message_id, fingerprint, terminal_id, operation, correlation_id, requested_at, offset, named = _required(members)
    if message_id == key:
        message_id = key  # mostly the same text three times over: kept once
    if correlation_id == message_id:
        correlation_id = message_id
    get = members.get
    parameters = get("parameters")
    # In order: by name would cost half as much again.
    request = Request(
        message_id,
        key,
        fingerprint,
        terminal_id,
        intern(operation),
        None if parameters is None else kept_json(parameters),
        get("expires_at"),
        correlation_id,
        requested_at,
        offset,
        get("traceparent"),
        get("tracestate"),
        get("baggage"),
    )
    state = _UNFINISHED[named]
    sent = 1 if state is State.CREATING else 0
    return Entry(request, state, get("creating_at"), get("pending_at"), get("operation_id"), True, sent)
