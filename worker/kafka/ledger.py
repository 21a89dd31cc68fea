"""The records of the ledger: what a partition's memory looks like on the state topic.

Keys are `position`, or an idempotency key; values are JSON with a version. Entries are small arrays of named
members rather than models: a restore decodes 100,000 of them while a partition waits.
"""

import re
from sys import intern
from typing import Any

import orjson

from worker.domain.commit import Commit, Ended, Position
from worker.domain.entry import Entry, State
from worker.domain.request import Request
from worker.kafka.fields import kept_json

VERSION = 1
POSITION_KEY = b"position"
_KEY = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")

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
        }
    )


class Replay:
    """Reads a ledger from its start: the last record of each key wins."""

    def __init__(self, *, group: str, topic: str) -> None:
        self._group = group
        self._topic = topic
        self._values: dict[bytes, bytes] = {}
        self.records = 0

    def add(self, key: bytes | None, value: bytes | None) -> None:
        self.records += 1
        if key is None:
            raise LedgerRefusedError("the state topic holds a record without a key: something else writes to it")
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value

    def result(self) -> tuple[Position | None, list[Entry], list[Ended]]:
        """What was added, once: it is given away record by record, so that it is never in memory twice.

        Raises LedgerRefusedError for a ledger of another group or topic, or of a newer version than this.
        """
        position: Position | None = None
        entries: list[Entry] = []
        ended: list[Ended] = []
        for key in list(self._values):
            value = self._values.pop(key)
            try:
                read = self._read(key, _members(value))
            except (KeyError, TypeError, ValueError) as error:
                message = "the state topic holds a record that is no ledger record: something else writes to it"
                raise LedgerRefusedError(message) from error
            if isinstance(read, Position):
                position = read
            elif isinstance(read, Ended):
                ended.append(read)
            else:
                entries.append(read)
        return position, entries, ended

    def _read(self, key: bytes, members: dict[str, Any]) -> Position | Entry | Ended:
        if key == POSITION_KEY:
            return self._read_position(members)
        if not _KEY.fullmatch(key):
            raise ValueError("no idempotency key")
        if members["state"] == State.FINISHED.value:
            return Ended(key.decode(), members["fingerprint"], members["message_id"], members["finished_at"])
        return _read_entry(key.decode(), members)

    def _read_position(self, members: dict[str, Any]) -> Position:
        owner = (members["group"], members["topic"])
        if owner != (self._group, self._topic):
            raise LedgerRefusedError(
                f"the state topic belongs to group {owner[0]!r} and topic {owner[1]!r}, not to {self._group!r} and "
                f"{self._topic!r}: give this worker a state topic of its own (KAFKA_STATE_TOPIC)"
            )
        return Position(members["offset"], members["last_offset"], members["last_timestamp"], members["time"])


def _members(value: bytes) -> dict[str, Any]:
    members = orjson.loads(value)
    version = members["v"]
    if version != VERSION:
        raise LedgerRefusedError(f"the ledger has records of version {version}; this worker reads {VERSION}: update it")
    return members  # type: ignore[no-any-return]


def _read_entry(key: str, members: dict[str, Any]) -> Entry:
    parameters = members.get("parameters")
    message_id, correlation_id = members["message_id"], members["correlation_id"]
    if message_id == key:
        message_id = key  # mostly the same text three times over: kept once
    if correlation_id == message_id:
        correlation_id = message_id
    request = Request(
        message_id=message_id,
        key=key,
        fingerprint=members["fingerprint"],
        terminal_id=members["terminal_id"],
        operation=intern(members["operation"]),
        parameters=None if parameters is None else kept_json(parameters),
        expires_at=members.get("expires_at"),
        correlation_id=correlation_id,
        requested_at=members["requested_at"],
        offset=members["offset"],
        traceparent=members.get("traceparent"),
        tracestate=members.get("tracestate"),
        baggage=members.get("baggage"),
    )
    state = State(members["state"])
    return Entry(
        request,
        state,
        creating_at=members.get("creating_at"),
        pending_at=members.get("pending_at"),
        operation_id=members.get("operation_id"),
        restored=True,
        sent=1 if state is State.CREATING else 0,
    )
