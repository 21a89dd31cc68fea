from hypothesis import given
from hypothesis import strategies as st

from worker.clock import Clock


class Hands:
    def __init__(self) -> None:
        self.wall = 1_000.0
        self.boot = 5.0

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.boot)


def test_it_follows_the_wall_clock() -> None:
    hands = Hands()
    clock = hands.clock()
    assert clock.now() == 1_000_000
    hands.wall += 2
    hands.boot += 2
    assert clock.now() == 1_002_000


def test_a_wall_clock_set_back_does_not_stop_it() -> None:
    hands = Hands()
    clock = hands.clock()
    clock.now()
    hands.wall -= 3_600
    hands.boot += 1.5
    assert clock.now() == 1_001_500


def test_it_starts_no_earlier_than_the_newest_time_of_the_ledger() -> None:
    hands = Hands()
    clock = hands.clock()
    clock.not_before(1_500_000)
    hands.boot += 1
    assert clock.now() == 1_501_000


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(0, 10)), max_size=50))
def test_it_never_goes_back_and_never_falls_behind_the_time_that_passes(steps: list[tuple[float, float]]) -> None:
    hands = Hands()
    clock = hands.clock()
    began, passed = clock.now(), 0.0
    last = began
    for wall, boot in steps:
        hands.wall += wall
        hands.boot += boot
        passed += boot
        now = clock.now()
        assert now >= last
        assert now >= began + int(passed * 1000) - 2
        last = now
