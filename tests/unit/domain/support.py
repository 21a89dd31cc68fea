"""Requests, answers and a partition driven step by step, for the tests of the domain."""

from typing import Any

from worker.domain import identity
from worker.domain.answer import Answer, Operation, Verdict
from worker.domain.commit import Commit, Position
from worker.domain.entry import Entry
from worker.domain.outcome import Outcome
from worker.domain.partition import Acceptance, Partition
from worker.domain.policy import Policy
from worker.domain.request import Identity, Invalid, Record, Request

START = 1_700_000_000_000
SECOND = 1_000
HOUR = 3_600_000

POLICY = Policy(backlog_limit=100)


def request(
    message_id: str = "m-1", terminal_id: str = "P1-T1", offset: int = 0, *, expires_at: int | None = None, **other: Any
) -> Request:
    return Request(
        message_id=message_id,
        key=identity.idempotency_key(message_id, ""),
        fingerprint=identity.fingerprint(terminal_id, "end_of_day", other.get("parameters"), expires_at),
        terminal_id=terminal_id,
        operation="end_of_day",
        parameters=other.get("parameters"),
        expires_at=expires_at,
        correlation_id=message_id,
        requested_at=START,
        offset=offset,
    )


def invalid(message_id: str | None = "m-1", offset: int = 0, value: bytes = b"nonsense") -> Invalid:
    if message_id is None:
        return Invalid("no message ID", offset, START)
    key = identity.idempotency_key(message_id, "")
    who = Identity(message_id, key, identity.raw_fingerprint(value), message_id, None, None)
    return Invalid("not JSON", offset, START, who)


def record(offset: int) -> Record:
    return Record(offset, START, b"P1-T1", b"{}")


def operation(entry: Entry, status: str = "PENDING", operation_id: str = "op-1") -> Operation:
    asked = entry.request
    return Operation(operation_id, asked.terminal_id, asked.operation, status, {"id": operation_id, "status": status})


def gave(entry: Entry, status: str = "PENDING") -> Answer:
    return Answer(Verdict.OPERATION, operation(entry, status), 200)


UNKNOWN = Answer(Verdict.UNKNOWN, cause="timeout")
NOT_RUN = Answer(Verdict.NOT_RUN, cause="connect_error")
BUSY = Answer(Verdict.BUSY, http_status=409, cause="http_409")
REFUSED = Answer(Verdict.REFUSED, http_status=404, code="NOT_FOUND", message="no such terminal")
NOTHING = Answer(Verdict.NOTHING, http_status=200)
WITHHELD = Answer(Verdict.WITHHELD)


class Driver:
    """A partition with a clock and no jitter, whose commits all succeed."""

    def __init__(self, policy: Policy = POLICY, partition: Partition | None = None) -> None:
        self.now = START
        self.partition = partition or Partition(policy, lambda: 0.0, Position(0))
        self.outcomes: list[Outcome] = []
        self.commits: list[Commit] = []
        self._offset = 0

    def accept(self, incoming: Request | Invalid) -> Acceptance:
        return self.partition.accept(incoming, record(incoming.offset), self.now)

    def commit(self, *, prove: bool = False) -> Commit | None:
        commit = self.partition.take(self.now, prove=prove)
        if commit:
            self.commits.append(commit)
            self.outcomes += commit.outcomes
            self.partition.committed(commit, self.now)
        return commit

    def due(self) -> list[Entry]:
        return self.partition.due(self.now, 1_000)

    def answer(self, entry: Entry, answer: Answer) -> None:
        self.partition.answered(entry, answer, self.now)

    def wait_for_due(self) -> list[Entry]:
        """Let time pass until something is due, commit what that decided, and give what is to be asked."""
        at = self.partition.next_due
        assert at is not None, "nothing will ever be due"
        self.now = max(self.now, at)
        asks = self.due()
        self.commit()
        return asks

    def told(self) -> list[tuple[str, str, str | None]]:
        """(message id, type, reason) of every committed outcome."""
        return [(o.message_id, o.type.value, o.failure.reason.value if o.failure else None) for o in self.outcomes]

    def creating(self, incoming: Request) -> Entry:
        """Accept a request and bring it to where its create is to be sent."""
        self.accept(incoming)
        self.commit()
        (entry,) = self.due()
        return entry

    def pending(self, incoming: Request) -> Entry:
        entry = self.creating(incoming)
        self.answer(entry, gave(entry))
        self.commit()
        return entry
