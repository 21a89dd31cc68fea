"""One run: load and faults for a time, then peace until everything has ended, then the verdict."""

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.faults import Attack, Stage
from tests.chaos.load import Load
from tests.chaos.plan import plan
from tests.chaos.verdict import judge
from tests.chaos.watch import Progress, complaints, events
from tests.support.records import Message, read_until
from tests.support.requests import message_ids
from tests.support.system import System
from worker.demo.broker import KafkaBroker

_SETTINGS = {
    "WORKER_SHUTDOWN_TIMEOUT": "5s",
    "DINTERO_REQUEST_TIMEOUT": "3s",
    "OTEL_SDK_DISABLED": "true",
}

# Kafka 4.3 takes a partition that has no leader for a deleted one: it drops the markers of a transaction, so what was
# committed is aborted later, or the other way round. A broker that is the only one has no leader while it comes back.
_SKIPPED = "Couldn't find leader endpoint for partitions"


@dataclass(slots=True)
class Report:
    """The figures of a run. It was a good one when `violations` is empty."""

    violations: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    """Promises that broke where the broker itself says that it dropped the end of a transaction."""
    figures: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{name:<26} {value}" for name, value in self.figures.items()]
        lines += [f"EXCUSED, the broker skipped a transaction's markers: {line}" for line in self.excused]
        return "\n".join(lines + [f"BROKEN: {violation}" for violation in self.violations])


def run(
    system: System,
    broker: KafkaBroker,
    *,
    seed: int,
    seconds: float,
    requests: int,
    faults: Sequence[str],
    workers: int,
    patience: float = 90.0,
) -> Report:
    """Topics must be there. After the faults, everything must end within `patience` seconds."""
    system.simulator.wait_until_ready()
    system.simulator.change({"completion_min": 0.1, "completion_max": 1.0, "fail_rate": 0.03, "timeout_rate": 0.03})
    stage = Stage(system, broker, workers, _SETTINGS)
    for worker in stage.workers:
        worker.wait_until_ready()
    load = Load(system.bootstrap, system.topics.requests, count=requests, seconds=seconds, seed=seed)
    progress = Progress(system.bootstrap, system.topics.outcomes)
    attack = Attack(stage, plan(seed, seconds, faults))
    began = time.monotonic()
    try:
        while not attack.over or time.monotonic() - began < seconds:
            now = time.monotonic() - began
            load.step(now)
            attack.step(now)
            progress.step()
        peace = time.monotonic()
        load.finish(30)
        asked = _requests(system, load.sent.delivered)
        wanted = set(message_ids(asked))
        while not wanted <= progress.final and time.monotonic() - peace < patience:
            progress.step()
        recovered = time.monotonic() - peace
    finally:
        progress.close()
    return _report(stage, asked, progress, recovered)


def _requests(system: System, count: int) -> list[Message]:
    return read_until(system.bootstrap, system.topics.requests, lambda found: len(found) >= count)


def _report(stage: Stage, asked: list[Message], progress: Progress, recovered: float) -> Report:
    system = stage.system
    memory = [_memory(worker.get("/status")) for worker in stage.workers]
    # All final ones are there, or never will be: what is read is what was committed by now.
    count = len(progress.final)
    outcomes = _outcomes(system, count)
    verdict = judge(asked, outcomes, system.executions(), system.counters())
    asked_at = time.monotonic()
    for worker in stage.workers:
        worker.terminate()
    for worker in stage.workers:
        for _ in stage.leaving(worker, asked_at):
            time.sleep(0.05)
    logs = [process.log for process in system.processes]
    told = events(logs)
    skipped = stage.broker.log.read_text(errors="replace").count(_SKIPPED)
    report = Report(stage.violations + complaints(logs))
    (report.excused if skipped else report.violations).extend(verdict.violations)
    report.figures = {
        "requests": f"{len(set(message_ids(asked)))} in {len(asked)} records",
        "ended": dict(verdict.finals),
        "faults": dict(stage.done),
        "longest without progress": f"{progress.longest_gap:.1f} s, until {progress.longest_gap_ended:.0f} s",
        "all ended after the faults": f"{recovered:.1f} s",
        "slowest exit on SIGTERM": f"{max(stage.exits, default=0.0):.1f} s",
        "workers said": dict(told),
        "markers the broker skipped": skipped,
        "most memory of a worker": f"{max(memory, default=0)} MiB",
    }
    return report


def _outcomes(system: System, finals: int) -> list[Message]:
    """Everything committed: read until as many ended as were seen, and then until nothing more comes."""
    quiet: Counter[int] = Counter()

    def done(found: list[Message]) -> bool:
        quiet[len(found)] += 1
        return len(found) >= finals and quiet[len(found)] > 20

    return read_until(system.bootstrap, system.topics.outcomes, done)


def _memory(status: dict[str, dict[str, int]] | None) -> int:
    if status is None:
        return 0
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path(f"/proc/{status['worker']['pid']}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
    return 0
