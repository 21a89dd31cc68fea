"""How long to wait, how often to ask, when to give up."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Durations in milliseconds. The contract's settings say what each one promises."""

    create_timeout: int = 12 * 3_600_000
    completion_timeout: int = 3_600_000
    idempotency_window: int = 24 * 3_600_000
    dedupe_window: int = 24 * 3_600_000
    poll_initial_delay: int = 2_000
    poll_max_delay: int = 30_000
    retry_initial_delay: int = 500
    retry_max_delay: int = 30_000
    backlog_limit: int = 10_000

    def back_off(self, times: int, chance: float) -> int:
        """Before a create is asked for again, for which that was done so many `times`."""
        return _growing(times, self.retry_initial_delay, self.retry_max_delay, chance)

    def poll_delay(self, times: int, chance: float) -> int:
        """Before the next poll of an operation that was polled so many `times`."""
        return _growing(times, self.poll_initial_delay, self.poll_max_delay, chance)


def _growing(times: int, first: int, most: int, chance: float) -> int:
    """A delay that doubles with `times` up to `most`, of which the upper half is jitter (`chance` in 0..1).

    Jitter keeps terminals that failed together from coming back together.
    """
    whole = min(most, first << min(times, 20))
    return whole // 2 + int(chance * (whole - whole // 2))
