"""All that is left of a history when it is over, as anybody outside could have it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.simulation.api import Execution
from tests.simulation.broker import Clock
from tests.simulation.log import Stored
from tests.simulation.machine import Stop
from tests.simulation.script import Kind, Script, Sent


@dataclass(frozen=True, slots=True)
class Outcome:
    """An outcome as a `read_committed` reader has it."""

    value: Mapping[str, Any]
    headers: Mapping[str, bytes | None]
    key: bytes | None
    decided_at: float

    @property
    def end(self) -> str | None:
        """`completed` or the reason of the failure; None for `created`."""
        status = self.value["status"]
        if status == "failed":
            return str(self.value["error"]["reason"])
        return None if status == "created" else str(status)

    @property
    def occurred_at(self) -> float:
        """As the worker says, by a clock that may be wrong by SKEW. A slow commit tells of it much later."""
        return datetime.fromisoformat(self.value["occurred_at"]).timestamp() - Clock.EPOCH / 1000


@dataclass(frozen=True, slots=True)
class Change:
    """A record of the ledger, in the order in which they came to count."""

    partition: int
    key: str
    state: str | None
    offset: int | None
    """Of the request, while it is not finished."""
    decided_at: float


@dataclass(slots=True)
class Life:
    """A request: the first record of a message ID, or the first after its dedupe window."""

    offset: int
    sent: Sent
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def end(self) -> Outcome | None:
        return self.outcomes[-1] if self.outcomes and self.outcomes[-1].end else None


@dataclass(frozen=True, slots=True)
class Evidence:
    script: Script
    sent: Sequence[tuple[int, Sent]]
    """With the offset of each."""
    outcomes: Sequence[Outcome]
    """Those of one key in their order."""
    dead_letters: Sequence[Stored]
    executions: Sequence[Execution]
    creates: Sequence[tuple[float, str, str]]
    polled: Mapping[str, float]
    ledger: Sequence[Change]
    said_lost: Sequence[tuple[int, int, int]]
    """Partition, first offset and the one behind the last, as workers logged it."""
    deleted: Mapping[int, int]
    """Where the requests of a partition begin, since retention cut them."""
    unowned: Mapping[int, int]
    """As `deleted`, at the time of the last cut before the partition's first position."""
    upgraded: Mapping[int, float]
    """Partitions that a newer version has taken, and since when."""
    halted: frozenset[int]
    stops: Sequence[Stop]
    ended_at: float

    def is_lost(self, partition: int, offset: int) -> bool:
        """Deleted unread, and said so; or before anybody had begun to read."""
        said = any(partition == number and first <= offset < end for number, first, end in self.said_lost)
        gone = offset < self.deleted.get(partition, 0)
        return gone and (said or offset < self.unowned.get(partition, 0))

    @property
    def read(self) -> list[tuple[int, Sent]]:
        """What was sent and not lost. What was taken is not: the first position may have been on its way."""
        taken = {(change.partition, change.offset) for change in self.ledger} | self.dead
        return [
            (offset, sent)
            for offset, sent in self.sent
            if (sent.partition, offset) in taken or not self.is_lost(sent.partition, offset)
        ]

    @property
    def dead(self) -> set[tuple[int, int]]:
        """Partition and offset of each record that has a dead letter."""
        headers = [dict(stored.headers) for stored in self.dead_letters]
        return {(int(of["dead-letter-partition"] or 0), int(of["dead-letter-offset"] or 0)) for of in headers}

    def lives(self) -> dict[str, list[Life]]:
        """The requests of each message ID, with their outcomes: each final one ends a life."""
        lives: dict[str, list[Life]] = {}
        for offset, sent in self.read:
            if sent.message_id and (sent.message_id not in lives or sent.kind is Kind.LATE):
                lives.setdefault(sent.message_id, []).append(Life(offset, sent))
        at: dict[str, int] = defaultdict(int)
        for outcome in self.outcomes:
            id_ = outcome.value["message_id"]
            if id_ in lives:
                lives[id_][min(at[id_], len(lives[id_]) - 1)].outcomes.append(outcome)
                at[id_] += outcome.end is not None
        return lives
