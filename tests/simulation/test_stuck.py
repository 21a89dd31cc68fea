"""One terminal that stands still, seen by the others: in virtual time, so that the machine's noise is not in it."""

from uuid import UUID

import pytest

from tests.simulation.api import Temper
from tests.simulation.network import Manners
from tests.simulation.script import PARTITIONS, Kind, Script, Sent, rfc3339
from tests.simulation.world import World

_REQUESTS = 500
# One world's p99 is five requests, and moves by a quarter with its seed.
_WORLDS = range(5)
_A_SECOND = 20.0
_STUCK = "P1-STUCK"

pytestmark = pytest.mark.usefixtures("spared_collector")


def test_one_stuck_terminal_moves_the_others_p99_by_less_than_a_tenth() -> None:
    free, held = (sorted(took for seed in _WORLDS for took in _took(seed, stuck=stuck)) for stuck in (0, 50))
    assert _at(held, 0.99) < 1.1 * _at(free, 0.99)


def _took(seed: int, *, stuck: int) -> list[float]:
    """From each of the others' requests to its end, with so many requests of the stuck one before."""
    others = [_sent(number, f"P1-T{number}", number / _A_SECOND) for number in range(_REQUESTS)]
    script = Script(
        sent=(*(_sent(_REQUESTS + number, _STUCK, 0.0) for number in range(stuck)), *others),
        faults=(),
        refused=frozenset(),
        occupied=((0.0, _STUCK, 3_600.0),),
        machines=1,
        temper=Temper(busy=True, slowest=1.0),
        kafka=Manners(0.002),
        api=Manners(0.05),
        trouble=0.0,
        compactions=(),
        cuts=(),
        upgrade=None,
        late=0,
        settings={"worker_delivery": "exactly_once"},
        quiet_at=0.0,
    )
    world = World(seed, script)
    world.run()
    lives = [life for (life,) in world.evidence().lives().values() if life.sent.terminal != _STUCK]
    assert len(lives) == _REQUESTS
    return [life.end.decided_at - life.sent.at for life in lives if life.end]


def _sent(number: int, terminal: str, at: float) -> Sent:
    id_ = str(UUID(int=number + 1, version=4))
    data = {"terminal_id": terminal, "operation": "end_of_day", "expires_at": rfc3339(_REQUESTS / _A_SECOND + 10.0)}
    return Sent(at, Kind.REQUEST, terminal, number % PARTITIONS, id_, data)


def _at(took: list[float], part: float) -> float:
    return took[int((len(took) - 1) * part)]
