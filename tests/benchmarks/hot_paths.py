"""The pure part of the hot path: what each step costs, and whether it costs more than it did.

    python -m tests.benchmarks.hot_paths           # beside the baseline
    python -m tests.benchmarks.hot_paths --renew   # writes the baseline again, for this version of Python

Each path is measured twice. `instructions` are those of Python's own code: counted, so the same on every machine, but
blind to what C does. `floors` are CPU, in units of a floor: a fixed piece of plain Python and orjson that shares
nothing with the worker, run in turn with the path. `tests/unit/test_hot_paths.py` fails when either grows.
"""

import gc
import heapq
import math
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import orjson

from tests.benchmarks.pure import NOW, OWNER, READER, Driver, encode_event, records
from worker.kafka.ledger import Replay, encode

_BASELINE = Path(__file__).with_name("baseline.json")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

_BATCH = 20
_ROUNDS = 100
_FASTEST = 5
_READABLE = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE

Work = Callable[[], object]


class Cost(NamedTuple):
    """Of one record, entry or request."""

    instructions: float
    floors: float


# -- the paths --------------------------------------------------------------------------------------------------

HotPath = Callable[[int], Work]
"""Prepares so many records, entries or requests, and gives the work on them that is measured. It is done once."""


def _read(count: int) -> Work:
    incoming = records(count, count)
    return lambda: [READER.read(record) for record in incoming]


def _accept(count: int) -> Work:
    partition, incoming = Driver().partition, records(count, count)
    requests = [READER.read(record) for record in incoming]
    return lambda: [partition.accept(request, record, NOW) for request, record in zip(requests, incoming, strict=True)]


def _commit(count: int) -> Work:
    """Taken, encoded for the ledger, durable."""
    driver = _created(count)

    def work() -> None:
        commit = driver.partition.take(NOW)
        assert commit
        encode(commit, **OWNER)
        driver.partition.committed(commit, NOW)

    return work


def _encode(count: int) -> Work:
    """The outcomes of a commit."""
    commit = _created(count).partition.take(NOW)
    assert commit
    return lambda: [encode_event(outcome) for outcome in commit.outcomes]


def _restore(count: int) -> Work:
    """A ledger of pending operations, decoded and taken up."""
    commit, restored = _created(count).partition.take(NOW), Driver().partition
    assert commit
    ledger = encode(commit, **OWNER)

    def work() -> None:
        replay = Replay(**OWNER)
        for key, value in ledger:
            replay.add(key, value)
        deque(replay.decode(), 0)
        deque(restored.restore(replay.entries, replay.finished, NOW), 0)
        assert restored.pending == count

    return work


def _lifecycle(count: int) -> Work:
    """From record to final outcome: read, accepted, created, polled once, and three commits."""
    driver, incoming = Driver(), records(count, count)

    def work() -> None:
        driver.accept(incoming)
        driver.finish()
        assert driver.partition.remembered == count

    return work


def _created(count: int) -> Driver:
    """The API has given their operations, and no commit knows of it yet."""
    driver = Driver()
    driver.accept(records(count, count))
    driver.commit()
    driver.ask(count)
    assert driver.partition.pending == count
    return driver


PATHS: dict[str, HotPath] = {
    "read": _read,
    "accept": _accept,
    "commit": _commit,
    "encode": _encode,
    "restore": _restore,
    "lifecycle": _lifecycle,
}


# -- measuring --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Plain:
    name: str
    at: int
    body: dict[str, Any]


def _floor() -> None:
    """Calls, objects, dicts, a heap, hashes and JSON in about the worker's parts. A change needs a new baseline."""
    known: dict[str, _Plain] = {}
    heap: list[tuple[int, int, _Plain]] = []
    for number in range(_BATCH):
        digest = sha1(b"floor:%d" % number, usedforsecurity=False).hexdigest()
        name = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}"
        body = {"v": 1, "name": name, "at": number, "text": digest, "list": [number, name]}
        plain = _Plain(name, number, orjson.loads(orjson.dumps(body)))
        known[plain.name] = plain
        heapq.heappush(heap, (number * 7 % _BATCH, number, plain))
    while heap:
        plain = heapq.heappop(heap)[2]
        if plain.body["name"] == plain.name:
            del known[plain.name]


def instructions(path: HotPath) -> float:
    """Of Python, executed for one record, entry or request."""
    path(_BATCH)()  # what is cached is not counted
    return executed(path(_BATCH)) / _BATCH


def floors(path: HotPath) -> float:
    """CPU for one record, entry or request, in units of the floor's."""
    return cpu(path(_BATCH) for _ in range(_ROUNDS)) / _BATCH


def executed(work: Work) -> int:
    """Python's instructions."""
    count = 0

    def traced(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        count += event == "opcode"
        return traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def cpu(works: Iterable[Work]) -> float:
    """CPU of one of these works, which are all alike, in units of the floor's for one of its items.

    The floor runs before and after each, and of both the fastest few count: a shared machine makes caches cold and
    clocks slow, and never the other way. On an idle machine a median would do; on a busy one it is 30% off.
    """
    took, floor = [], []
    gc.collect()
    gc.disable()
    try:
        for work in works:
            floor.append(_cpu(_floor))
            took.append(_cpu(work))
            floor.append(_cpu(_floor))
    finally:
        gc.enable()
    return _fastest(took) / _fastest(floor) * _BATCH


def _fastest(took: list[float]) -> float:
    return statistics.fmean(sorted(took)[:_FASTEST])


def _cpu(work: Work) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _usual(path: HotPath) -> float:
    return statistics.median(floors(path) for _ in range(9))


def baseline() -> dict[str, Cost]:
    """Of this version of Python; empty when nobody has measured it."""
    return {name: Cost(**cost) for name, cost in _baselines().get(VERSION, {}).items()}


def _baselines() -> dict[str, dict[str, dict[str, float]]]:
    return orjson.loads(_BASELINE.read_bytes()) if _BASELINE.exists() else {}


def main() -> None:
    renew, before = "--renew" in sys.argv[1:], baseline()
    costs = {name: Cost(round(instructions(path), 1), round(_usual(path), 3)) for name, path in PATHS.items()}
    print(f"{'':<10} {'instructions':>12} {'before':>8} {'floors':>9} {'before':>9}")
    for name, cost in costs.items():
        known = before.get(name, Cost(math.nan, math.nan))
        counts = f"{cost.instructions:>12.1f} {known.instructions:>8.1f}"
        print(f"{name:<10} {counts} {cost.floors:>9.3f} {known.floors:>9.3f}")
    if renew:
        baselines = {**_baselines(), VERSION: {name: cost._asdict() for name, cost in costs.items()}}
        _BASELINE.write_bytes(orjson.dumps(baselines, option=_READABLE))


if __name__ == "__main__":
    main()
