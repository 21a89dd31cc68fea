"""A seed, run and checked."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.simulation.check import violations
from tests.simulation.loop import EndlessError
from tests.simulation.seeded import write
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a seed. As text: its whole history, and at the end what it broke."""

    seed: int
    broken: list[str]
    history: list[tuple[float, str, str]]
    ends: Counter[str]
    """How the requests ended: `completed`, or a reason; and how many were `created`."""

    @property
    def kept(self) -> bool:
        return not self.broken

    def __str__(self) -> str:
        lines = [f"{at:9.3f}  {who:<10}  {what}" for at, who, what in self.history]
        verdict = [f"  BROKEN: {each}" for each in self.broken] or ["  every promise was kept"]
        return "\n".join([f"seed {self.seed}", *lines, *verdict])


def run(seed: int) -> Result:
    world = World(seed, write(seed))
    broken = []
    try:
        world.run()
    except EndlessError as error:
        broken.append(str(error))
    evidence = world.evidence()
    broken += violations(evidence) + [f"a callback raised {crash}" for crash in world.loop.crashes]
    ends = Counter(outcome.end or "created" for outcome in evidence.outcomes)
    return Result(seed, broken, world.history, ends)


@contextmanager
def spare_the_collector() -> Iterator[None]:
    """A history leaves little behind, and looking for it after every 700 objects costs a third of the time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
