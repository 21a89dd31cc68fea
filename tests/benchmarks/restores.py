"""How long a worker needs to take up its partitions: real Kafka, one worker process, ledgers written beforehand.

    python -m tests.benchmarks.restores

Times are the worker's own, from its log: from the assignment of the partitions to the restore of each, the last one
shown. Meanwhile a heartbeat of 1 ms runs on the worker's own event loop: shown is the longest time between two of its
runs, by the clock and, which the machine's other work does not lengthen, in CPU of the loop's thread. Memory is the
process's peak until then.
"""

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson

from tests.support import ledgers
from tests.support.system import System
from tests.support.told import events, seconds_to_restore
from tests.support.topics import create_topics
from tests.support.waiting import until
from worker import runtime
from worker.cli import main as terminal_worker
from worker.demo.broker import KafkaBroker
from worker.demo.process import WorkerProcess
from worker.domain.commit import Commit
from worker.runtime import Runtime

_PARTITIONS = 4
_TIMEOUT = 120.0
_BEAT = 0.001
_TELL_EVERY = 0.1
# The cleaner at its most eager. It leaves the segment alone that is being written, and the least of those is 1 MiB.
_EAGER_CLEANER = {
    "log.cleaner.backoff.ms": "500",
    "log.cleaner.delete.retention.ms": "0",
    "log.cleaner.min.cleanable.ratio": "0.01",
    "log.segment.bytes": "1048576",
}
_AT_REST = 60


class _Ledger(NamedTuple):
    """What is written to each partition, part after part, of which so many requests are unfinished in the end."""

    name: str
    unfinished: int
    parts: tuple[Callable[[int], Iterable[Commit]], ...] = ()


_LEDGERS = (
    _Ledger("empty, the broker's first transactions", 0),
    _Ledger("empty", 0),
    _Ledger("10,000 pending", 10_000, (partial(ledgers.pending, count=10_000),)),
    _Ledger("100,000 pending", 100_000, (partial(ledgers.pending, count=100_000),)),
    _Ledger("100,000 finished", 0, (partial(ledgers.finished, count=100_000),)),
)
_TOMBSTONES = _Ledger(
    "10,000 pending, 100,000 tombstones",
    10_000,
    (
        partial(ledgers.finished, count=100_000),
        partial(ledgers.forgotten, count=100_000),
        partial(ledgers.pending, count=10_000),
    ),
)


class _WatchedWorker(WorkerProcess):
    """`terminal-worker run` with a heartbeat on its event loop, of which its log tells."""

    module = "tests.benchmarks.restores"


def main() -> None:
    print(f"{'each of so many ledgers':<50} {'records':>8} {'restore':>8} {'held':>7} {'of CPU':>6} {'peak':>8}")
    with KafkaBroker() as broker:
        for ledger in (*_LEDGERS, _TOMBSTONES):
            _measure(broker, ledger, _PARTITIONS, compacted=False)
        for ledger in _LEDGERS[2:]:
            _measure(broker, ledger, 1, compacted=False)
    cleaning = KafkaBroker()
    cleaning.properties.update(_EAGER_CLEANER)
    with cleaning as broker:
        _measure(broker, _TOMBSTONES._replace(name=f"{_TOMBSTONES.name}, compacted"), _PARTITIONS, compacted=True)


def _measure(broker: KafkaBroker, ledger: _Ledger, partitions: int, *, compacted: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        system = System(broker.bootstrap, Path(folder))
        try:
            create_topics(system.bootstrap, system.topics, partitions=partitions)
            written = 0
            for part in ledger.parts:
                written += sum(ledgers.write(system, partition, part(partition)) for partition in range(partitions))
                if compacted:
                    # Between two parts too: a tombstone goes with the second cleaning that comes upon it.
                    _wait_for_the_cleaner(broker, system)
            system.simulator.wait_until_ready()
            environment = system.environment(
                OTEL_SDK_DISABLED="true",
                WORKER_BACKLOG_LIMIT="1000000",
                WORKER_POLL_INITIAL_DELAY="60s",  # the polls of what is restored first would hold up the rest
                WORKER_POLL_MAX_DELAY="60s",
            )
            with _WatchedWorker("the worker", Path(folder) / "worker.log", environment) as worker:
                until(lambda: len(events(worker, "partition_restored")) == partitions, _TIMEOUT, worker.tail)
                told = len(events(worker, "heartbeat"))
                until(lambda: len(events(worker, "heartbeat")) > told, _TIMEOUT, worker.tail)
            restored, heartbeat = events(worker, "partition_restored"), events(worker, "heartbeat")[-1]
            assert [event["unfinished"] for event in restored] == [ledger.unfinished] * partitions
            records = sum(event["records"] for event in restored)
            assert records < written / 4 if compacted else records == written
            restore = max(seconds_to_restore(worker).values())
            held = (
                f"{heartbeat['held_ms']:>4.0f} ms {heartbeat['held_cpu_ms']:>3.0f} ms {heartbeat['peak_mib']:>4.0f} MiB"
            )
            print(f"{partitions} x {ledger.name:<46} {records // partitions:>8} {restore:>6.2f} s {held}", flush=True)
        finally:
            system.close()


def _wait_for_the_cleaner(broker: KafkaBroker, system: System) -> None:
    """Until nothing has changed on disk for three seconds: it has looked several times."""
    sizes: list[int] = []

    def at_rest() -> bool:
        logs = (broker.folder / "data").glob(f"{system.topics.state}-*/*.log")
        sizes.append(sum(log.stat().st_size for log in logs))
        return len(sizes) > _AT_REST and len(set(sizes[-_AT_REST:])) == 1

    until(at_rest, _TIMEOUT, lambda: str(sizes[-_AT_REST:]))


class _WatchedRuntime(Runtime):
    """Tells, ten times a second, how long the loop was held at most since the runtime began."""

    async def run(self) -> None:
        beating = asyncio.create_task(_beat())
        try:
            await super().run()
        finally:
            beating.cancel()


async def _beat() -> None:
    held = held_cpu = 0.0
    told_at = at = time.monotonic()
    cpu = time.thread_time()
    while True:
        await asyncio.sleep(_BEAT)
        now, used = time.monotonic(), time.thread_time()
        held, held_cpu = max(held, now - at), max(held_cpu, used - cpu)
        at, cpu = now, used
        if at > told_at + _TELL_EVERY:
            told_at = at
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            told = {"held_ms": held * 1e3, "held_cpu_ms": held_cpu * 1e3, "peak_mib": peak}
            print(orjson.dumps({"event": "heartbeat", **told}).decode(), flush=True)


def _run_watched() -> None:
    """In the worker process: the command as it is, with another runtime."""
    runtime.Runtime = _WatchedRuntime  # type: ignore[misc]
    terminal_worker()


if __name__ == "__main__":
    _run_watched() if sys.argv[1:] == ["run"] else main()
