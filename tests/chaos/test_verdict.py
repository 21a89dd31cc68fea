"""The verdict sees each broken promise; else a run that breaks them would pass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from tests.chaos import logs
from tests.chaos.verdict import Book, Verdict, judge
from tests.support.records import Message
from tests.support.requests import message_ids, request

IDS = [str(UUID(int=number, version=4)) for number in range(3)]
TERMINAL = "P11223351-T0001"


class Run:
    """Three requests of one terminal that were completed in their order."""

    def __init__(self) -> None:
        self.requests = [request(TERMINAL, message_id=message_id) for message_id in IDS]
        self.outcomes = [outcome(message_id, status) for message_id in IDS for status in ("created", "completed")]
        self.executions = dict.fromkeys(IDS, 1)
        self.overlaps = 0

    def verdict(self, damaged: frozenset[str] = frozenset()) -> Verdict:
        return judge(self.requests, self.outcomes, Book(self.executions, self.overlaps), damaged)

    def fails(self, message_id: str, reason: str, *, created: bool = False) -> None:
        self.outcomes = [told for told in self.outcomes if told.json()["message_id"] != message_id]
        self.outcomes += [outcome(message_id, "created")] * created
        self.outcomes.append(outcome(message_id, "failed", error={"reason": reason}))


def outcome(message_id: str, status: str, **members: Any) -> Message:
    value = {"message_id": message_id, "status": status, "terminal_id": TERMINAL, **members}
    return Message(TERMINAL.encode(), orjson.dumps(value))


def swapped(run: Run) -> None:
    run.executions = dict.fromkeys(reversed(IDS), 1)


BROKEN: dict[str, Callable[[Run], object]] = {
    "lost": lambda run: run.outcomes.__delitem__(slice(-2, None)),
    "ended twice": lambda run: run.outcomes.append(outcome(IDS[0], "completed")),
    "created twice": lambda run: run.outcomes.insert(0, outcome(IDS[0], "created")),
    "created after the end": lambda run: run.outcomes.reverse(),
    "ended before created": lambda run: run.outcomes.pop(0),
    "completed, and never run": lambda run: run.executions.pop(IDS[1]),
    "an outcome that nobody asked for": lambda run: run.outcomes.append(outcome("nobody's", "completed")),
    "run, and nobody asked": lambda run: run.executions.update(nobody=1),
    "run 2 times": lambda run: run.executions.update({IDS[1]: 2}),
    "expired, and yet it ran": lambda run: run.fails(IDS[1], "expired"),
    "left unconfirmed": lambda run: run.fails(IDS[1], "unconfirmed"),
    "rejected": lambda run: run.fails(IDS[1], "rejected"),
    "taken for invalid": lambda run: run.fails(IDS[1], "invalid_request"),
    "run in another order than asked": swapped,
    "operations overlapped": lambda run: setattr(run, "overlaps", 1),
}


def test_a_run_that_kept_every_promise_has_no_violation() -> None:
    run = Run()
    run.requests.append(run.requests[0])
    assert run.verdict().violations == []
    assert run.verdict().finals == {"completed": len(set(message_ids(run.requests)))}


@pytest.mark.parametrize("promise", BROKEN)
def test_each_broken_promise_is_seen(promise: str) -> None:
    run = Run()
    BROKEN[promise](run)
    assert any(line.startswith(promise) for line in run.verdict().violations), run.verdict()


@pytest.mark.parametrize("promise", ["ended twice", "created twice", "lost"])
def test_only_the_message_ids_of_a_damaged_transaction_are_excused(promise: str) -> None:
    run = Run()
    BROKEN[promise](run)
    broken = IDS[2] if promise == "lost" else IDS[0]
    assert run.verdict(frozenset({broken})).violations == []
    assert run.verdict(frozenset({broken})).excused != []
    assert run.verdict(frozenset({IDS[1]})).violations == run.verdict().violations


def test_an_order_is_excused_only_when_the_others_kept_theirs() -> None:
    run = Run()
    run.executions = dict.fromkeys([IDS[1], IDS[0], IDS[2]], 1)
    assert run.verdict(frozenset({IDS[0]})).violations == []
    assert run.verdict(frozenset({IDS[2]})).violations != []


SKIP = (
    "2026-11-22T23:16:42,500 INFO kafka.coordinator.transaction.TransactionMarkerChannelManager: Couldn't find leader "
    "endpoint for partitions Set(t.outcomes-1) while trying to send transaction markers for g-t.requests-4, these "
    "partitions are likely deleted already and hence can be skipped\n"
)


def test_a_skipped_marker_damages_what_its_partition_wrote_just_before(tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    log.write_text(f"2026-11-22T23:16:42,400 WARN something else\n{SKIP}")
    (marker,) = logs.skipped([log])
    assert marker.transactional_id == "g-t.requests-4"
    written = [("before", marker.at - 3), ("after", marker.at + 1), ("long ago", marker.at - 100)]
    written += [("other partition", marker.at - 3)]
    partition_of = {"before": 4, "after": 4, "long ago": 4, "other partition": 3}
    assert logs.damaged([marker], written, partition_of) == {"before"}


def test_what_a_worker_may_never_write_is_found(tmp_path: Path) -> None:
    log = tmp_path / "worker-1.log"
    log.write_text(
        '{"event":"partition_restored"}\n'
        '{"event":"Task exception was never retrieved\\nfuture: <Task coro=<_do_commit_offsets() ...>"}\n'
        '{"event":"Task exception was never retrieved\\nfuture: <Task coro=<Engine.run() ...>"}\n'
    )
    assert [complaint for complaint in logs.complaints([log]) if "Engine.run" in complaint] == logs.complaints([log])
    assert len(logs.complaints([log])) == 1
    assert logs.noise([log]) == 1
    assert logs.events([log]) == {"partition_restored": 1}


@pytest.mark.parametrize("secret", [b"api-Pa55-b0d1e6c7", b"sasl-Pa55-4f2a9c3e", b"simulated." + b"0f" * 16])
def test_a_secret_is_found_wherever_it_shows(secret: bytes) -> None:
    assert logs.leaks([("a log", b"nothing"), ("a page", b"<p>" + secret)]) == ["a secret is in a page"]
