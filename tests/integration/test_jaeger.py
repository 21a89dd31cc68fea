"""A request's trace in a real backend. `WITH_JAEGER=1` asks for it; the first time, Go builds Jaeger for minutes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import tools
from tests.support import jaeger
from tests.support.jaeger import Jaeger
from tests.support.system import System
from tests.support.traces import TRACE, assert_one_trace, start_pending, traced_request
from tests.support.waiting import until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(os.environ.get("WITH_JAEGER") != "1", reason="WITH_JAEGER=1 asks for a real Jaeger"),
]


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Jaeger]:
    tools.require(jaeger.install)
    with Jaeger(tmp_path / "jaeger.log") as backend:
        backend.wait_until_ready()
        yield backend


def test_jaeger_shows_a_request_as_one_trace_over_a_killed_worker(system: System, backend: Jaeger) -> None:
    telemetry = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    sent = traced_request("P11223351-T0001")
    first = start_pending(system, sent, telemetry)
    until(lambda: len(backend.trace(TRACE)) >= 4, 15)  # process, commit, POST, send created
    first.kill()
    system.start_worker(**telemetry)
    outcomes = system.outcomes_of([sent])
    completed = "terminal.operation.completed.v1"
    until(lambda: any(span.attributes.get("cloudevents.event_type") == completed for span in backend.trace(TRACE)), 15)
    assert_one_trace(system, sent, outcomes, backend.trace(TRACE))
    message_id = {"messaging.message.id": sent.header("ce_id") or ""}
    assert backend.found("terminal-operations-worker", message_id) == {TRACE}
