"""One partition's shell: carries out what the partition decides and reports back what happened."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from worker.clock import Clock
from worker.dintero.api import Api
from worker.dintero.call import Call, CallKind
from worker.domain.answer import Answer, Verdict
from worker.domain.commit import Commit
from worker.domain.entry import Entry, State
from worker.domain.outcome import DeadLetterReason, OutcomeType
from worker.domain.partition import Acceptance, Partition
from worker.domain.request import Invalid, Record, Request
from worker.telemetry.logs import traced
from worker.telemetry.metrics import Metrics
from worker.telemetry.recent import Recent
from worker.telemetry.tracing import Span, Tracing

log = structlog.wrap_logger(logging.getLogger(__name__))

# After a commit the next one gathers: longer, the more records the last one had, since each commit costs a millisecond
# of CPU here and more at the broker. An idle partition answers at once, and a loaded one buys CPU with milliseconds.
_SHORTEST_GAP = 0.001
_GAP_A_RECORD = 0.0005
_LONGEST_GAP = 0.05
# Entries asked about in one step of the loop: a restore may find thousands due, and heartbeats must go on.
_ASK_AT_ONCE = 200
# Nor is more asked while so many outcomes wait: one commit of 10,000 would hold the loop for a tenth of a second.
_MOST_UNPUBLISHED = 1_000


class Reader(Protocol):
    def read(self, record: Record) -> Request | Invalid: ...


class Committer(Protocol):
    async def commit(self, commit: Commit) -> None:
        """Make the commit durable, whole or not at all. Any exception leaves its fate in doubt."""


class EngineDoubtError(Exception):
    """The engine's state no longer fits the world: rebuild it from the log."""


class Engine:
    """Runs one partition until a commit fails; then it and its state are of no more use (rule 6).

    Everything happens on the event loop; the only await between a decision and its effect is the commit.
    """

    def __init__(
        self,
        number: int,
        partition: Partition,
        *,
        committer: Committer,
        api: Api,
        reader: Reader,
        clock: Clock,
        proof_age: float,
        tracing: Tracing,
        metrics: Metrics,
        recent: Recent,
    ) -> None:
        self.number = number
        self.partition = partition
        self.progressed = False
        """Something was committed besides the proof, which each new engine begins with."""
        self._committer = committer
        self._api = api
        self._reader = reader
        self._clock = clock
        self._proof_age = proof_age
        self._tracing = tracing
        self._metrics = metrics
        self._recent = recent
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._next_commit: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.Handle | None = None
        self._rings_for = 0
        self._taken: list[tuple[Span, float]] = []
        self._in_flight: set[Entry] = set()
        self._proved_at = -float("inf")
        self._rebalanced_at = -float("inf")
        self._prove = True  # the first commit makes the position durable and shows that nobody has fenced us
        self._committing = False
        self._suspended = False
        self._closed = False
        self._doubt: Exception | None = None

    # -- told by others -----------------------------------------------------------------------------------------

    def accept(self, records: Iterable[Record]) -> None:
        """Take in records fetched from the input partition, in order; those already taken in are skipped."""
        self._decide(lambda: self._accept_all(records))

    def suspend(self) -> None:
        """The group is rebalancing, or we are stopping: ask nothing new until `resume`."""
        self._suspended = True

    def resume(self) -> None:
        """Still ours after a rebalance. Somebody else may have owned it meanwhile: a commit must show otherwise."""
        self._suspended = False
        self._rebalanced_at = self._clock.boot()
        self._tick()

    def doubt(self, why: str) -> None:
        """End this engine: somebody saw that its state no longer fits the world."""
        self._doubt = EngineDoubtError(why)
        self._wake.set()

    @property
    def in_ledger(self) -> bool:
        """A commit of this engine is durable: the ledger has a position."""
        return self._proved_at > 0

    async def run(self) -> None:
        """Commit what gathers, as long as commits succeed. Raises what the committer raised."""
        self._wake.set()
        next_at = -float("inf")
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(max(0.0, next_at - self._loop.time()))
                self._wake.clear()
                if self._closed:
                    return  # and the cancellation that should have come with it was lost on its way
                if self._doubt:
                    raise self._doubt
                size = await self._commit_gathered()
                if size:
                    next_at = self._loop.time() + min(_LONGEST_GAP, max(_SHORTEST_GAP, size * _GAP_A_RECORD))
                self._tick()
        finally:
            self.close()

    async def settle(self, timeout: float) -> None:
        """Once suspended: wait until the creates in flight are answered and all of it is committed, durably.

        The next owner then asks nothing twice. What is not settled in time is found CREATING and asked again.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._closed and self._unsettled:
                    self._wake.set()
                    await asyncio.wait([self._next_commit], timeout=0.02)

    @property
    def _unsettled(self) -> bool:
        # What a commit in flight holds is no longer dirty, and not yet durable.
        if self._committing or self.partition.dirty:
            return True
        return any(entry.state is State.CREATING for entry in self._in_flight)

    def close(self) -> None:
        """Nothing more is sent or decided; answers still in flight are dropped."""
        self._closed = True
        self._wake.set()
        if self._timer:
            self._timer.cancel()
        for span, _ in self._taken:
            span.end(error="discarded")
        self._taken.clear()
        if not self._next_commit.done():
            self._next_commit.set_result(None)

    def _decide(self, step: Callable[[], None]) -> None:
        """Take a step outside `run`. A bug in it must end this engine, not be lost in a callback."""
        if self._closed:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 - raised again by `run`
            self._doubt = error
        if self._doubt or self.partition.dirty:
            self._wake.set()

    # -- intake -------------------------------------------------------------------------------------------------

    def _accept_all(self, records: Iterable[Record]) -> None:
        now = self._clock.now()
        next_offset = self.partition.position.offset
        for record in records:
            if record.offset >= next_offset:
                self._accept(record, now)

    def _accept(self, record: Record, now: int) -> None:
        incoming = self._reader.read(record)
        if isinstance(incoming, Request) and record.key != incoming.terminal_id.encode():
            self._metrics.misrouted()
        span, incoming = self._tracing.process(incoming, self.number)
        self._taken.append((span, self._clock.boot()))
        acceptance = self.partition.accept(incoming, record, now)
        if acceptance is Acceptance.ACCEPTED:
            return
        if acceptance is Acceptance.DUPLICATE:
            self._metrics.duplicate()
            span.taken_as(acceptance.value)
        else:
            invalid = acceptance is Acceptance.INVALID
            reason = DeadLetterReason.INVALID_REQUEST if invalid else DeadLetterReason.MESSAGE_ID_REUSED
            span.taken_as(acceptance.value, error=reason.value)

    # -- commits ------------------------------------------------------------------------------------------------

    async def _commit_gathered(self) -> int:
        began = self._clock.boot()
        commit = self.partition.take(self._clock.now(), prove=self._prove)
        if commit is None:
            return 0
        self._prove = False
        taken, self._taken = self._taken, []
        settling = self._tracing.settle([span for span, _ in taken], self.number)
        error: str | None = "not_committed"
        self._committing = True
        try:
            await self._committer.commit(commit)
            error = None
        finally:
            self._committing = False
            settling.end(error=error)
            for span, taken_at in taken:
                span.end(error=error)
                self._metrics.processed(self._clock.boot() - taken_at)
        self._proved_at = began
        self._metrics.commit(self._clock.boot() - began, commit.size)
        self.progressed |= commit.size > 1 or commit.position.offset > self.partition.committed_position.offset
        self.partition.committed(commit, self._clock.now())
        self._recent.committed(self.number, commit.outcomes)
        self._report(commit)
        done, self._next_commit = self._next_commit, self._loop.create_future()
        done.set_result(None)
        return commit.size

    def _report(self, commit: Commit) -> None:
        say = logging.getLogger(__name__).isEnabledFor(logging.INFO)  # a line that nobody wants would cost 4 us
        for outcome in commit.outcomes:
            status = outcome.type.value
            reason = outcome.failure.reason.value if outcome.failure else None
            self._metrics.outcome(status, reason)
            if outcome.type is not OutcomeType.CREATED:
                self._metrics.operation_duration(max(0, outcome.occurred_at - outcome.requested_at) / 1000, status)
            if say:
                log.info(
                    "outcome_published",
                    status=status,
                    reason=reason,
                    message_id=outcome.message_id,
                    idempotency_key=outcome.key,
                    terminal_id=outcome.terminal_id,
                    operation_id=outcome.operation_id,
                    partition=self.number,
                    **traced(outcome.traceparent),
                )
        for letter in commit.dead_letters:
            reason = letter.reason.value
            self._metrics.dead_letter(reason)
            offset = letter.record.offset
            log.warning("dead_letter", reason=reason, why=letter.message, partition=self.number, offset=offset)

    # -- calls --------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Ask what is due, and come back when the next is."""
        self._decide(self._ask_due)

    def _ask_due(self) -> None:
        if self.partition.unpublished > _MOST_UNPUBLISHED:
            return  # the end of the next commit comes back here
        if not self._suspended:
            for entry in self.partition.due(self._clock.now(), _ASK_AT_ONCE):
                self._in_flight.add(entry)
                self._api.submit(Call(CallKind.CREATE if entry.state is State.CREATING else CallKind.POLL, entry, self))
        self._set_timer()

    def _set_timer(self) -> None:
        """Come back when the next entry is due. A timer that rings early does no harm; setting one costs 2 us."""
        next_due = self.partition.next_due
        if next_due is None or self._suspended:
            return
        if self._timer:
            if self._rings_for <= next_due:
                return
            self._timer.cancel()
        delay = min(60.0, max(0.0, (next_due - self._clock.now()) / 1000))
        self._timer, self._rings_for = self._loop.call_later(delay, self._rung), next_due

    def _rung(self) -> None:
        self._timer = None
        self._tick()

    def done(self, call: Call, answer: Answer) -> None:
        self._in_flight.discard(call.entry)
        self._decide(lambda: self._answered(call.entry, answer))

    def _answered(self, entry: Entry, answer: Answer) -> None:
        if answer.verdict in (Verdict.UNKNOWN, Verdict.NOT_RUN, Verdict.BUSY):
            self._metrics.retry(answer.cause)
            self._say_asking_again(entry, answer)
        self.partition.answered(entry, answer, self._clock.now())
        self._set_timer()

    def _say_asking_again(self, entry: Entry, answer: Answer) -> None:
        request = entry.request
        said = {"cause": answer.cause, "message_id": request.message_id, "partition": self.number}
        # In an outage every entry asks again, for hours: that it may have run is worth a line, and only the first time.
        if answer.verdict is Verdict.UNKNOWN and entry.state is State.CREATING and not entry.possibly_run:
            log.info("create_unanswered", **said, **traced(request.traceparent))
        else:
            log.debug("asking_again", **said)

    # -- the door (rule 8) --------------------------------------------------------------------------------------

    @property
    def proved(self) -> bool:
        """Our last commit is seconds old and began after the last rebalance: nobody else owned the partition then."""
        return self.unbroken and self._clock.boot() - self._proved_at < self._proof_age

    @property
    def unbroken(self) -> bool:
        """We have committed since the last rebalance: as far as we were told, nobody else can own the partition."""
        return self._proved_at > self._rebalanced_at

    def door(self, call: Call) -> bool:
        """Whether a call may be sent, asked in the same step as the send. A poll changes nothing at the API."""
        if call.kind is CallKind.POLL:
            return not self._closed
        may_send = not (self._closed or self._suspended) and self.proved
        return may_send and self.partition.may_create(call.entry, self._clock.now())

    async def prepare(self, call: Call) -> None:
        """For a create: have a fresh proof, by a commit of the position if need be. If we end, the door says so."""
        while call.kind is CallKind.CREATE and not (self._closed or self._suspended or self.proved):
            self._prove = True
            self._wake.set()
            await asyncio.shield(self._next_commit)
