"""The faults themselves. Each begins, says how long it lasts, and is undone; meanwhile others may begin."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any

from tests.chaos.plan import Planned
from tests.support.system import System
from worker.demo.broker import KafkaBroker
from worker.demo.process import WorkerProcess

Fault = Generator[None]
"""Begins at its first step, and is undone from its second on: it yields again while that is not over."""

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
# The drain of WORKER_SHUTDOWN_TIMEOUT (5 s here), and what closing may take besides while brokers are away.
_EXIT = 20.0


class Stage:
    """The system under attack. A victim belongs to one fault at a time."""

    def __init__(self, system: System, broker: KafkaBroker, workers: int, settings: dict[str, str]) -> None:
        self.system = system
        self.broker = broker
        self.settings = settings
        self.workers = [system.start_worker(**settings) for _ in range(workers)]
        self.done: Counter[str] = Counter()
        self.exits: list[float] = []
        self.violations: list[str] = []
        self._taken: set[object] = set()

    def begin(self, planned: Planned) -> Fault | None:
        """The fault, begun; None when there is no victim left for it."""
        fault = _FAULTS[planned.kind](self, planned)
        if next(fault, self) is self:
            return None
        self.done[planned.kind] += 1
        return fault

    def take_worker(self, pick: float) -> int | None:
        """The place of a worker that no other fault has now."""
        free = [place for place in range(len(self.workers)) if place not in self._taken]
        if not free:
            return None
        place = free[int(pick * len(free))]
        self._taken.add(place)
        return place

    def take(self, what: str) -> bool:
        taken = what not in self._taken
        self._taken.add(what)
        return taken

    def release(self, what: object) -> None:
        self._taken.discard(what)

    def replace(self, place: int) -> None:
        self.workers[place] = self.system.start_worker(**self.settings)
        self.release(place)

    def leaving(self, worker: WorkerProcess, asked_at: float) -> Fault:
        """SIGTERM must end a worker by itself, whatever else is broken. Meanwhile other faults go on and end."""
        while worker.running:
            if time.monotonic() - asked_at > _EXIT:
                self.violations.append(f"{worker.name} did not exit on SIGTERM within {_EXIT:.0f} s")
                worker.kill()
                return
            yield
        code = worker.wait()
        self.exits.append(time.monotonic() - asked_at)
        # In its first moments, before it can listen to signals, a process may simply die of it.
        if code != 0 and "worker_started" in worker.tail(1_000_000):
            self.violations.append(f"{worker.name} exited with {code} on SIGTERM")


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


def _scale(stage: Stage, planned: Planned) -> Fault:
    """One leaves and, later, another comes."""
    place = stage.take_worker(planned.pick)
    if place is None:
        return
    asked_at = time.monotonic()
    stage.workers[place].terminate()
    yield
    yield from stage.leaving(stage.workers[place], asked_at)
    stage.replace(place)


def _broker_kill(stage: Stage, _: Planned) -> Fault:
    if not stage.take("broker"):
        return
    stage.broker.kill()
    yield
    stage.broker.restart()
    stage.release("broker")


def _broker_pause(stage: Stage, _: Planned) -> Fault:
    if not stage.take("broker"):
        return
    stage.broker.pause()
    yield
    stage.broker.resume()
    stage.release("broker")


def _api(stage: Stage, planned: Planned) -> Fault:
    if not stage.take("api"):
        return
    stage.system.simulator.change(_API[int(planned.pick * len(_API))])
    yield
    stage.system.simulator.change(_HEALTHY)
    stage.release("api")


_FAULTS: dict[str, Callable[[Stage, Planned], Fault]] = {
    "kill": _kill,
    "pause": _pause,
    "scale": _scale,
    "broker-kill": _broker_kill,
    "broker-pause": _broker_pause,
    "api": _api,
}


class Attack:
    """Carries out a plan, step by step."""

    def __init__(self, stage: Stage, planned: Sequence[Planned]) -> None:
        self._stage = stage
        self._planned = list(planned)
        self._running: list[tuple[float, Fault]] = []

    @property
    def over(self) -> bool:
        return not (self._planned or self._running)

    def step(self, now: float) -> None:
        """Undo and begin what is due, `now` seconds after the start."""
        while self._planned and self._planned[0].at <= now:
            planned = self._planned.pop(0)
            fault = self._stage.begin(planned)
            if fault:
                self._running.append((planned.at + planned.hold, fault))
        for ended in [running for running in self._running if running[0] <= now]:
            if next(ended[1], self) is self:
                self._running.remove(ended)
