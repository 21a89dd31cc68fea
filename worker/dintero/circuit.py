"""Whether an account's API is asked at all."""

from collections.abc import Callable

FAILURES_TO_OPEN = 5
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
MEMORY = 60.0
"""A circuit that opens again within this time of its closing goes on from its last pause. So an API that answers some
calls and fails the others does not bring the pause back to `FIRST_PAUSE` with each good answer."""


class Circuit:
    """Closed: calls go out. Open: none does. Probing: the pause is over and one call is out to see.

    Seconds throughout, of the clock given. Opens on `FAILURES_TO_OPEN` failures in a row, or at once where the failure
    can only repeat itself. Each pause is up to twice the last one, and over `LONGEST_PAUSE` only if the API asked so.
    """

    def __init__(self, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._clock = clock
        self._random = random
        self._failures = 0
        self._pause = 0.0
        self._opened = False
        self._probing = False
        self._probe_at = 0.0
        self._closed_at = -MEMORY

    @property
    def state(self) -> str:
        if not self._opened:
            return "closed"
        return "probing" if self._probing else "open"

    def wait(self) -> float:
        """Seconds until a call may go out: 0 while closed or when a probe is due."""
        if not self._opened:
            return 0.0
        if self._probing:
            return self._pause
        return max(0.0, self._probe_at - self._clock())

    def enter(self) -> bool:
        """A call goes out now (`wait()` said 0). True: it is the probe, and must end in one of the three below."""
        if not self._opened:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """A healthy answer, whoever got it."""
        self._failures = 0
        if self._opened:
            self._opened = self._probing = False
            self._closed_at = self._clock()

    def failed(self, *, probe: bool, at_once: bool = False, at_least: float = 0.0) -> None:
        """No healthy answer. Those of calls that were out when the circuit opened change nothing."""
        if self._opened:
            if probe:
                self._open(at_least)
            return
        self._failures += 1
        if at_once or self._failures >= FAILURES_TO_OPEN:
            if self._clock() - self._closed_at > MEMORY:
                self._pause = 0.0
            self._open(at_least)

    def abandoned(self, *, probe: bool) -> None:
        """The call was not sent and says nothing; another may probe."""
        if probe and self._opened:
            self._probing = False

    def _open(self, at_least: float) -> None:
        doubled = min(LONGEST_PAUSE, max(FIRST_PAUSE, self._pause * 2))
        self._pause = max(at_least, doubled * (0.75 + self._random() / 4))
        self._opened = True
        self._probing = False
        self._probe_at = self._clock() + self._pause
