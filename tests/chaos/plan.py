"""What goes wrong and when: drawn from the seed before the run, so that a seed always means the same attack."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

SESSION_TIMEOUT = 10.0
_HOLD = {
    "kill": (0.0, 3.0),
    # Longer than the session timeout: it wakes up as a zombie.
    "pause": (SESSION_TIMEOUT + 1, SESSION_TIMEOUT + 6),
    "scale": (0.5, 3.0),
    "broker-kill": (0.0, 3.0),
    "broker-pause": (10.0, 10.0),
    "net-cut": (0.5, 6.0),
    "net-delay": (3.0, 10.0),
    "net-half-open": (1.0, 6.0),
    "api": (2.0, 8.0),
    "token": (4.0, 15.0),
}
FAULTS = tuple(_HOLD)
_GAP = (0.5, 5.0)


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault: `at` seconds after the start, held for `hold`; `pick` and `share` (0 to 1) choose its victims."""

    at: float
    kind: str
    hold: float
    pick: float
    share: float


def plan(seed: int, seconds: float, kinds: Sequence[str]) -> list[Planned]:
    """The faults of one run; the last begins before `seconds` are over. They may overlap."""
    chance = random.Random(seed)
    planned: list[Planned] = []
    at = chance.uniform(*_GAP)
    while at < seconds:
        kind = chance.choice(kinds)
        planned.append(Planned(at, kind, chance.uniform(*_HOLD[kind]), chance.random(), chance.choice((0.5, 1.0))))
        at += chance.uniform(*_GAP)
    return planned
