"""What many terminals at once take, simulated on measured costs: time, calls of the API, CPU of each worker.

    python -m tests.benchmarks.night

A worker is one core, and for each account a budget and its waiting creates and polls, as `worker.dintero.account` has
them. Budget, polling policy and the polls' turn are the worker's own code; what a call costs is measured. Left out are
Kafka, whose commits add 10 to 200 ms to a step, and a terminal's second request, which would wait for the first. Beside
a real Kafka: `python -m tests.benchmarks.scaling night`.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from random import Random

from worker.dintero.account import POLL_TURN
from worker.dintero.budget import Budget
from worker.domain.policy import Policy

POLL_CPU = 214e-6
"""Seconds of a worker's CPU for a poll: `transports.py`."""
CREATE_CPU = 652e-6 - POLL_CPU
"""For all the rest of a request's life, commits included: `lifecycle.py`, the slower of its figures."""


@dataclass(frozen=True, slots=True)
class Night:
    """What comes, who works on it, and what the API allows. Seconds, where nothing else is said."""

    requests: int
    """Each of a terminal of its own."""
    workers: int
    over: float = 0.0
    """They come evenly over so long; 0 is all at once."""
    partitions: int = 12
    accounts: int = 1
    latency: float = 0.2
    """Until the API answers."""
    operation: tuple[float, float] = (20.0, 60.0)
    """How long a terminal works, from and to."""
    in_flight: int = 64
    """Calls at once, for each account and worker."""
    rate: float | None = None
    """Calls a second, for each account and all workers."""
    policy: Policy = field(default_factory=Policy)
    create_cpu: float = CREATE_CPU
    poll_cpu: float = POLL_CPU


@dataclass(slots=True)
class Course:
    """How the night went."""

    created: float = 0.0
    """When the API had the last operation."""
    drained: float = 0.0
    """When the last end was known."""
    creates: int = 0
    polls: int = 0
    late: float = 0.0
    """From an operation's end to its being known, on average."""
    peak: int = 0
    """Calls of the API in the busiest second."""
    busiest: float = 0.0
    """Share of its core that the busiest worker used until all was done, at least: unhurried, it commits more often."""


class _Worker:
    def __init__(self) -> None:
        self.free_at = 0.0
        self.cpu = 0.0

    def works(self, now: float, seconds: float) -> float:
        """When that much more is done."""
        self.cpu += seconds
        self.free_at = max(now, self.free_at) + seconds
        return self.free_at


@dataclass(slots=True)
class _Request:
    ends_at: float | None = None
    """The operation's end; None before it is created."""
    polls: int = 0


class _Calls:
    """One account's calls at one worker: which goes next, and whether it may."""

    def __init__(self, worker: _Worker, budget: Budget) -> None:
        self.worker = worker
        self.budget = budget
        self.woken = False
        self._creates: deque[_Request] = deque()
        self._polls: deque[_Request] = deque()
        self._turn = 0

    def add(self, request: _Request) -> None:
        (self._creates if request.ends_at is None else self._polls).append(request)

    def wait(self) -> float | None:
        """As the budget's; None with nothing to do."""
        return self.budget.wait() if self._creates or self._polls else None

    def next(self) -> _Request:
        self._turn += 1
        if self._creates and not (self._polls and self._turn % POLL_TURN == 0):
            return self._creates.popleft()
        return self._polls.popleft()


class _Simulation:
    def __init__(self, night: Night, random: Random) -> None:
        self.course = Course()
        self._night = night
        self._random = random
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._seconds: Counter[int] = Counter()
        self._workers = [_Worker() for _ in range(night.workers)]
        self._calls = [[self._calls_of(number) for _ in range(night.accounts)] for number in range(night.workers)]

    def run(self) -> Course:
        night = self._night
        for number in range(night.requests):
            owner = self._random.randrange(night.partitions) % night.workers
            calls = self._calls[owner][number % night.accounts]
            self._at(number * night.over / night.requests, partial(self._submit, calls, _Request()))
        while self._events:
            self._now, _, step = heapq.heappop(self._events)
            step()
        course = self.course
        course.peak = max(self._seconds.values())
        course.late /= night.requests
        course.busiest = max(worker.cpu for worker in self._workers) / course.drained
        return course

    def _calls_of(self, number: int) -> _Calls:
        night = self._night
        budget = Budget(night.in_flight, night.rate, lambda: self._now)
        owned = len(range(number, night.partitions, night.workers))
        budget.share(owned / night.partitions)
        return _Calls(self._workers[number], budget)

    def _at(self, when: float, step: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), step))

    def _submit(self, calls: _Calls, request: _Request) -> None:
        calls.add(request)
        self._start(calls)

    def _start(self, calls: _Calls) -> None:
        while (delay := calls.wait()) is not None:
            if delay > 0:
                if not calls.woken:
                    calls.woken = True
                    self._at(self._now + delay, partial(self._wake, calls))
                return
            self._send(calls, calls.next())

    def _wake(self, calls: _Calls) -> None:
        calls.woken = False
        self._start(calls)

    def _send(self, calls: _Calls, request: _Request) -> None:
        started = calls.budget.start()
        created = request.ends_at is not None
        sent_at = calls.worker.works(self._now, self._night.poll_cpu if created else self._night.create_cpu)
        self._seconds[int(sent_at)] += 1
        self._at(sent_at + self._night.latency, partial(self._answered, calls, request, started))

    def _answered(self, calls: _Calls, request: _Request, started: int) -> None:
        calls.budget.end(started, trouble=False, sent=True)
        self._learn(calls, request)
        self._start(calls)

    def _learn(self, calls: _Calls, request: _Request) -> None:
        course, now = self.course, self._now
        if request.ends_at is None:
            course.creates += 1
            course.created = now
            request.ends_at = now + self._random.uniform(*self._night.operation)
        else:
            course.polls += 1
            request.polls += 1
            if now >= request.ends_at:
                course.drained = now
                course.late += now - request.ends_at
                return
        delay = self._night.policy.poll_delay(request.polls, self._random.random())
        self._at(now + delay / 1000, partial(self._submit, calls, request))


def simulate(night: Night, random: Random | None = None) -> Course:
    """The same night gives the same course, unless `random` is given."""
    return _Simulation(night, random or Random(23)).run()


def _show(title: str, nights: dict[str, Night]) -> None:
    print(f"\n{title}\n{'':<34} {'created':>9} {'drained':>9} {'late':>7} {'calls each':>10} {'at most':>9} {'CPU':>5}")
    for name, night in nights.items():
        course = simulate(night)
        each = (course.creates + course.polls) / night.requests
        print(
            f"{name:<34} {course.created:>7.0f} s {course.drained:>7.0f} s {course.late:>5.1f} s {each:>10.1f} "
            f"{course.peak:>7}/s {course.busiest:>5.0%}"
        )


def main() -> None:
    ten = Night(requests=10_000, workers=2)
    slow = replace(ten, operation=(120.0, 600.0))
    rare = replace(slow, policy=Policy(poll_initial_delay=60_000, poll_max_delay=60_000))
    hundred = replace(ten, requests=100_000, workers=4)
    _show("10,000 at once, by workers", {f"{each}": replace(ten, workers=each) for each in (1, 2, 4, 8, 12)})
    _show(
        "10,000 at once, 2 workers, by calls a second that the API allows",
        {f"{rate}": replace(ten, rate=rate) for rate in (500, 200, 100, 50)},
    )
    _show(
        "10,000 at once, 2 workers, operations of 2 to 10 minutes",
        {
            "polls 2s to 30s apart": slow,
            "polls 2s to 30s apart, 100 calls/s": replace(slow, rate=100),
            "polls 60s apart": rare,
            "polls 60s apart, 100 calls/s": replace(rare, rate=100),
        },
    )
    _show("100,000 at once, by workers", {f"{each}": replace(hundred, workers=each) for each in (2, 4, 8, 12)})
    _show(
        "100,000 at once, 4 workers",
        {
            "256 calls in flight": replace(hundred, in_flight=256),
            "ten accounts": replace(hundred, accounts=10),
            "500 calls/s": replace(hundred, rate=500),
            "coming over an hour": replace(hundred, over=3600.0),
        },
    )
    _show("900,000 over a day, 2 workers", {"an hour of it": replace(ten, requests=37_500, over=3600.0)})


if __name__ == "__main__":
    main()
