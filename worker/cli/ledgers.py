"""One partition of the state topic, as far as it can be read: also where a worker would refuse it."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError

from schemas.ledger import LEDGER, LedgerEntry, LedgerFinished, LedgerPosition
from worker.cli.reading import Topics
from worker.kafka.ledger import POSITION_KEY, VERSION


@dataclass(slots=True)
class Ledger:
    """The last record of each key. `unreadable` holds the keys of what is no ledger record of this version, and why."""

    partition: int
    position: LedgerPosition | None = None
    entries: dict[bytes, LedgerEntry] = field(default_factory=dict)
    finished: set[bytes] = field(default_factory=set)
    unreadable: dict[bytes, str] = field(default_factory=dict)
    records: int = 0
    has_keyless: bool = False

    def add(self, key: bytes | None, value: bytes | None) -> None:
        self.records += 1
        if key is None:
            self.has_keyless = True
            return
        self._forget(key)
        if value is None:
            return
        read = read_record(key, value)
        if isinstance(read, LedgerPosition):
            self.position = read
        elif isinstance(read, LedgerEntry):
            self.entries[key] = read
        elif isinstance(read, LedgerFinished):
            self.finished.add(key)
        else:
            self.unreadable[key] = read

    def _forget(self, key: bytes) -> None:
        if key == POSITION_KEY:
            self.position = None
        self.entries.pop(key, None)
        self.finished.discard(key)
        self.unreadable.pop(key, None)

    def is_of_others(self, group: str, topic: str) -> bool:
        """Only a position says whose a ledger is; without one it is taken for ours."""
        return self.position is not None and (self.position.group, self.position.topic) != (group, topic)


async def read_ledger(topics: Topics, state_topic: str, partition: int) -> Ledger:
    ledger = Ledger(partition)
    async for record in topics.scan(state_topic, [partition]):
        ledger.add(record.key, record.value)
    return ledger


def read_record(key: bytes, value: bytes) -> LedgerEntry | LedgerFinished | LedgerPosition | str:
    """A ledger record, or what the record is instead."""
    try:
        read = LEDGER.validate_json(value)
    except ValidationError:
        return _instead(value)
    fits = key == POSITION_KEY if isinstance(read, LedgerPosition) else _is_key(key)
    return read if fits else "no ledger record"


def _is_key(key: bytes) -> bool:
    try:
        return str(UUID(key.decode())) == key.decode()
    except ValueError:
        return False


def _instead(value: bytes) -> str:
    try:
        members: Any = orjson.loads(value)
    except orjson.JSONDecodeError:
        return "no ledger record"
    version = members.get("v") if isinstance(members, dict) else None
    return f"version {version}" if isinstance(version, int) and version != VERSION else "no ledger record"
