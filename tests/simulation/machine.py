"""Machines, on which the worker's own runtime runs as a process that dies, pauses and starts again."""

import asyncio
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.broker import Clock
from tests.simulation.clients import Link
from tests.simulation.loop import OUTSIDE, PROCESS, Process
from tests.simulation.network import Network
from tests.simulation.script import SKEW, Fault, FaultKind
from tests.simulation.transport import Transport
from worker.runtime import Runtime

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(slots=True)
class Stop:
    """A process that was asked to stop."""

    process: str
    asked_at: float
    ended_at: float | None = None
    disturbed: bool = False
    """It was paused or killed meanwhile."""


class Machine:
    """Where one worker runs at a time. It dies and starts again, each time as another process."""

    def __init__(self, number: int, world: "World") -> None:
        self.processes: list[Process] = []
        self.stops: dict[str, Stop] = {}
        self.link: Link
        self.transport: Transport
        self._number = number
        self._world = world
        self._skew = world.random.choice((0.0, world.random.uniform(-SKEW, SKEW)))
        self._context: Context

    @property
    def process(self) -> Process:
        return self.processes[-1]

    def wall_clock(self) -> float:
        """Machines do not agree on the time, but by seconds only."""
        return Clock.EPOCH / 1000 + self._world.loop.time() + self._skew

    def start(self) -> None:
        """A new process, with connections of its own; what its last one sent is still on its way."""
        world, loop, script = self._world, self._world.loop, self._world.script
        process = Process(f"worker{self._number}.{len(self.processes)}")
        self.processes.append(process)
        kafka = Network(loop, world.random, script.kafka, script.quiet_at)
        self.link = Link(process.name, world.broker, kafka, world.random, world.kafka_fails, loop)
        api = Network(loop, world.random, script.api, script.quiet_at)
        self.transport = Transport(world.api, api, process.name, loop)
        world.note(process.name, "starts")
        self._context = OUTSIDE.copy()
        self._context.run(PROCESS.set, process)
        runtime = self._context.run(Runtime, world.settings)
        process.on_signal = runtime.stop
        work = self._context.run(loop.create_task, _life(runtime))
        work.add_done_callback(self._ended, context=OUTSIDE)

    def suffer(self, fault: Fault) -> None:
        if not self.processes or self.process.frozen:
            return
        process = self.process
        if fault.kind is FaultKind.CUT:
            self._world.note(process.name, f"is cut off from Kafka for {fault.seconds:.1f} s")
            self.link.network.cut(fault.seconds)
        elif fault.kind is FaultKind.CLOCK:
            self._skew = self._world.random.uniform(-SKEW, SKEW)
            self._world.note(process.name, f"has its clock set to be wrong by {self._skew:.1f} s")
        elif fault.kind is FaultKind.STOP:
            process.after(fault.steps, partial(self._stop, process))
        else:
            process.after(fault.steps, partial(self._freeze, process, fault))

    def _freeze(self, process: Process, fault: Fault) -> None:
        process.frozen = True
        world = self._world
        if process.name in self.stops:
            self.stops[process.name].disturbed = True
        if fault.kind is FaultKind.CRASH:
            world.note(process.name, "dies")
            world.at(world.loop.time() + fault.seconds / 5, self.start)
        else:
            world.note(process.name, f"is paused for {fault.seconds:.1f} s")
            world.at(world.loop.time() + fault.seconds, partial(self._wake, process))

    def _wake(self, process: Process) -> None:
        self._world.note(process.name, "wakes up")
        self._world.loop.thaw(process, self._world.random)

    def _stop(self, process: Process) -> None:
        if process.on_signal and process.name not in self.stops:
            self._world.note(process.name, "is asked to stop")
            self.stops[process.name] = Stop(process.name, self._world.loop.time())
            self._context.run(process.on_signal)

    def _ended(self, work: "asyncio.Task[None]") -> None:
        if work.cancelled():
            return
        self._world.note(self.process.name, "has stopped")
        self.process.frozen = True  # what is left of it ends with it
        if self.process.name in self.stops:
            self.stops[self.process.name].ended_at = self._world.loop.time()
        self._world.at(self._world.loop.time() + 0.5, self.start)
        if error := work.exception():
            self._world.loop.crashes.append(f"{self.process.name} ended: {error!r}")


async def _life(runtime: Runtime) -> None:
    try:
        await runtime.run()
    finally:
        await runtime.aclose()
