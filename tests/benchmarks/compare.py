"""The worker beside other ways to do the same, in one run: real Kafka, a fast stand-in for the API, each in turns.

    python -m tests.benchmarks.compare [--peers] [--count 10000] [--seconds 5] [--rounds 3] [--seed 1] [--out FOLDER]

The worker, the floor program and FastStream; with `--peers` also Bento, built by Go, and Parallel Consumer, by Maven.
`lifecycle` is a create, a poll half a second later and two outcomes; `create` ends with `created`: the operation stays
PENDING, and nothing is polled. Every program gets a process, topics and an API of its own, `count` requests at once to
warm up and again to be measured, and then steady rates it can keep up with, for so many seconds each. Prints medians
over the rounds, and the least and the most; writes every figure as JSON, and the medians as a picture.
"""

import argparse
import os
import platform
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.peers import report
from tests.benchmarks.peers.load import Load, cost, percentile, warm
from tests.benchmarks.peers.programs import (
    BENTO,
    FASTSTREAM,
    FLOOR,
    PARALLEL_CONSUMER,
    WORKER,
    Mode,
    NotBuiltError,
    Program,
    Running,
    build_api,
    environment,
    start_api,
)
from tests.benchmarks.peers.report import Latency, Result
from tests.support.topics import create_topics, named_topics
from worker.demo.broker import KafkaBroker
from worker.demo.process import ProcessFailedError

RATES = (50, 200, 800)
"""Requests a second."""
_KEEPS_UP = 0.8
"""Of its speed at full load: a program is asked no more, since its queue alone would be measured."""
_LEAST = 20
"""Requests of one load."""
_RESULTS = Path(__file__).parent / "results"


class Run(NamedTuple):
    program: Program
    command: list[str]
    mode: Mode


class Stage(NamedTuple):
    """Where every run takes place."""

    bootstrap: str
    folder: Path
    api: list[str]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compare")
    parser.add_argument("--peers", action="store_true", help="Bento and Parallel Consumer too")
    parser.add_argument("--count", type=int, default=10_000, help="requests at full load; a tenth for a slow program")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each steady rate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="of the order")
    parser.add_argument("--out", type=Path, default=_RESULTS, help="folder of the results")
    asked = parser.parse_args(arguments)
    programs = [WORKER, FLOOR, FASTSTREAM, *((BENTO, PARALLEL_CONSUMER) if asked.peers else ())]
    with KafkaBroker() as broker:
        results = compare(broker.bootstrap, programs, asked.count, asked.seconds, asked.rounds, asked.seed)
    about = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: getattr(asked, name) for name in ("count", "seconds", "rounds", "seed")},
    }
    report.write(results, asked.out, about)
    print(report.table(results))


def compare(
    bootstrap: str, programs: Sequence[Program], count: int, seconds: float, rounds: int, seed: int
) -> list[Result]:
    """Every figure of every round. What cannot be built or fails is told of, and left out."""
    results: list[Result] = []
    order = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        folder = Path(name)
        runs = list(_built(programs, folder))
        stage = Stage(bootstrap, folder, build_api(folder))
        warm(bootstrap)
        for number in range(1, rounds + 1):
            for run in order.sample(runs, len(runs)):
                try:
                    for result in _measure(stage, run, number, count, seconds):
                        print(f"round {number} of {rounds}  {result}", file=sys.stderr, flush=True)
                        results.append(result)
                except ProcessFailedError as error:
                    print(error, file=sys.stderr)
    return results


def _built(programs: Sequence[Program], folder: Path) -> Iterator[Run]:
    for program in programs:
        try:
            command = program.build(folder)
        except NotBuiltError as error:
            print(f"{program.name} is left out: {error}", file=sys.stderr)
        else:
            yield from (Run(program, command, mode) for mode in program.modes)


def _measure(stage: Stage, run: Run, number: int, count: int, seconds: float) -> Iterator[Result]:
    """A process, topics and an API of its own: at full load first, then at each rate that it keeps up with."""
    topics = named_topics()
    create_topics(stage.bootstrap, topics)
    lifecycle = run.mode == "lifecycle"
    requests = max(_LEAST, int(count * run.program.share))
    api, address = start_api(stage.api, stage.folder / f"{topics.outcomes}.log")
    with (
        api,
        Running(
            run.program.name,
            run.command,
            stage.folder / f"{topics.requests}.log",
            environment(stage.bootstrap, topics, address, lifecycle=lifecycle),
        ) as process,
        Load(stage.bootstrap, topics, process, lifecycle=lifecycle) as load,
    ):
        load.run(requests)  # warm: connections, caches, compilers
        full = _one(load, api, process, Result(run.program.name, run.mode, report.FULL, number, requests))
        yield full
        for rate in RATES:
            if rate <= full.a_second * _KEEPS_UP:
                sent = max(_LEAST, int(rate * seconds))
                asked = Result(run.program.name, run.mode, f"{rate}/s", number, sent)
                yield _one(load, api, process, asked, rate)


def _one(load: Load, api: Running, process: Running, asked: Result, rate: float | None = None) -> Result:
    before, api_before = cost(process.pid), cost(api.pid)
    timed = load.run(asked.requests, rate)
    after, api_after = cost(process.pid), cost(api.pid)
    measured = asked._replace(
        a_second=timed.a_second,
        cpu_us=(after.cpu - before.cpu) / asked.requests * 1e6,
        api_cpu_us=(api_after.cpu - api_before.cpu) / asked.requests * 1e6,
        peak_mib=after.peak_mib,
    )
    if rate is None:
        return measured  # a queue's length is no latency
    created, completed = timed.to_created, timed.to_completed
    return measured._replace(
        created_ms=Latency(percentile(created, 50) * 1e3, percentile(created, 99) * 1e3),
        completed_ms=Latency(percentile(completed, 50) * 1e3, percentile(completed, 99) * 1e3) if completed else None,
    )


if __name__ == "__main__":
    main()
