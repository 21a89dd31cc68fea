"""What came out of late, for a person who looks now: outcomes for each few seconds, and the last failures."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from worker.clock import rfc3339
from worker.domain.outcome import Failure, Outcome, OutcomeType

INTERVAL = 5
"""Seconds that are counted together."""
INTERVALS = 120
FAILURES = 20
# What the API said may be long, and is in the outcome as a whole.
_LONGEST_MESSAGE = 300


class _Failed(NamedTuple):
    occurred_at: int
    partition: int
    terminal_id: str | None
    operation: str | None
    message_id: str
    reason: str
    message: str


class Recent:
    """In memory, bounded, and of this process alone. Costs a fraction of a microsecond an outcome."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._interval()
        self._counts: deque[list[int]] = deque(maxlen=INTERVALS + 1)  # of an interval: its number, completed, failed
        self._failures: deque[_Failed] = deque(maxlen=FAILURES)

    def committed(self, partition: int, outcomes: Iterable[Outcome]) -> None:
        """The outcomes of a commit, once it is durable."""
        completed = failed = 0
        for outcome in outcomes:
            if outcome.failure:
                failed += 1
                self._failures.append(_failed(partition, outcome, outcome.failure))
            elif outcome.type is OutcomeType.COMPLETED:
                completed += 1
        if completed or failed:
            interval = self._interval()
            if not self._counts or self._counts[-1][0] != interval:
                self._counts.append([interval, 0, 0])
            counts = self._counts[-1]
            counts[1] += completed
            counts[2] += failed

    def outcomes(self) -> dict[str, Any]:
        """`completed` and `failed` of the last intervals that are over, oldest first; `interval_s` is their length."""
        now = self._interval()
        counted = {interval: counts for interval, *counts in self._counts}
        last = [counted.get(interval, (0, 0)) for interval in range(max(self._began, now - INTERVALS), now)]
        completed, failed = [counts[0] for counts in last], [counts[1] for counts in last]
        return {"interval_s": INTERVAL, "completed": completed, "failed": failed}

    def failures(self) -> list[dict[str, Any]]:
        """The last ones, newest first, ready for JSON."""
        return [{**failed._asdict(), "occurred_at": rfc3339(failed.occurred_at)} for failed in reversed(self._failures)]

    def _interval(self) -> int:
        return int(self._clock() / INTERVAL)


def _failed(partition: int, outcome: Outcome, failure: Failure) -> _Failed:
    return _Failed(
        outcome.occurred_at,
        partition,
        outcome.terminal_id,
        outcome.operation,
        outcome.message_id,
        failure.reason.value,
        failure.message[:_LONGEST_MESSAGE],
    )
