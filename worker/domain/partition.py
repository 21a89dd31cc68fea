"""A partition: lanes, entries, position and finished ids of one input partition, and every decision about them.

Told what happened (`accept`, `answered`, `due`, `committed`), it gathers what must be written; `take` gives that
as one commit. Whoever calls it carries the commit out before anything the commit allows, and throws the whole
partition away when a commit's fate is in doubt.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from worker.domain.answer import Answer, Operation, Verdict
from worker.domain.commit import Commit, Ended, Gathered, Position
from worker.domain.entry import Entry, ForbiddenTransitionError, State
from worker.domain.finished import Finished
from worker.domain.lanes import Lanes
from worker.domain.outcome import DeadLetterReason, Failure, OutcomeType, Reason, about, about_invalid
from worker.domain.policy import Policy
from worker.domain.request import Identity, Invalid, Record, Request
from worker.domain.timers import Timers

# Tombstones a commit takes along: the window must not end in one commit of a million.
_FORGET_AT_ONCE = 500
# Of all unfinished requests together. A backlog that is bounded in number alone could take 640 MB of a partition.
MOST_PARAMETER_BYTES = 16 * 1_048_576
# What the API's final statuses say of a request: how it failed, if it did.
_FINAL = {
    "COMPLETED": None,
    "FAILED": Failure(Reason.TERMINAL_FAILED, "the terminal reported a failure"),
    "TIMEOUT": Failure(Reason.TERMINAL_TIMEOUT, "the terminal did not answer in time"),
}


class Acceptance(Enum):
    """What became of an input record."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    INVALID = "invalid"
    REUSED = "reused"


class Partition:
    """Pure but for the `chance` given for jitter. `now` never goes back (see `worker.clock`)."""

    def __init__(self, policy: Policy, chance: Callable[[], float], position: Position) -> None:
        self._policy = policy
        self._chance = chance
        self.committed_position = position
        self._position = position
        self._entries: dict[str, Entry] = {}
        self._pending: dict[str, Entry] = {}  # in the order in which they became so
        self._lanes = Lanes()
        self._timers = Timers()
        self._finished = Finished()
        self._gathered = Gathered()

    # -- what happens -------------------------------------------------------------------------------------------

    def restore(self, entries: Iterable[Entry], finished: Finished, now: int) -> Iterator[None]:
        """Take up what the ledger holds, an entry at a time; exhaust it before all else."""
        self._finished, queued = finished, list[Entry]()
        for entry in entries:
            self._entries[entry.request.key] = entry
            self._lanes.join(entry)
            if entry.state is State.PENDING:
                self._pending[entry.request.key] = entry
                self._timers.set(entry, now + int(self._chance() * self._policy.poll_initial_delay))
            elif entry.state is State.CREATING:
                entry.possibly_run = entry.must_ask = True  # it may have been asked for: it is asked again
                self._timers.set(entry, now)
            else:
                queued.append(entry)
                self._await_expiry(entry)
            yield
        for entry in queued:
            if self._lanes.is_head(entry):
                self._advance(entry, now)
            yield

    def accept(self, incoming: Request | Invalid, record: Record, now: int) -> Acceptance:
        """Take in the next input record. Known ids are looked up before anything else."""
        self._position = Position(record.offset + 1, record.offset, record.timestamp)
        request = incoming if isinstance(incoming, Request) else incoming.identity
        known = self._known(request.key, now) if request else None
        if request and known is not None:
            if known == request.fingerprint:
                return Acceptance.DUPLICATE
            reused = "this message ID was used before for another request"
            self._gathered.reject(record, DeadLetterReason.MESSAGE_ID_REUSED, reused)
            return Acceptance.REUSED
        if isinstance(incoming, Invalid):
            self._gathered.reject(record, DeadLetterReason.INVALID_REQUEST, incoming.message)
            if incoming.identity:
                self._refuse(incoming, incoming.identity, record, now)
            return Acceptance.INVALID
        entry = Entry(incoming, State.QUEUED)
        self._entries[incoming.key] = self._gathered.changed[incoming.key] = entry
        self._await_expiry(entry)
        if self._lanes.join(entry):
            self._advance(entry, now)
        return Acceptance.ACCEPTED

    def due(self, now: int, most: int) -> list[Entry]:
        """Those of up to `most` due entries to ask the API about: CREATING by a create, PENDING by a poll."""
        asks: list[Entry] = []
        for _ in range(most):  # of those that end here too: thousands may expire together
            entry = self._timers.pop(now)
            if entry is None:
                break
            failure = None if entry.state is State.PENDING else self._overdue(entry, now)
            if failure:
                self._finish(entry, now, None, failure)
            else:
                entry.asked_at = now
                asks.append(entry)
        return asks

    def answered(self, entry: Entry, answer: Answer, now: int) -> None:
        """The answer to what `due` gave."""
        if entry.state is State.CREATING:
            self._create_answered(entry, answer, now)
        elif entry.state is State.PENDING:
            self._poll_answered(entry, answer, now)
        else:
            raise ForbiddenTransitionError(f"{entry.state.name} entries are not asked about ({entry.request.key})")

    def may_create(self, entry: Entry, now: int) -> bool:
        """The domain's part of the door: asked in the same step as the send."""
        return entry.state is State.CREATING and self._overdue(entry, now) is None

    # -- what must be written -----------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """Something is gathered that a commit must write."""
        return self._gathered.size > 0 or self._position.offset != self.committed_position.offset

    def take(self, now: int, *, prove: bool = False) -> Commit | None:
        """What has gathered since the last take, as one commit; None when there is nothing and no proof is wanted."""
        if not (self.dirty or prove):
            return None
        gathered, self._gathered = self._gathered, Gathered()
        at = self._position
        forgotten = list(self._finished.forget(now - self._policy.dedupe_window, _FORGET_AT_ONCE))
        self._timers.compact(self._entries.values(), len(self._entries))
        return gathered.commit(Position(at.offset, at.last_offset, at.last_timestamp, now, self.backlog), forgotten)

    def committed(self, commit: Commit, now: int) -> None:
        """The commit is durable: what it allows may begin."""
        self.committed_position = commit.position
        for entry in commit.creating:
            self._timers.set(entry, now)
        for entry in commit.pending:
            self._timers.set(entry, now + self._policy.poll_delay(0, self._chance()))

    # -- figures ------------------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """Behind the last record accepted, committed or not."""
        return self._position

    @property
    def next_due(self) -> int | None:
        return self._timers.next()

    @property
    def backlog(self) -> int:
        """Accepted and unfinished."""
        return len(self._entries)

    @property
    def full(self) -> bool:
        return len(self._entries) >= self._policy.backlog_limit or self._lanes.parameter_bytes >= MOST_PARAMETER_BYTES

    @property
    def crowded(self) -> bool:
        """So much waits for the next commit that no more should be read before it."""
        return self._gathered.crowded

    @property
    def unpublished(self) -> int:
        """Outcomes that wait for the next commit."""
        return len(self._gathered.outcomes)

    @property
    def lanes(self) -> Lanes:
        return self._lanes

    @property
    def queued(self) -> int:
        return len(self._entries) - len(self._lanes)

    @property
    def creating(self) -> int:
        """The head of each lane is CREATING or PENDING, or came too late and ends in a moment."""
        return len(self._lanes) - len(self._pending)

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def oldest_pending_at(self) -> int | None:
        pending = list(self._pending.values())  # in one step of the interpreter: metrics are read by another thread
        return pending[0].pending_at if pending else None

    @property
    def remembered(self) -> int:
        """Finished requests within the dedupe window."""
        return len(self._finished)

    # -- decisions ----------------------------------------------------------------------------------------------

    def _known(self, key: str, now: int) -> str | None:
        entry = self._entries.get(key)
        if entry:
            return entry.request.fingerprint
        return self._finished.fingerprint(key, now - self._policy.dedupe_window)

    def _advance(self, head: Entry | None, now: int) -> None:
        """Begin the new head of a lane. One that came too late is left to its timer: thousands may have, behind one."""
        if head and head.state is State.QUEUED and self._overdue(head, now) is None:
            head.become(State.CREATING)
            head.creating_at = now
            head.due_at = None  # not before this CREATING is committed
            self._gathered.changed[head.request.key] = head

    def _create_answered(self, entry: Entry, answer: Answer, now: int) -> None:
        verdict = answer.verdict
        if verdict is Verdict.OPERATION and answer.operation:
            self._created(entry, answer.operation, now)
        elif verdict is Verdict.REFUSED:
            reason = Reason.UNCONFIRMED if entry.possibly_run else Reason.REJECTED
            message = answer.message or "the API refused the operation"
            self._finish(entry, now, None, Failure(reason, message, answer.http_status, answer.code))
        else:
            if verdict is Verdict.UNKNOWN:
                entry.possibly_run = True
            if verdict in (Verdict.UNKNOWN, Verdict.BUSY):
                entry.must_ask = False
            self._retry_create(entry, answer, now)

    def _created(self, entry: Entry, operation: Operation, now: int) -> None:
        entry.become(State.PENDING)
        entry.pending_at = now
        self._pending[entry.request.key] = entry
        entry.operation_id = operation.id
        entry.possibly_run = entry.must_ask = False
        entry.asked = 0
        self._gathered.changed[entry.request.key] = entry
        self._gathered.outcomes.append(about(entry.request, OutcomeType.CREATED, now, operation, operation.id))
        if operation.final:
            self._finish(entry, now, operation, _FINAL[operation.status])

    def _retry_create(self, entry: Entry, answer: Answer, now: int) -> None:
        if answer.verdict is Verdict.WITHHELD or answer.retry_after:
            delay = max(self._policy.back_off(0, self._chance()), answer.retry_after or 0)
        else:
            delay = self._policy.back_off(entry.asked, self._chance())
            entry.asked += 1
        self._timers.set(entry, min(now + delay, max(now, self._create_deadline(entry))))

    def _poll_answered(self, entry: Entry, answer: Answer, now: int) -> None:
        operation = answer.operation
        if operation and operation.final:
            self._finish(entry, now, operation, _FINAL[operation.status])
            return
        answer_came = answer.verdict in (Verdict.OPERATION, Verdict.NOTHING)
        deadline = (entry.pending_at or 0) + self._policy.completion_timeout
        if answer_came and entry.asked_at >= deadline:
            message = "the API gave no final status in time; the operation may have run"
            self._finish(entry, now, operation, Failure(Reason.UNCONFIRMED, message, answer.http_status))
            return
        entry.asked += 1
        delay = self._policy.poll_delay(entry.asked, self._chance())
        self._timers.set(entry, now + max(delay, answer.retry_after or 0))

    def _create_deadline(self, entry: Entry) -> int:
        """When asking ends, answered or not."""
        since = entry.creating_at or 0
        window = since + self._policy.idempotency_window
        timeout = window if entry.must_ask else since + self._policy.create_timeout
        expires_at = entry.request.expires_at
        return min(window, timeout, window if expires_at is None else expires_at)

    def _overdue(self, entry: Entry, now: int) -> Failure | None:
        """Why no create may be sent for it any more."""
        expires_at = entry.request.expires_at
        expired = expires_at is not None and now >= expires_at
        if not expired and (entry.state is State.QUEUED or now < self._create_deadline(entry)):
            return None
        if entry.possibly_run:
            message = "the create's answer stayed unknown until the time to ask was over; the operation may have run"
            return Failure(Reason.UNCONFIRMED, message)
        message = "not created by expires_at" if expired else "not created within the create timeout"
        return Failure(Reason.EXPIRED, message)

    def _await_expiry(self, entry: Entry) -> None:
        if entry.request.expires_at is not None:
            self._timers.set(entry, entry.request.expires_at)

    # -- endings ------------------------------------------------------------------------------------------------

    def _refuse(self, invalid: Invalid, identity: Identity, record: Record, now: int) -> None:
        self._gathered.outcomes.append(about_invalid(invalid, identity, record.key, now))
        self._remember(identity, now)

    def _finish(self, entry: Entry, now: int, operation: Operation | None, failure: Failure | None) -> None:
        """End an entry and begin its successor: both in the commit that is being gathered (rules 2 and 3)."""
        self._advance(self._end(entry, now, operation, failure), now)

    def _end(self, entry: Entry, now: int, operation: Operation | None, failure: Failure | None) -> Entry | None:
        """Publish the final outcome (`completed` where there is no failure), leave the lane, give its new head."""
        request = entry.request
        entry.become(State.FINISHED)
        entry.due_at = None
        outcome = OutcomeType.FAILED if failure else OutcomeType.COMPLETED
        self._gathered.outcomes.append(about(request, outcome, now, operation, entry.operation_id, failure))
        del self._entries[request.key]
        self._gathered.changed.pop(request.key, None)
        self._pending.pop(request.key, None)
        self._remember(request, now)
        return self._lanes.leave(entry)

    def _remember(self, known: Request | Identity, now: int) -> None:
        self._finished.remember(known.key, known.fingerprint, now)
        self._gathered.ended.append(Ended(known.key, known.fingerprint, known.message_id, now))
