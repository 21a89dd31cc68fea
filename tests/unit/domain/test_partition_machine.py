"""Random lives of a partition: crashes, lost answers, busy terminals, expiries. After each, the promises are checked.

The ledger here is the real one (encoded, replayed, restored); the API is a small model that keeps every key and counts
what it runs. The checker knows nothing of how the partition decides.
"""

from collections import Counter, deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.domain.support import HOUR, SECOND, START, invalid, record, request
from worker.domain.answer import Answer, Operation, Verdict
from worker.domain.commit import Commit, Position
from worker.domain.entry import Entry, State
from worker.domain.outcome import Outcome, Reason
from worker.domain.partition import Partition
from worker.domain.policy import Policy
from worker.domain.request import Invalid, Request
from worker.kafka import ledger

POLICY = Policy(
    create_timeout=2 * HOUR, completion_timeout=HOUR, idempotency_window=6 * HOUR, dedupe_window=1_000 * HOUR
)
TERMINALS = ("P1-T1", "P1-T2")
FINAL = ("COMPLETED", "FAILED", "TIMEOUT")


class Api:
    """Runs each key once; one operation at a time on each terminal; remembers what it ran and when."""

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}
        self.runs: Counter[str] = Counter()
        self.order: dict[str, list[int]] = {terminal: [] for terminal in TERMINALS}

    def create(self, asked: Request) -> Answer:
        known = self.operations.get(asked.key)
        if known:
            return Answer(Verdict.OPERATION, known, 200)
        if any(op.terminal_id == asked.terminal_id and not op.final for op in self.operations.values()):
            return Answer(Verdict.BUSY, http_status=409)
        self.runs[asked.key] += 1
        self.order[asked.terminal_id].append(asked.offset)
        self.operations[asked.key] = self._operation(asked, "PENDING")
        return Answer(Verdict.OPERATION, self.operations[asked.key], 201)

    def finish(self, asked: Request, status: str) -> None:
        self.operations[asked.key] = self._operation(asked, status)

    @staticmethod
    def _operation(asked: Request, status: str) -> Operation:
        return Operation(f"op-{asked.key}", asked.terminal_id, asked.operation, status, {"status": status})


class PartitionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.log: list[Request | Invalid] = []
        self.ledger: dict[bytes, bytes] = {}
        self.published: list[Outcome] = []
        self.api = Api()
        self.calls: list[tuple[Entry, Request]] = []
        self.partition = Partition(POLICY, lambda: 0.5, Position(0))
        self.in_flight: Commit | None = None
        self.encoded: list[ledger.LedgerRecord] = []

    # -- the input ----------------------------------------------------------------------------------------------

    @rule(
        terminal=st.sampled_from(TERMINALS),
        repeat=st.booleans(),
        number=st.integers(0, 100),
        expiry=st.sampled_from([None, None, 5 * SECOND, HOUR]),
    )
    def a_request_is_published(self, terminal: str, repeat: bool, number: int, expiry: int | None) -> None:
        known = [asked for asked in self.log if isinstance(asked, Request)]
        if repeat and known:
            again = known[number % len(known)]
            self.log.append(request(again.message_id, again.terminal_id, len(self.log), expires_at=again.expires_at))
        else:
            expires_at = None if expiry is None else self.now + expiry
            self.log.append(request(f"m-{len(self.log)}", terminal, len(self.log), expires_at=expires_at))

    @rule()
    def a_record_is_nonsense(self) -> None:
        self.log.append(invalid(f"bad-{len(self.log)}", offset=len(self.log)))

    @rule(count=st.integers(1, 5))
    def the_worker_reads(self, count: int) -> None:
        position = self.partition.position.offset
        for incoming in self.log[position : position + count]:
            self.partition.accept(incoming, record(incoming.offset), self.now)

    # -- commits ------------------------------------------------------------------------------------------------

    @rule()
    def a_commit_begins(self) -> None:
        if self.in_flight is None:
            self.in_flight = self.partition.take(self.now)
            if self.in_flight:
                self.encoded = ledger.encode(self.in_flight, group="g", topic="t")

    @rule()
    def a_commit_succeeds(self) -> None:
        if self.in_flight:
            self._make_durable(self.in_flight)
            self.partition.committed(self.in_flight, self.now)
            self.in_flight = None

    @rule(durable=st.booleans())
    def the_worker_dies(self, durable: bool) -> None:
        """With a commit in flight, it is unknown whether that became durable."""
        if self.in_flight and durable:
            self._make_durable(self.in_flight)
        self.in_flight = None
        replay = ledger.Replay(group="g", topic="t")
        for key, value in self.ledger.items():
            replay.add(key, value)
        deque(replay.decode(), 0)
        self.partition = Partition(POLICY, lambda: 0.5, replay.position or Position(0))
        deque(self.partition.restore(replay.entries, replay.finished, self.now), 0)
        self.calls.clear()

    def _make_durable(self, commit: Commit) -> None:
        for key, value in self.encoded:
            if value is None:
                self.ledger.pop(key, None)
            else:
                self.ledger[key] = value
        self.published += commit.outcomes

    # -- the API and time ---------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0, 1, 10, 600, 3_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule()
    def the_worker_asks_what_is_due(self) -> None:
        for entry in self.partition.due(self.now, 100):
            if entry.state is State.CREATING:
                members = self._ledger_entry(entry.request.key)
                assert members is not None, "asked before it was in the ledger"
                assert members["state"] == "creating", "asked before its CREATING was committed"
            self.calls.append((entry, entry.request))

    @rule(
        number=st.integers(0, 100),
        how=st.sampled_from(["answered", "answered", "answered", "lost", "not_sent", "refused", "withheld"]),
        end=st.sampled_from([None, *FINAL]),
    )
    def a_call_ends(self, number: int, how: str, end: str | None) -> None:
        if not self.calls:
            return
        entry, asked = self.calls.pop(number % len(self.calls))
        creating = entry.state is State.CREATING
        if creating and (how == "withheld" or not self.partition.may_create(entry, self.now)):
            self.partition.answered(entry, Answer(Verdict.WITHHELD), self.now)
        elif how == "not_sent":
            self.partition.answered(entry, Answer(Verdict.NOT_RUN), self.now)
        elif creating and how == "refused":  # a terminal may be removed after it ran something
            self.partition.answered(entry, Answer(Verdict.REFUSED, http_status=404), self.now)
        else:
            self.partition.answered(entry, self._ask(entry, asked, lost=how == "lost", end=end), self.now)

    def _ask(self, entry: Entry, asked: Request, *, lost: bool, end: str | None) -> Answer:
        if entry.state is State.CREATING:
            answer = self.api.create(asked)
        else:
            if end and not self.api.operations[asked.key].final:
                self.api.finish(asked, end)
            answer = Answer(Verdict.OPERATION, self.api.operations[asked.key], 200)
        return Answer(Verdict.UNKNOWN) if lost else answer

    @rule(number=st.integers(0, 100), end=st.sampled_from(FINAL))
    def a_terminal_answers(self, number: int, end: str) -> None:
        unfinished = [key for key, op in self.api.operations.items() if not op.final]
        if unfinished:
            key = unfinished[number % len(unfinished)]
            asked = next(a for a in self.log if isinstance(a, Request) and a.key == key)
            self.api.finish(asked, end)

    # -- the promises -------------------------------------------------------------------------------------------

    @invariant()
    def each_request_has_at_most_one_final_outcome_and_one_created_before_it(self) -> None:
        kinds: dict[str, list[str]] = {}
        for outcome in self.published:
            kinds.setdefault(outcome.message_id, []).append(outcome.type.value)
        allowed = (["created"], ["created", "completed"], ["created", "failed"], ["failed"])
        for message_id, found in kinds.items():
            assert found in allowed, (message_id, found)

    @invariant()
    def nothing_is_invented(self) -> None:
        asked = {a.message_id if isinstance(a, Request) else f"bad-{a.offset}" for a in self.log}
        assert {outcome.message_id for outcome in self.published} <= asked

    @invariant()
    def what_is_said_not_to_have_run_did_not_run(self) -> None:
        for outcome in self.published:
            if outcome.failure and outcome.failure.reason in (Reason.REJECTED, Reason.EXPIRED):
                assert self.api.runs[outcome.key] == 0, outcome

    @invariant()
    def the_api_runs_the_requests_of_a_terminal_in_their_order(self) -> None:
        for order in self.api.order.values():
            assert order == sorted(order)

    @invariant()
    def a_lane_has_at_most_one_entry_begun_in_the_ledger(self) -> None:
        begun = Counter(
            members["terminal_id"]
            for key in self.ledger
            if (members := self._ledger_entry(key.decode())) and members["state"] in ("creating", "pending")
        )
        assert all(count == 1 for count in begun.values()), begun

    def _ledger_entry(self, key: str) -> dict[str, Any] | None:
        value = self.ledger.get(key.encode())
        if value is None or key == "position":
            return None
        return dict(ledger._members(value))

    def teardown(self) -> None:
        """In a world that works again, everything comes to its end: nothing is lost."""
        for _ in range(400):
            self.the_worker_reads(100)
            self.a_commit_begins()
            self.a_commit_succeeds()
            self.the_worker_asks_what_is_due()
            while self.calls:
                self.a_call_ends(0, "answered", "COMPLETED")
            for key in list(self.api.operations):
                if not self.api.operations[key].final:
                    self.a_terminal_answers(0, "COMPLETED")
            if (
                self.partition.backlog == 0
                and not self.partition.dirty
                and len(self.log) == self.partition.position.offset
            ):
                break
            self.now += 60 * SECOND
        finals = {outcome.message_id for outcome in self.published if outcome.type.value != "created"}
        asked = {a.message_id if isinstance(a, Request) else f"bad-{a.offset}" for a in self.log}
        assert finals == asked, asked - finals
        self.each_request_has_at_most_one_final_outcome_and_one_created_before_it()
        self.what_is_said_not_to_have_run_did_not_run()


TestPartitionMachine = PartitionMachine.TestCase
TestPartitionMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None, derandomize=True)
