"""A commit: everything one decision, or several gathered ones, must write at once; and what gathers for the next."""

from dataclasses import dataclass, field

from worker.domain.entry import Entry, State
from worker.domain.outcome import DeadLetterReason, Outcome
from worker.domain.request import Record

# So much may wait for one commit: encoding 10,000 entries takes 20 MiB and a tenth of a second of the loop.
_MOST_GATHERED = 1_000
_MOST_DEAD_LETTER_BYTES = 16 * 1_048_576  # records are kept whole until they are dead letters


@dataclass(frozen=True, slots=True)
class Position:
    """The next input offset not yet in the ledger, and the record it stands behind.

    `last_offset` and `last_timestamp` let a restore see that the topic was recreated under us;
    `time` is the newest time the ledger knows, below which no clock of a later owner may start; `unfinished` is how
    many entries it holds beside this record, so that a restore sees when some are gone. None where nobody can know.
    """

    offset: int
    last_offset: int | None = None
    last_timestamp: int | None = None
    time: int = 0
    unfinished: int | None = None


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
    creating: list[Entry] = field(default_factory=list)
    pending: list[Entry] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Records it writes, the position's own included."""
        parts = len(self.entries) + len(self.ended) + len(self.forgotten)
        return 1 + parts + len(self.outcomes) + len(self.dead_letters)


@dataclass(slots=True)
class Gathered:
    """What waits for the next commit. `changed` are the entries it writes, by their keys, as they will be then."""

    changed: dict[str, Entry] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    _dead_letter_bytes: int = 0

    def reject(self, record: Record, reason: DeadLetterReason, message: str) -> None:
        self.dead_letters.append(DeadLetter(record, reason, message))
        self._dead_letter_bytes += record.size

    @property
    def size(self) -> int:
        return len(self.changed) + len(self.ended) + len(self.outcomes) + len(self.dead_letters)

    @property
    def crowded(self) -> bool:
        """No more should be read before it is committed."""
        return self.size >= _MOST_GATHERED or self._dead_letter_bytes >= _MOST_DEAD_LETTER_BYTES

    def commit(self, position: Position, forgotten: list[str]) -> Commit:
        entries = list(self.changed.values())
        creating = [entry for entry in entries if entry.state is State.CREATING]
        pending = [entry for entry in entries if entry.state is State.PENDING]
        return Commit(
            position,
            entries,
            self.ended,
            forgotten,
            self.outcomes,
            self.dead_letters,
            creating=creating,
            pending=pending,
        )
