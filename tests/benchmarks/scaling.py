"""What more workers bring, and what a change of their number costs: real Kafka, the simulator, a process for each pod.

    python -m tests.benchmarks.scaling [rates] [steps] [stuck] [night]

`rates`: lifecycles a second by partitions and workers. A worker may have ten calls out, of 100 ms each, so that the
API's time is the limit and not the cores that all share: 50 lifecycles of a create and a poll. `steps`: 1, 8 and 2
workers under load. `stuck`: a terminal that never ends its operation, and what the others notice. `night`: 10,000
terminals at once. `model` is what `night.py` expects; CPU is user and system.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

from tests.benchmarks.load import TIMEOUT, Load, Used, running
from tests.benchmarks.night import Night, simulate
from tests.support.requests import request
from tests.support.system import System
from tests.support.told import memory_mib, seconds_to_restore
from tests.support.topics import create_topics
from tests.support.waiting import until
from worker.demo.broker import KafkaBroker
from worker.demo.process import WorkerProcess
from worker.domain.policy import Policy

_SLOW = Night(
    requests=0,
    workers=0,
    latency=0.1,
    operation=(0.3, 0.3),
    in_flight=10,
    policy=Policy(poll_initial_delay=1_000, poll_max_delay=2_000),
)
"""Answers of 100 ms, and one poll for each request: 50 lifecycles a second and worker."""


def rates(broker: KafkaBroker) -> None:
    print("partitions workers lifecycles/s  times  model  CPU us each: workers broker  commits/s")
    for partitions in (4, 8, 12):
        one = 0.0
        with _system(broker, partitions, _SLOW) as system:
            for count in (1, 2, 4, 8):
                while len(system.processes) <= count:  # the simulator is one too
                    _start(system, _SLOW)
                workers = _balanced(system, partitions)
                size = 500 * min(count, partitions)
                load, used, began = Load(system), Used(workers), time.monotonic()
                load.send(size)
                load.finish()
                seconds, (cpu, broker_cpu, commits) = time.monotonic() - began, used()
                rate = size / seconds
                one = one or rate
                model = size / simulate(replace(_SLOW, requests=size, workers=count, partitions=partitions)).drained
                print(
                    f"{partitions:>10} {count:>7} {rate:>12.0f} {rate / one:>6.2f} {model:>6.0f} "
                    f"{cpu / size * 1e6:>21.0f} {broker_cpu / size * 1e6:>6.0f} {commits / seconds:>10.0f}",
                    flush=True,
                )
            _assert_once(system)


def steps(broker: KafkaBroker) -> None:
    with _system(broker, 12, _SLOW) as system:
        _start(system, _SLOW)
        workers = _balanced(system, 12)
        load, marks, owned = Load(system), [("1", time.monotonic())], []
        with running(80.0, load):
            time.sleep(15)
            marks.append(("1 -> 8", time.monotonic()))
            for _ in range(7):
                _start(system, _SLOW)
            workers = _balanced(system, 12)
            owned.append(sorted(map(len, map(_owned, workers))))
            marks.append(("8", time.monotonic()))
            time.sleep(15)
            marks.append(("8 -> 2", time.monotonic()))
            for leaving in workers[:6]:
                leaving.terminate()
            assert [leaving.wait(60) for leaving in workers[:6]] == [0] * 6
            workers = _balanced(system, 12)
            owned.append(sorted(map(len, map(_owned, workers))))
            marks.append(("2", time.monotonic()))
            time.sleep(15)
        marks.append(("", time.monotonic()))
        _tell(load, marks)
        print(f"requests {len(load.sent)}, each final once; partitions of each worker {owned}")
        every = [each for each in system.processes if isinstance(each, WorkerProcess)]
        for name, some in (("by the seven that came", every[1:]), ("by the two that stayed", every[6:])):
            took = [seconds for worker in some for seconds in seconds_to_restore(worker).values()]
            print(f"restores {name}: p50 {statistics.median(took):.2f} s, at most {max(took):.2f} s")
        _assert_once(system)


def stuck(broker: KafkaBroker) -> None:
    with _system(broker, 4, _SLOW) as free, _system(broker, 4, _SLOW) as held:
        for system in (free, held):
            _start(system, _SLOW)
            _balanced(system, 4)
        held.simulator.change({"completion_min": 3600.0, "completion_max": 3600.0})
        held.send([request("P11223351-STUCK") for _ in range(200)])
        until(lambda: held.counters()["executions"] == 1, TIMEOUT)
        held.simulator.change({"completion_min": _SLOW.operation[0], "completion_max": _SLOW.operation[1]})
        loads = {"all end": Load(free), "one does not": Load(held)}
        with running(30.0, *loads.values()):
            time.sleep(60)
        print("   terminals requests  to `created`: p50, p99, at most   to the end: p50, p99, at most")
        for name, load in loads.items():
            print(f"{name:>12} {len(load.sent):>8} {load.told(load.created):>32} {load.told(load.final):>31}")


def night(broker: KafkaBroker) -> None:
    expected = Night(requests=10_000, workers=2)
    with _system(broker, expected.partitions, expected) as system:
        for _ in range(expected.workers):
            _start(system, expected)
        workers = _balanced(system, expected.partitions)
        load, used = Load(system), Used(workers)
        began = time.monotonic()
        calls = [(began, _calls(system))]
        load.send(expected.requests)
        while len(load.final) < expected.requests:
            load.read()
            if time.monotonic() > calls[-1][0] + 1.0:
                calls.append((time.monotonic(), _calls(system)))
                assert calls[-1][0] < began + TIMEOUT, f"{len(load.final)} are final"
        load.finish()
        drained, (cpu, broker_cpu, commits) = max(load.final.values()) - began, used()
        model = simulate(expected)
        for name, seen, modelled in (
            ("created, s", max(load.created.values()) - began, model.created),
            ("drained, s", drained, model.drained),
            (
                "calls each",
                (calls[-1][1] - calls[0][1]) / expected.requests,
                (model.creates + model.polls) / expected.requests,
            ),
            ("calls/s, at most", max((b - a) / (then - now) for (now, a), (then, b) in pairwise(calls)), model.peak),
            ("CPU of a worker, %", 100 * cpu / expected.workers / drained, 100 * model.busiest),
        ):
            print(f"{name:<24} {seen:>8.1f}   model {modelled:>8.1f}")
        for name, seen in (
            ("worker CPU each, us", cpu / expected.requests * 1e6),
            ("broker CPU each, us", broker_cpu / expected.requests * 1e6),
            ("commits each", commits / expected.requests),
            ("memory of a worker, MiB", max(map(memory_mib, workers))),
            *((f"bytes each, {topic}", size / expected.requests) for topic, size in _stored(broker, system).items()),
        ):
            print(f"{name:<24} {seen:>8.2f}")
        _assert_once(system)


def _tell(load: Load, marks: Sequence[tuple[str, float]]) -> None:
    """What went on from each mark to the next."""
    print("workers      for  final/s  to `created`: p50, p99, at most   to the end: p50, p99, at most")
    for (name, since), (_, before) in pairwise(marks):
        finals = sum(since <= at < before for at in load.final.values())
        print(
            f"{name:>7} {before - since:>6.1f} s {finals / (before - since):>8.0f} "
            f"{load.told(load.created, since, before):>32} {load.told(load.final, since, before):>31}"
        )


@contextmanager
def _system(broker: KafkaBroker, partitions: int, night: Night) -> Iterator[System]:
    with tempfile.TemporaryDirectory() as folder:
        system = System(broker.bootstrap, Path(folder))
        try:
            create_topics(system.bootstrap, system.topics, partitions=partitions)
            system.simulator.wait_until_ready()
            shortest, longest = night.operation
            system.simulator.change(
                {"latency": night.latency, "completion_min": shortest, "completion_max": longest, "busy": True}
            )
            yield system
        finally:
            system.close()


def _start(system: System, night: Night) -> None:
    system.start_worker(
        DINTERO_MAX_IN_FLIGHT=str(night.in_flight),
        WORKER_POLL_INITIAL_DELAY=f"{night.policy.poll_initial_delay}ms",
        WORKER_POLL_MAX_DELAY=f"{night.policy.poll_max_delay}ms",
        OTEL_TRACES_SAMPLER="always_off",
    )


def _balanced(system: System, partitions: int) -> list[WorkerProcess]:
    """The workers that run, once they own the partitions evenly and work on all of them."""
    workers = [each for each in system.processes if isinstance(each, WorkerProcess) and each.running]
    least, more = divmod(partitions, len(workers))
    even = sorted([least + 1] * more + [least] * (len(workers) - more))
    until(lambda: sorted(len(_owned(worker)) for worker in workers) == even, TIMEOUT)
    return workers


def _owned(worker: WorkerProcess) -> list[int]:
    status = worker.get("/status") or {"partitions": []}
    return [each["partition"] for each in status["partitions"] if each["state"] == "running"]


def _calls(system: System) -> int:
    """Of the API, so far. Asked again where the machine is too busy for an answer in time."""
    return int(until(system.counters, TIMEOUT)["requests"])


def _stored(broker: KafkaBroker, system: System) -> dict[str, int]:
    """Bytes in the topics' logs, one replica."""
    topics = {**asdict(system.topics), "transactions": "__transaction_state"}
    logs = broker.folder / "data"
    return {name: sum(log.stat().st_size for log in logs.glob(f"{topic}-*/*.log")) for name, topic in topics.items()}


def _assert_once(system: System) -> None:
    counters = system.counters()
    assert counters["executed_twice"] == [], counters
    assert counters["overlaps"] == 0, counters


_SEEN = {"rates": rates, "steps": steps, "stuck": stuck, "night": night}


def main() -> None:
    with KafkaBroker() as broker:
        for name in sys.argv[1:] or _SEEN:
            _SEEN[name](broker)


if __name__ == "__main__":
    main()
