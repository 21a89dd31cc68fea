"""A commit: everything one decision, or several gathered ones, must write at once."""

from dataclasses import dataclass, field

from worker.domain.entry import Entry
from worker.domain.outcome import DeadLetterReason, Outcome
from worker.domain.request import Record


@dataclass(frozen=True, slots=True)
class Position:
    """The next input offset not yet in the ledger, and the record it stands behind.

    `last_offset` and `last_timestamp` let a restore see that the topic was recreated under us;
    `time` is the newest time the ledger knows, below which no clock of a later owner may start.
    """

    offset: int
    last_offset: int | None = None
    last_timestamp: int | None = None
    time: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A finished request, as the ledger keeps it through the dedupe window."""

    key: str
    fingerprint: str
    message_id: str
    finished_at: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    record: Record
    reason: DeadLetterReason
    message: str


@dataclass(slots=True)
class Commit:
    """One transaction's content. Encode it before anything else may change the entries it names.

    `creating` and `pending` are the entries whose new state this commit makes durable: what they
    allow (the POST, the polls) begins when it is committed.
    """

    position: Position
    entries: list[Entry] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    dead_letter_bytes: int = 0
    creating: list[Entry] = field(default_factory=list)
    pending: list[Entry] = field(default_factory=list)

    def reject(self, record: Record, reason: DeadLetterReason, message: str) -> None:
        self.dead_letters.append(DeadLetter(record, reason, message))
        self.dead_letter_bytes += record.size

    @property
    def size(self) -> int:
        """Records it writes, the position's own included."""
        parts = len(self.entries) + len(self.ended) + len(self.forgotten)
        return 1 + parts + len(self.outcomes) + len(self.dead_letters)
