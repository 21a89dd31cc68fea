"""What tracing costs a request: no tracing, a request that is not sampled, one that is and whose spans are sent. And
what a line of the log costs.

    python -m tests.benchmarks.tracing

A lifecycle is `process`, `POST`, `send`, `GET`, `send`; the last row has a commit for each request too, as an idle
worker has. CPU of this process, its exporter's thread included, in turns, the least of several: the machine is shared.
The spans are sent by OTLP over loopback to a collector in another process.
"""

import asyncio
import logging
import multiprocessing
import os
import time
import timeit
from collections.abc import Callable
from contextlib import redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path

import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.support.spans import SpanSink
from worker.cli.run import spare_the_collector
from worker.domain.outcome import OutcomeType, about
from worker.domain.request import Request
from worker.telemetry import logs
from worker.telemetry.exporter import Exporter
from worker.telemetry.recording import RecordedTracing
from worker.telemetry.session import Session
from worker.telemetry.tracing import Tracing

_TURNS = 12
_LIFECYCLES = 400
# As many spans as fit the exporter's queue.
_FLUSHED_AFTER = 100

_KEY = "0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44"
_URL = "https://checkout.dintero.com/v1/admin/terminals/operations"
_NAMES = {
    "requests_topic": "terminal-operations.requests",
    "outcomes_topic": "terminal-operations.outcomes",
    "group_id": "terminal-operations-worker",
    "event_source": "/terminal-operations-worker",
}


def _request(flags: str) -> Request:
    traceparent = f"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"
    return Request(_KEY, _KEY, "ab" * 16, "P11223351-T0013", "end_of_day", None, None, _KEY, 0, 5, traceparent)


def _lifecycle(tracing: Tracing, request: Request, *, commit: bool = False) -> None:
    span, told = tracing.process(request, 3)
    assert isinstance(told, Request)
    if commit:
        tracing.settle([span], 3).end()
    span.end()
    for method, url, outcome in (
        ("POST", _URL, OutcomeType.CREATED),
        ("GET", f"{_URL}?operation_id={_KEY}", OutcomeType.COMPLETED),
    ):
        tracing.attempt(method, url, told.traceparent, told.tracestate, 0).end(200)
        tracing.publish(about(told, outcome, 0, None, _KEY)).end()


def main() -> None:
    ours, theirs = multiprocessing.Pipe()
    collector = multiprocessing.get_context("spawn").Process(target=_collect, args=(theirs,))
    collector.start()
    try:
        endpoint = f"{ours.recv()}/v1/traces"
        provider = TracerProvider(shutdown_on_exit=False)
        processor = BatchSpanProcessor(Exporter(endpoint=endpoint, session=Session("TRACES")))
        recorded = RecordedTracing(provider, processor, **_NAMES)
        _print(_measured(processor, recorded))
        asyncio.run(recorded.stop(10))
        print(f"{'a line of the log':<28} {_line():>8.1f}")
    finally:
        ours.send("end")
        collector.join(10)


def _measured(processor: BatchSpanProcessor, recorded: Tracing) -> dict[str, float]:
    spare_the_collector()
    ways: dict[str, Callable[[], None]] = {
        "none": lambda: _lifecycle(Tracing(), _request("01")),
        "not sampled": lambda: _lifecycle(recorded, _request("00")),
        "sampled, sent: 5 spans": lambda: _lifecycle(recorded, _request("01")),
        "and a commit each: 6 spans": lambda: _lifecycle(recorded, _request("01"), commit=True),
    }
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(_TURNS):
        for name, way in ways.items():
            began = time.process_time()
            for number in range(1, _LIFECYCLES + 1):
                way()
                if number % _FLUSHED_AFTER == 0:
                    processor.force_flush()
            least[name] = min(least[name], (time.process_time() - began) / _LIFECYCLES * 1e6)
    return least


def _line() -> float:
    """The longest of those that a request has, as JSON."""
    with Path(os.devnull).open("w") as nowhere:
        with redirect_stdout(nowhere):
            logs.configure("info", "json")
        log = structlog.wrap_logger(logging.getLogger("worker.engine"))

        def outcome() -> None:
            log.info(
                "outcome_published",
                status="completed",
                reason=None,
                message_id=_KEY,
                idempotency_key=_KEY,
                terminal_id="P11223351-T0013",
                operation_id=_KEY,
                partition=3,
                **logs.traced(_request("01").traceparent),
            )

        times = timeit.repeat(outcome, number=_LIFECYCLES, repeat=_TURNS, timer=time.process_time)
    return min(times) / _LIFECYCLES * 1e6


def _print(costs: dict[str, float]) -> None:
    print(f"{'a lifecycle':<28} {'us CPU':>8} {'of it tracing':>14}")
    for name, cost in costs.items():
        print(f"{name:<28} {cost:>8.1f} {cost - costs['none']:>14.1f}")


def _collect(told: Connection) -> None:
    with SpanSink() as sink:
        told.send(sink.url)
        told.recv()


if __name__ == "__main__":
    main()
