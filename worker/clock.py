"""Time, as the decisions need it, and as it is written out."""

import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache, partial

# Linux counts a suspended machine's sleep only in CLOCK_BOOTTIME; elsewhere the monotonic clock must do.
_boottime = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - only ever formatted, and half the cost


class Clock:
    """Milliseconds since the epoch that never go back and never stand still.

    Deadlines are persisted, so they are wall-clock times; but a wall clock set back must not stop the polls, and
    one that is behind the previous owner's must not stretch a deadline. So: the later of the wall clock and of
    what this clock said before plus the time that has passed since.
    """

    def __init__(self, wall: Callable[[], float] = time.time, boot: Callable[[], float] = _boottime) -> None:
        self._wall = wall
        self.boot = boot
        """Seconds since some start, through a suspend too: for stalls and ages, never persisted."""
        self._ahead = -math.inf
        """Of `boot`, at least: as far as the wall clock, or a ledger, ever was."""

    def now(self) -> int:
        boot = self.boot()
        ahead = self._wall() - boot
        if ahead > self._ahead:
            self._ahead = ahead
        return int((boot + self._ahead) * 1000 + 0.5)  # rounded: a millisecond of a ledger comes out as it went in

    def not_before(self, time_ms: int) -> None:
        """Start no earlier than the newest time a ledger knows."""
        self._ahead = max(self._ahead, time_ms / 1000 - self.boot())


def rfc3339(time_ms: int) -> str:
    """Milliseconds since the epoch, from 0 to the end of the year 9999, as UTC: `2026-11-22T19:48:08.000Z`."""
    second, millisecond = divmod(time_ms, 1000)
    return f"{_to_the_second(second)}.{millisecond:03}Z"


@lru_cache(maxsize=1024)
def _to_the_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()
