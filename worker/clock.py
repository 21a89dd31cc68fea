"""Time, as the decisions need it."""

import time
from collections.abc import Callable
from functools import partial

# Linux counts a suspended machine's sleep only in CLOCK_BOOTTIME; elsewhere the monotonic clock must do.
_boottime = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


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
        self._last = 0
        self._last_boot = boot()

    def now(self) -> int:
        boot = self.boot()
        passed = max(0, int((boot - self._last_boot) * 1000))
        self._last = max(int(self._wall() * 1000), self._last + passed)
        if passed:
            self._last_boot += passed / 1000
        return self._last

    def not_before(self, time_ms: int) -> None:
        """Start no earlier than the newest time a ledger knows."""
        self._last = max(self._last, time_ms)
