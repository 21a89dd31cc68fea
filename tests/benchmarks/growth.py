"""Whether a lifecycle costs the same however much there is, and what an entry takes: the worker's pure part alone.

    python -m tests.benchmarks.growth

A row's backlog is held steady: requests come in, and as many are created, polled and finished, up to 64 calls before
each commit. CPU is in units of a floor, Python's instructions are counted (see `hot_paths.py`). Bytes are what Python's
allocators gave out for a partition, by each entry in it; every request has a trace context, every fourth parameters.
"""

import gc
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from typing import NamedTuple

from tests.benchmarks.hot_paths import Work, cpu, executed
from tests.benchmarks.pure import OWNER, Driver, records
from worker.domain.request import Record
from worker.kafka.ledger import LedgerRecord, Replay, encode

_BATCH = 64
_WORKS = 200
_COUNTS = (1_000, 10_000, 100_000)


class Load(NamedTuple):
    backlog: int
    terminals: int
    partitions: int = 1


LOADS = {
    "pending": [Load(count, count) for count in _COUNTS],
    "terminals": [Load(50_000, count) for count in (10, 100, 1_000, 10_000, 50_000)],
    "requests for each terminal": [Load(1_000 * depth, 1_000) for depth in (1, 4, 32)],
    "partitions": [Load(6_400, 6_400, count) for count in (1, 4, 16, 64)],
}


def main() -> None:
    print("  backlog terminals partitions    floors  of first    counted  of first")
    for axis, loads in LOADS.items():
        print(axis)
        first: list[float] = []
        for load in loads:
            costs = _costs(load)
            first = first or costs
            row = [f"{cost:>9.1f} {cost / base:>9.2f}" for cost, base in zip(costs, first, strict=True)]
            print(f"{load.backlog:>9,} {load.terminals:>9,} {load.partitions:>10}", *row, flush=True)
    print("\nbytes of each  ", *(f"{count:>8,}" for count in _COUNTS))
    for name, hold in HOLDS.items():
        print(f"{name:<15}", *(f"{_bytes(hold, count):>8.0f}" for count in _COUNTS))


# -- cost -------------------------------------------------------------------------------------------------------


def _costs(load: Load) -> list[float]:
    works = _steady(load)
    return [cpu(islice(works, _WORKS)) / _BATCH, executed(next(works)) / _BATCH]


def _steady(load: Load) -> Iterator[Work]:
    """Endless works of 64 lifecycles each, the partitions in turn."""
    backlog, terminals = load.backlog // load.partitions, load.terminals // load.partitions
    for driver in cycle([filled(backlog, terminals) for _ in range(load.partitions)]):
        incoming = records(_BATCH, terminals, first=driver.partition.position.offset)
        yield partial(_turn_over, driver, incoming)


def _turn_over(driver: Driver, incoming: list[Record]) -> None:
    """A create and a poll for each that comes in: the backlog stays as large as it is."""
    driver.accept(incoming)
    driver.commit()
    calls = 2 * len(incoming)
    while calls:
        calls -= driver.ask(min(calls, _BATCH))
        driver.commit()


def filled(backlog: int, terminals: int) -> Driver:
    """Created as far as lanes allow, in steps of a millisecond: so polls are due one after the other, as later on."""
    driver = Driver()
    for first in range(0, backlog, _BATCH):
        driver.accept(records(min(_BATCH, backlog - first), terminals, first))
        driver.commit()
        if driver.partition.creating:
            driver.ask(_BATCH)
            driver.commit()
        driver.now += 1
    return driver


# -- memory -----------------------------------------------------------------------------------------------------


def _restored(count: int) -> Driver:
    written, driver = _written(count), Driver()
    replay = Replay(**OWNER)
    for key, value in written:
        replay.add(key, value)
    deque(replay.decode(), 0)
    deque(driver.partition.restore(replay.entries, replay.finished, driver.now), 0)
    return driver


def _written(count: int) -> list[LedgerRecord]:
    """The ledger of pending operations."""
    driver = Driver()
    driver.accept(records(count, count))
    driver.commit()
    driver.ask(count)
    commit = driver.partition.take(driver.now)
    assert commit
    return encode(commit, **OWNER)


def _finished(count: int) -> Driver:
    driver = filled(count, count)
    driver.finish()
    return driver


HOLDS: dict[str, Callable[[int], Driver]] = {
    "pending": lambda count: filled(count, count),
    "queued": lambda count: filled(count, 10),
    "restored": _restored,
    "finished": _finished,
}


def _bytes(hold: Callable[[int], Driver], count: int) -> float:
    gc.collect()
    tracemalloc.start()
    try:
        held = hold(count)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held
    return taken / count


if __name__ == "__main__":
    main()
