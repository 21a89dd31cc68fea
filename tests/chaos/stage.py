"""Who is on stage: workers that come and go, and who has which. A victim belongs to one fault at a time."""

import itertools
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

from tests.chaos.arena import Arena
from worker.demo.process import WorkerProcess

Fault = Generator[None]
"""Begins at its first step, and is undone from its second on: it yields again while that is not over."""

# The drain of WORKER_SHUTDOWN_TIMEOUT (5 s here), and what closing may take besides while brokers are away: 25 s in
# all, and the machine may be slow.
_EXIT = 40.0
# For a broker to answer again and to have all that it missed.
_WHOLE = 120.0


class Stage:
    """`violations` are what no worker may do, whatever happens to it: not to end when asked."""

    def __init__(self, arena: Arena, workers: int) -> None:
        self.arena = arena
        self.done: Counter[str] = Counter()
        self.exits: list[float] = []
        self.violations: list[str] = []
        self.counts = itertools.cycle((1, 4, 2, 4))
        """How many workers there are to be, after each `scale`."""
        self.workers: dict[int, WorkerProcess] = {}
        self._places = itertools.count()
        self._taken: set[object] = set()
        self._helpers = ThreadPoolExecutor(thread_name_prefix="stage")
        for _ in range(workers):
            self.hire()

    def free(self) -> list[int]:
        """The places whose worker no fault has now."""
        return [place for place in self.workers if place not in self._taken]

    def take_worker(self, pick: float) -> int | None:
        """The place of a worker that no other fault has now."""
        free = self.free()
        if not free:
            return None
        place = free[int(pick * len(free))]
        self._taken.add(place)
        return place

    def take(self, what: object) -> bool:
        taken = what not in self._taken
        self._taken.add(what)
        return taken

    def release(self, what: object) -> None:
        self._taken.discard(what)

    def hire(self) -> None:
        self.workers[next(self._places)] = self.arena.start_worker()

    def replace(self, place: int) -> None:
        """Another worker in the place of one that has ended."""
        self.workers[place] = self.arena.start_worker()
        self.release(place)

    def leaving(self, places: list[int]) -> Fault:
        """SIGTERM must end workers by themselves, whatever else is broken. Meanwhile other faults go on and end."""
        asked_at = time.monotonic()
        for place in places:
            self.take(place)
            self.workers[place].terminate()
        yield
        for place in places:
            yield from self._left(self.workers[place], asked_at)
            del self.workers[place]
            self.release(place)

    def broker_back(self, place: int) -> Fault:
        """Starts a broker again, and waits until the cluster is whole: another may only then be taken."""
        started = self._helpers.submit(self.arena.cluster.brokers[place].restart)
        while not started.done():
            yield
        started.result()
        yield from self.whole_again()

    def whole_again(self) -> Fault:
        """Waits until nothing is missing on any broker."""
        began = time.monotonic()
        while not self.arena.cluster.whole():
            if time.monotonic() - began > _WHOLE:
                raise TimeoutError(f"the brokers were not whole again within {_WHOLE:.0f} s")
            yield

    def close(self) -> None:
        self._helpers.shutdown()

    def _left(self, worker: WorkerProcess, asked_at: float) -> Fault:
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
