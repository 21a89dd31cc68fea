"""The worker's pure part, driven as an engine drives it: no loop, no Kafka, no API, and virtual time."""

from random import Random
from typing import Any
from uuid import UUID

import orjson

from schemas import names
from worker.domain.answer import Answer, Operation, Verdict
from worker.domain.commit import Position
from worker.domain.entry import Entry, State
from worker.domain.outcome import Outcome
from worker.domain.partition import Acceptance, Partition
from worker.domain.policy import Policy
from worker.domain.request import Record
from worker.kafka.ledger import encode
from worker.kafka.outcomes import encode_outcome
from worker.kafka.reader import Reader

NOW = 1_780_000_000_000
"""Milliseconds since the epoch: when every request comes in."""
ACCOUNT = "P11223351"
OWNER = {"group": "terminal-operations-worker", "topic": "terminal-operations.requests"}
SOURCE = "/terminal-operations-worker"
READER = Reader(operations=names.OPERATIONS)

# Polls come so late that a large backlog is created before the first is due.
_POLICY = Policy(backlog_limit=1_000_000, poll_initial_delay=20_000)
_TRACED = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def records(count: int, terminals: int, first: int = 0) -> list[Record]:
    """Requests as CloudEvents of the binary mode, over so many terminals in turn; every fourth has parameters."""
    ids = Random(first)
    return [_record(first + number, (first + number) % terminals, _uuid(ids)) for number in range(count)]


def _record(offset: int, terminal: int, message_id: str) -> Record:
    terminal_id = f"{ACCOUNT}-T{terminal:05}"
    data: dict[str, Any] = {"terminal_id": terminal_id, "operation": "end_of_day"}
    if offset % 4 == 0:
        data["parameters"] = {"operator_id": "0042", "print_receipt": True}
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", message_id.encode()),
        ("ce_source", b"/point-of-sale"),
        ("ce_type", names.REQUESTED.encode()),
        ("ce_time", b"2026-11-22T19:48:08.000Z"),
        ("content-type", b"application/json"),
        ("traceparent", _TRACED),
    ]
    return Record(offset, NOW, terminal_id.encode(), orjson.dumps(data), headers)


def _uuid(chance: Random) -> str:
    return str(UUID(int=chance.getrandbits(128), version=4))


class Driver:
    """One partition from record to outcome, in virtual time: what an engine does, without loop, Kafka and API."""

    def __init__(self) -> None:
        self.now = NOW
        self.partition = Partition(_POLICY, lambda: 0.5, Position(0))

    def accept(self, incoming: list[Record]) -> None:
        for record in incoming:
            request = READER.read(record)
            assert self.partition.accept(request, record, self.now) is Acceptance.ACCEPTED

    def commit(self) -> None:
        """Take, encode and make durable what has gathered, if anything has."""
        commit = self.partition.take(self.now)
        if commit is None:
            return
        encode(commit, **OWNER)
        for outcome in commit.outcomes:
            encode_event(outcome)
        self.partition.committed(commit, self.now)

    def ask(self, most: int) -> int:
        """Up to `most` calls, as soon as the first is due: creates are answered PENDING, polls COMPLETED."""
        due_at = self.partition.next_due
        assert due_at is not None
        self.now = max(self.now, due_at)
        due = self.partition.due(self.now, most)
        for entry in due:
            status = "PENDING" if entry.state is State.CREATING else "COMPLETED"
            self.partition.answered(entry, answer(entry, status), self.now)
        return len(due)

    def finish(self) -> None:
        """Ask and commit until nothing is left."""
        self.commit()
        while backlog := self.partition.backlog:
            self.ask(backlog)
            self.commit()


def answer(entry: Entry, status: str) -> Answer:
    """An operation of this status; its id is the key of its request."""
    request = entry.request
    body = operation(request.key, request.terminal_id, request.operation, status)
    given = Operation(request.key, request.terminal_id, request.operation, status, body)
    return Answer(Verdict.OPERATION, given, http_status=200)


def operation(name: str, terminal_id: str, kind: str, status: str) -> dict[str, Any]:
    """As the API gives it."""
    body: dict[str, Any] = {
        "id": name,
        "account_id": ACCOUNT,
        "terminal_id": terminal_id,
        "operation": kind,
        "status": status,
        "created_at": "2026-11-22T19:48:08.000Z",
        "updated_at": "2026-11-22T19:48:09.000Z",
    }
    if status == "COMPLETED":
        body["result"] = {"batch_id": "17", "purchases_amount": 123_400, "refunds_amount": 0}
    return body


def encode_event(outcome: Outcome) -> object:
    return encode_outcome(outcome, source=SOURCE, traceparent=outcome.traceparent, tracestate=outcome.tracestate)
