"""The faults themselves. Each begins, says how long it lasts, and is undone; meanwhile others may begin."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.chaos.network import Link, Trouble
from tests.chaos.plan import Planned
from tests.chaos.stage import Fault, Stage

_HEALTHY: dict[str, Any] = {
    "down": False,
    **dict.fromkeys(("error_before_rate", "error_after_rate", "cut_rate", "garbage_rate"), 0.0),
    **dict.fromkeys(("hang_rate", "throttle_rate"), 0.0),
}
_API: tuple[dict[str, Any], ...] = (
    {"down": True},
    {"hang_rate": 0.3},
    {"cut_rate": 0.5},
    {"error_before_rate": 0.3, "error_after_rate": 0.3},
    {"throttle_rate": 0.5},
    {"garbage_rate": 0.3, "cut_rate": 0.2, "error_after_rate": 0.2},
)


def _kill(stage: Stage, planned: Planned) -> Fault:
    place = stage.take_worker(planned.pick)
    if place is None:
        return
    stage.workers[place].kill()
    yield
    stage.replace(place)


def _pause(stage: Stage, planned: Planned) -> Fault:
    place = stage.take_worker(planned.pick)
    if place is None:
        return
    stage.workers[place].pause()
    yield
    stage.workers[place].resume()
    stage.release(place)


def _scale(stage: Stage, _: Planned) -> Fault:
    """To the next number of workers: some leave by SIGTERM, or some come. The number stays."""
    if not stage.take("scale"):
        return
    more = next(stage.counts) - len(stage.workers)
    for _hired in range(more):
        stage.hire()
    if more >= 0:
        yield
    else:
        yield from stage.leaving(stage.free()[:-more])
    stage.release("scale")


def _broker_kill(stage: Stage, planned: Planned) -> Fault:
    if not stage.take("broker"):
        return
    place = int(planned.pick * stage.arena.cluster.copies)
    stage.arena.cluster.brokers[place].kill()
    yield
    yield from stage.broker_back(place)
    stage.release("broker")


def _broker_pause(stage: Stage, planned: Planned) -> Fault:
    if not stage.take("broker"):
        return
    broker = stage.arena.cluster.brokers[int(planned.pick * stage.arena.cluster.copies)]
    broker.pause()
    yield
    broker.resume()
    yield from stage.whole_again()
    stage.release("broker")


def _link_fails(*troubles: Trouble) -> Callable[[Stage, Planned], Fault]:
    def fault(stage: Stage, planned: Planned) -> Fault:
        links = [*stage.arena.cluster.links, stage.arena.api]
        yield from _fail(stage, links[int(planned.pick * len(links))], troubles, planned)

    return fault


def _token(stage: Stage, planned: Planned) -> Fault:
    yield from _fail(stage, stage.arena.api, (Trouble.TOKENS_REFUSED, Trouble.ALL_REFUSED), planned)


def _fail(stage: Stage, link: Link, troubles: Sequence[Trouble], planned: Planned) -> Fault:
    if not stage.take(link):
        return
    link.fail(troubles[int(planned.pick * 1000) % len(troubles)], planned.share)
    yield
    link.heal()
    stage.release(link)


def _api(stage: Stage, planned: Planned) -> Fault:
    if not stage.take("api"):
        return
    stage.arena.simulator.change(_API[int(planned.pick * len(_API))])
    yield
    stage.arena.simulator.change(_HEALTHY)
    stage.release("api")


_FAULTS: dict[str, Callable[[Stage, Planned], Fault]] = {
    "kill": _kill,
    "pause": _pause,
    "scale": _scale,
    "broker-kill": _broker_kill,
    "broker-pause": _broker_pause,
    "net-cut": _link_fails(Trouble.CUT),
    "net-delay": _link_fails(Trouble.DELAY),
    "net-half-open": _link_fails(Trouble.HALF_OPEN, Trouble.ANSWERS_LOST),
    "api": _api,
    "token": _token,
}


class Attack:
    """Carries out a plan, step by step. `ended` is told the kind of each fault that is over."""

    def __init__(self, stage: Stage, planned: Sequence[Planned], ended: Callable[[str], None]) -> None:
        self._stage = stage
        self._planned = list(planned)
        self._ended = ended
        self._running: list[tuple[float, Planned, Fault]] = []

    @property
    def over(self) -> bool:
        return not (self._planned or self._running)

    def step(self, now: float) -> None:
        """Undo and begin what is due, `now` seconds after the start."""
        while self._planned and self._planned[0].at <= now:
            planned = self._planned.pop(0)
            fault = _FAULTS[planned.kind](self._stage, planned)
            if next(fault, self) is not self:  # else no victim was left for it
                self._stage.done[planned.kind] += 1
                self._running.append((planned.at + planned.hold, planned, fault))
        for running in [running for running in self._running if running[0] <= now]:
            if next(running[2], self) is self:
                self._running.remove(running)
                self._ended(running[1].kind)
