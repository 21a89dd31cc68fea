"""How much an account's API is asked: so many calls at once, and so many a second."""

from collections.abc import Callable


class Budget:
    """A limit on calls in flight, raised by one for each full round of good answers and halved on trouble.

    It moves between 1 and `maximum`, and halves at most once per round trip: an answer to a call made before the last
    halving says nothing new. `rate`, where given, is calls a second for the whole group; this worker takes its share.
    """

    def __init__(self, maximum: int, rate: float | None, clock: Callable[[], float]) -> None:
        self._maximum = maximum
        self._rate = rate
        self._clock = clock
        self._limit = float(maximum)
        self._halvings = 0
        self._share = 1.0
        self._tokens = 1.0
        self._refilled_at = clock()
        self.in_flight = 0

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def _full(self) -> bool:
        return self.in_flight + 1 > self._limit  # which is a whole number only in what is shown

    def share(self, share: float) -> None:
        """This worker's part of the rate, 0 to 1."""
        self._refill()
        self._share = min(1.0, max(0.0, share))

    def wait(self) -> float | None:
        """Seconds until a call may start: 0 is now, None is not before another ends or the share changes."""
        if self._full:
            return None
        if self._rate is None:
            return 0.0
        self._refill()
        if self._tokens > 1.0 - 1e-6:
            return 0.0
        per_second = self._rate * self._share
        return (1.0 - self._tokens) / per_second if per_second > 0 else None

    def start(self) -> int:
        """Take a slot (`wait()` said 0). Give what this returns to the method that ends the call."""
        self.in_flight += 1
        if self._rate is not None:
            self._tokens -= 1.0
        return self._halvings

    def end(self, started: int, *, trouble: bool, sent: bool) -> None:
        """Give the slot back. Trouble halves the limit, and an answer raises it. A call that was not sent does neither,
        nor does it count for the rate: those of an engine that ended would keep its successor's waiting.
        """
        busy = self._full
        self.in_flight -= 1
        if not sent and self._rate is not None:
            self._tokens += 1.0
        if trouble and started == self._halvings:
            self._halvings += 1
            self._limit = max(1.0, self._limit / 2)
        elif sent and not trouble and busy:
            # Only a limit that was in use has been tried.
            self._limit = min(float(self._maximum), self._limit + 1.0 / self._limit)

    def _refill(self) -> None:
        now = self._clock()
        if self._rate is not None:
            per_second = self._rate * self._share
            # A tenth of a second's worth may gather: enough not to waste a slow wake-up, too little for a burst.
            most = max(1.0, per_second / 10)
            self._tokens = min(most, self._tokens + (now - self._refilled_at) * per_second)
        self._refilled_at = now
