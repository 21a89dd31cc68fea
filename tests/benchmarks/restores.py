"""How long a worker needs to take up its partitions: real Kafka, one worker process, four ledgers written beforehand.

    python -m tests.benchmarks.restores

Times are the worker's own, from its log: from the assignment of the partitions to the restore of each, the last one
shown. `/livez` is asked without pause meanwhile: its slowest answer bounds how long the event loop stood still.
Memory is the process's peak until a second after it was ready, its polls of restored operations included.
"""

import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.support import ledgers
from tests.support.system import System
from tests.support.told import events, memory_mib, seconds_to_restore
from tests.support.topics import create_topics
from tests.support.waiting import until
from worker.demo.broker import KafkaBroker
from worker.demo.process import WorkerProcess
from worker.domain.commit import Commit

_PARTITIONS = 4
_TIMEOUT = 120.0
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


def main() -> None:
    print(f"{'each of 4 ledgers':<45} {'records':>8} {'restore':>8} {'standstill':>10} {'peak':>8}")
    with KafkaBroker() as broker:
        for ledger in (*_LEDGERS, _TOMBSTONES):
            _measure(broker, ledger, compacted=False)
    cleaning = KafkaBroker()
    cleaning.properties.update(_EAGER_CLEANER)
    with cleaning as broker:
        _measure(broker, _TOMBSTONES._replace(name=f"{_TOMBSTONES.name}, compacted"), compacted=True)


def _measure(broker: KafkaBroker, ledger: _Ledger, *, compacted: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        system = System(broker.bootstrap, Path(folder))
        try:
            create_topics(system.bootstrap, system.topics, partitions=_PARTITIONS)
            written = 0
            for part in ledger.parts:
                written += sum(ledgers.write(system, partition, part(partition)) for partition in range(_PARTITIONS))
                if compacted:
                    # Between two parts too: a tombstone goes with the second cleaning that comes upon it.
                    _wait_for_the_cleaner(broker, system)
            system.simulator.wait_until_ready()
            worker = system.start_worker(
                OTEL_SDK_DISABLED="true",
                WORKER_BACKLOG_LIMIT="1000000",
                WORKER_POLL_INITIAL_DELAY="2s",
                WORKER_POLL_MAX_DELAY="30s",
            )
            worker.wait_until_answers("/livez", _TIMEOUT)
            standstill = _slowest_answer(worker)
            restored = events(worker, "partition_restored")
            assert [event["unfinished"] for event in restored] == [ledger.unfinished] * _PARTITIONS
            records = sum(event["records"] for event in restored)
            assert records < written / 4 if compacted else records == written
            restore, peak = max(seconds_to_restore(worker).values()), memory_mib(worker)
            shown = f"{records // _PARTITIONS:>8} {restore:>6.2f} s {standstill * 1e3:>7.0f} ms {peak:>4.0f} MiB"
            print(f"{ledger.name:<45} {shown}", flush=True)
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


def _slowest_answer(worker: WorkerProcess) -> float:
    """Seconds that `/livez` took at most, until the worker is ready and for a second more."""
    slowest, deadline, ready_at = 0.0, time.monotonic() + _TIMEOUT, float("inf")
    with httpx.Client(base_url=worker.url, timeout=_TIMEOUT, trust_env=False) as client:
        while time.monotonic() < ready_at + 1.0:
            assert time.monotonic() < deadline, worker.tail()
            began = time.monotonic()
            client.get("/livez").raise_for_status()
            slowest = max(slowest, time.monotonic() - began)
            if ready_at == float("inf") and client.get("/readyz").is_success:
                ready_at = time.monotonic()
            time.sleep(0.005)
    return slowest


if __name__ == "__main__":
    main()
