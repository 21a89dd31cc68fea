"""One run: load and faults for a time, then peace until everything has ended, then the verdict."""

import time
from collections.abc import Sequence

from tests.chaos import logs
from tests.chaos.arena import Arena
from tests.chaos.faults import Attack
from tests.chaos.load import Load
from tests.chaos.plan import plan
from tests.chaos.report import Report, spread
from tests.chaos.stage import Stage
from tests.chaos.stored import Stored, read_all
from tests.chaos.verdict import Book, judge
from tests.chaos.watch import Progress, Usage

_PAGES = ("/", "/metrics", "/status")
_READY = 60.0
_FLUSH = 30.0
_LONGEST_PEACE = 900.0


def run(
    arena: Arena, *, seed: int, seconds: float, requests: int, faults: Sequence[str], workers: int, patience: float
) -> Report:
    """The arena must be prepared. After the faults everything must end, with never `patience` seconds of silence.

    On a slow machine that may take long: as long as outcomes come, nothing is lost.
    """
    bootstrap, topics = arena.bootstrap, arena.topics
    stage, usage = Stage(arena, workers), Usage()
    progress = Progress(bootstrap, topics.outcomes)
    try:
        for worker in stage.workers.values():
            worker.wait_until_ready(_READY)
        load = Load(bootstrap, topics.requests, count=requests, seconds=seconds, seed=seed, delivered=progress.asked)
        attack = Attack(stage, plan(seed, seconds, faults), progress.healed)
        began = time.monotonic()
        while not attack.over or time.monotonic() - began < seconds:
            now = time.monotonic() - began
            load.step(now)
            attack.step(now)
            progress.step()
            usage.step([stage.workers[place] for place in stage.free()])
        peace = time.monotonic()
        load.finish(_FLUSH)
        while progress.unfinished and (at_peace := time.monotonic() - peace) < _LONGEST_PEACE:
            if min(progress.silence, at_peace) > patience:
                break
            progress.step()
            usage.step(list(stage.workers.values()))
        ended = time.monotonic()
        pages = [(f"{w.name} {page}", str(w.get(page)).encode()) for w in stage.workers.values() for page in _PAGES]
        for _ in stage.leaving(list(stage.workers)):
            time.sleep(0.05)
    finally:
        progress.close()
        stage.close()
    report = Report(stage.violations, figures=_course(stage, progress) | usage.figures())
    report.figures["all ended after the faults"] = f"{ended - peace:.1f} s"
    report.figures["requests a second"] = round(len(progress.final) / (ended - began), 1)
    _add_verdict(report, arena)
    _add_logs(report, arena, pages)
    return report


def _course(stage: Stage, progress: Progress) -> dict[str, object]:
    return {
        "faults": dict(stage.done),
        "from a fault's end": {kind: spread(found) for kind, found in sorted(progress.recoveries.items())},
        "longest wait of a partition": {number: f"{gap:.1f} s" for number, gap in sorted(progress.gaps.items())},
        "slowest exit on SIGTERM": f"{max(stage.exits, default=0.0):.1f} s",
    }


def _add_verdict(report: Report, arena: Arena) -> None:
    """All workers have left: what is read now is all there will ever be."""
    bootstrap, topics = arena.bootstrap, arena.topics
    requests, outcomes = read_all(bootstrap, topics.requests), read_all(bootstrap, topics.outcomes)
    attempts = read_all(bootstrap, topics.outcomes, committed=False)
    written = _written(read_all(bootstrap, topics.state, committed=False), attempts)
    partition_of = {found.message_id: found.partition for found in requests}
    skipped = logs.skipped(arena.cluster.logs)
    damaged: set[str] = set()
    if arena.cluster.copies == 1:
        damaged = logs.damaged(skipped, written, partition_of)
    else:
        report.violations += [f"a broker skipped the markers of {one.transactional_id}" for one in skipped]
    book = Book(arena.executions(), arena.counters()["overlaps"])
    verdict = judge([found.message for found in requests], [found.message for found in outcomes], book, damaged)
    report.violations += verdict.violations
    report.excused += verdict.excused
    created = sum(found.message.json()["status"] == "created" for found in outcomes)
    report.figures |= {
        "requests": f"{len(partition_of)} in {len(requests)} records",
        "outcomes": {"created": created, **dict(verdict.finals)},
        "finals published again": len(outcomes) - created - verdict.finals.total(),
        "published, and aborted": len(attempts) - len(outcomes),
        "executions, overlaps": f"{sum(book.executions.values())}, {book.overlaps}",
        "markers a broker skipped": len(skipped),
        "message IDs they may damage": len(damaged),
    }


def _add_logs(report: Report, arena: Arena, pages: list[tuple[str, bytes]]) -> None:
    written = [process.log for process in arena.processes]
    texts = [(log.name, log.read_bytes()) for log in written] + pages
    for topic in (arena.topics.outcomes, arena.topics.dead_letters, arena.topics.state):
        texts += [(f"a record of {topic}", found.raw) for found in read_all(arena.bootstrap, topic, committed=False)]
    report.violations += logs.complaints(written) + logs.leaks(texts)
    report.figures |= {"workers said": dict(logs.events(written)), "aiokafka forgot": logs.noise(written)}


def _written(ledger: list[Stored], attempts: list[Stored]) -> list[tuple[str, float]]:
    """Message IDs are UUIDs here, so they are the idempotency keys too, and the keys of the ledger."""
    written = [((found.message.key or b"").decode(), found.written_at) for found in ledger]
    return written + [(found.message.json()["message_id"], found.written_at) for found in attempts]
