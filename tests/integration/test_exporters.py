"""A collector that is down, slow or broken: the work goes on as if it were not there, and the log has a line for it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.support.requests import assert_promises_kept, request, terminals
from tests.support.spans import SpanSink
from tests.support.system import System
from tests.support.told import events
from tests.support.waiting import until
from worker.demo.process import free_ports

pytestmark = pytest.mark.kafka

_SLOW = 10.0


@contextmanager
def down(port: int) -> Iterator[None]:
    yield


@contextmanager
def slow(port: int) -> Iterator[None]:
    with SpanSink(port, delay=_SLOW):
        yield


@contextmanager
def broken(port: int) -> Iterator[None]:
    with SpanSink(port, status=500):
        yield


@pytest.mark.parametrize(("trouble", "why"), [(down, "ConnectionError"), (slow, "ReadTimeout"), (broken, "http_500")])
def test_a_collector_in_trouble_is_two_lines_of_the_log_and_nothing_to_the_work(
    system: System, trouble: Callable[[int], AbstractContextManager[None]], why: str
) -> None:
    (port,) = free_ports(1)
    requests = [request(terminal) for terminal in terminals(200) for _ in range(2)]
    with trouble(port):
        worker = system.start_ready_worker(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_TIMEOUT="5",
            OTEL_BSP_SCHEDULE_DELAY="50",
            OTEL_METRICS_EXPORTER="none",
        )
        system.send(requests)
        assert_promises_kept(requests, system.outcomes_of(requests))
        until(lambda: events(worker, "telemetry_not_taken"), 30, worker.tail)
    with SpanSink(port) as sink:
        system.send([request("P11223351-T9000")])  # the spans of the others may all be lost by now
        until(lambda: events(worker, "telemetry_taken_again"), 30, worker.tail)
        until(lambda: sink.spans, 15)
        worker.terminate()
        assert worker.wait() == 0
    told = [(line["event"], line.get("why")) for line in events(worker, "telemetry_not_taken", "telemetry_taken_again")]
    assert told[:2] == [("telemetry_not_taken", why), ("telemetry_taken_again", None)]
    # The end of a slow collector may cut a connection of its successor's time: once, and then all is well.
    assert [event for event, _ in told] == ["telemetry_not_taken", "telemetry_taken_again"] * (len(told) // 2)
    assert len(told) <= 4
    assert not [line for line in worker.log.read_text().splitlines() if "opentelemetry" in line or "Traceback" in line]


def test_a_worker_ends_in_time_and_in_peace_while_its_collector_is_silent(system: System) -> None:
    with SpanSink(delay=60.0) as sink:
        worker = system.start_ready_worker(OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_BSP_SCHEDULE_DELAY="50")
        requests = [request(terminal) for terminal in terminals(20)]
        system.send(requests)
        system.outcomes_of(requests)
        worker.terminate()
        assert worker.wait() == 0
    assert "Traceback" not in worker.log.read_text()
