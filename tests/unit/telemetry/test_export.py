"""The way out: whether there is one, as whom, and what is told of a collector that does not take what it is sent."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from structlog.testing import capture_logs

from tests.support.spans import SpanSink
from tests.unit.telemetry.traced import NAMES, OUTCOME, URL
from worker.demo.process import clean_environment
from worker.telemetry import export, tracing
from worker.telemetry import session as collector
from worker.telemetry.recording import RecordedTracing
from worker.telemetry.session import Session


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    # Nothing listens on port 9, and a refused connection is quick.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    return monkeypatch


async def test_spans_are_recorded_where_an_endpoint_asks_for_them_and_a_silent_one_is_left_in_time(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with SpanSink(delay=60) as sink:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
        built = tracing.build_tracing(export.resource("1"), **NAMES)
        assert isinstance(built, RecordedTracing)
        built.attempt("GET", URL, None, None, 0).end(200)
        async with asyncio.timeout(10):
            await built.stop(0.2)


# All that `terminal-worker run` loads before it looks for brokers.
_BUILT = """
import os, sys
import worker.cli.commands
from worker.runtime import Runtime
from worker.settings import load
Runtime(load(os.environ))
print(sorted({"requests", "opentelemetry.exporter.otlp", "google.protobuf"} & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("exporters", "imported"),
    [
        ({}, []),
        *(
            (
                {f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT": "http://127.0.0.1:9"},
                ["google.protobuf", "opentelemetry.exporter.otlp", "requests"],
            )
            for signal in ("TRACES", "METRICS")
        ),
    ],
    ids=["none", "traces", "metrics"],
)
def test_a_worker_loads_exporters_only_where_something_is_sent(exporters: dict[str, str], imported: list[str]) -> None:
    needed = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "DINTERO_ACCOUNT_ID": "P11223351",
        "DINTERO_CLIENT_ID": "id",
        "DINTERO_CLIENT_SECRET": "secret",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    command = [sys.executable, "-c", _BUILT]
    run = subprocess.run(
        command, check=False, env=clean_environment() | needed | exporters, capture_output=True, text=True, timeout=60
    )
    assert (run.stdout, run.returncode) == (f"{imported}\n", 0), run.stderr


async def test_spans_reach_a_collector_by_http(environment: pytest.MonkeyPatch) -> None:
    with SpanSink() as sink:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
        built = tracing.build_tracing(export.resource("1"), **NAMES)
        built.publish(OUTCOME).end()
        await built.stop(5)
    (span,) = sink.spans
    assert span.name == "send outcomes"
    assert span.resource["service.version"] == "1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
    ],
)
def test_spans_are_not_recorded_where_nobody_wants_them(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    assert type(tracing.build_tracing(export.resource("1"), **NAMES)) is tracing.Tracing


@pytest.mark.parametrize("name", ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"])
def test_nonsense_in_a_variable_is_one_line_and_no_spans(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "-1")
    with capture_logs() as told:
        assert type(tracing.build_tracing(export.resource("1"), **NAMES)) is tracing.Tracing
    assert [line["event"] for line in told] == ["traces_off"]


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("TRACES") as session:
        session.trust_env = False
        yield session


def test_a_collector_in_trouble_is_two_lines_however_often_it_is_asked(session: Session) -> None:
    with SpanSink(status=500) as sink, capture_logs() as told:
        url = sink.url.replace("//", "//me:secret@") + "/v1/traces?key=secret"
        for status in (302, 500, 503, 200, 200):
            sink.status = status
            session.post(url, data=b"", allow_redirects=False)
        assert [line["event"] for line in told] == ["telemetry_not_taken", "telemetry_taken_again"]
        begun, ended = told
        assert (begun["signal"], begun["why"], begun["to"]) == ("traces", "http_302", sink.url.removeprefix("http://"))
        assert begun["log_level"] == "warning"
        assert ended["after_s"] >= 0
    assert "secret" not in str(told)


def test_a_collector_that_is_away_or_silent_is_named_by_the_kind_of_error(session: Session) -> None:
    with capture_logs() as told:
        for _ in range(2):
            with pytest.raises(requests.ConnectionError):
                session.post("http://127.0.0.1:9/v1/traces", data=b"")
        with SpanSink(delay=20) as sink, pytest.raises(requests.ReadTimeout):
            session.post(f"{sink.url}/v1/traces", data=b"", timeout=0.05)
    assert [(line["event"], line["why"]) for line in told] == [("telemetry_not_taken", "ConnectionError")]


def test_a_collector_that_needs_longer_than_batches_come_is_slow(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SpanSink() as sink, capture_logs() as told:
        monkeypatch.setattr(collector, "_SLOW", -1.0)
        session.post(f"{sink.url}/v1/traces", data=b"")
        monkeypatch.setattr(collector, "_SLOW", 60.0)
        session.post(f"{sink.url}/v1/traces", data=b"")
    assert [(line["event"], line.get("why")) for line in told] == [
        ("telemetry_not_taken", "slow"),
        ("telemetry_taken_again", None),
    ]


def test_the_resource_has_our_name_unless_the_environment_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    attributes = export.resource("1.2").attributes
    assert (attributes["service.name"], attributes["service.version"]) == ("terminal-operations-worker", "1.2")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "night-shift")
    assert export.resource("1.2").attributes["service.name"] == "night-shift"
