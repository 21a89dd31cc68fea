"""What came out of late: counted by the interval, bounded, and ready for JSON."""

import json
from typing import Any

import pytest

from worker.domain.outcome import Failure, Outcome, OutcomeType, Reason
from worker.telemetry.recent import FAILURES, INTERVAL, INTERVALS, Recent


class Time:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def recent(time: Time) -> Recent:
    return Recent(time)


def outcome(status: OutcomeType, message_id: str = "m", **members: Any) -> Outcome:
    failure = Failure(Reason.REJECTED, "no such terminal", 404) if status is OutcomeType.FAILED else None
    fields: dict[str, Any] = {"failure": failure, "terminal_id": "P1-T1", "operation": "end_of_day", **members}
    return Outcome(status, "key", message_id, "c", requested_at=1_000, occurred_at=1_700_000_000_123, **fields)


def test_outcomes_are_counted_by_the_interval_once_it_is_over(recent: Recent, time: Time) -> None:
    recent.committed(0, [outcome(OutcomeType.CREATED), outcome(OutcomeType.COMPLETED), outcome(OutcomeType.FAILED)])
    recent.committed(1, [outcome(OutcomeType.COMPLETED)])
    assert recent.outcomes() == {"interval_s": INTERVAL, "completed": [], "failed": []}
    time.seconds += INTERVAL
    recent.committed(1, [outcome(OutcomeType.COMPLETED)])
    assert recent.outcomes() == {"interval_s": INTERVAL, "completed": [2], "failed": [1]}


def test_an_interval_in_which_nothing_came_counts_as_nothing(recent: Recent, time: Time) -> None:
    recent.committed(0, [outcome(OutcomeType.COMPLETED)])
    time.seconds += 3 * INTERVAL
    recent.committed(0, [outcome(OutcomeType.FAILED)])
    time.seconds += INTERVAL
    assert recent.outcomes() == {"interval_s": INTERVAL, "completed": [1, 0, 0, 0], "failed": [0, 0, 0, 1]}


def test_what_is_older_than_all_intervals_is_forgotten(recent: Recent, time: Time) -> None:
    for _ in range(2 * INTERVALS):
        recent.committed(0, [outcome(OutcomeType.COMPLETED)])
        time.seconds += INTERVAL
    assert recent.outcomes()["completed"] == [1] * INTERVALS
    time.seconds += (INTERVALS - 1) * INTERVAL
    assert recent.outcomes()["completed"] == [1] + [0] * (INTERVALS - 1)
    time.seconds += INTERVAL
    assert sum(recent.outcomes()["completed"]) == 0


def test_a_failure_tells_what_failed_where_and_why(recent: Recent) -> None:
    recent.committed(3, [outcome(OutcomeType.COMPLETED), outcome(OutcomeType.FAILED, "the id")])
    assert recent.failures() == [
        {
            "occurred_at": "2023-11-14T22:13:20.123Z",
            "partition": 3,
            "terminal_id": "P1-T1",
            "operation": "end_of_day",
            "message_id": "the id",
            "reason": "rejected",
            "message": "no such terminal",
        }
    ]


def test_only_the_last_failures_are_kept_newest_first_and_their_messages_short(recent: Recent) -> None:
    failure = Failure(Reason.REJECTED, "x" * 100_000)
    recent.committed(0, [outcome(OutcomeType.FAILED, f"m-{number}", failure=failure) for number in range(1_000)])
    failures = recent.failures()
    assert [failed["message_id"] for failed in failures] == [f"m-{999 - number}" for number in range(FAILURES)]
    assert len(json.dumps(failures)) < 20_000


def test_the_failure_of_a_request_that_could_not_be_read_has_no_terminal(recent: Recent) -> None:
    recent.committed(0, [outcome(OutcomeType.FAILED, terminal_id=None, operation=None)])
    (failed,) = recent.failures()
    assert failed["terminal_id"] is failed["operation"] is None
