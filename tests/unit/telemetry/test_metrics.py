"""Metrics, as Prometheus reads them."""

import platform
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.benchmarks.hot_paths import executed
from worker.domain.outcome import DeadLetterReason, OutcomeType, Reason
from worker.telemetry import export, logs
from worker.telemetry.metrics import AccountFigures, Metrics, PartitionFigures


def build() -> Metrics:
    return Metrics(
        export.resource("1"),
        requests_topic="requests",
        outcomes_topic="outcomes",
        dead_letters_topic="dead-letters",
        group_id="group",
        api_url="https://checkout.dintero.com",
    )


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_SDK_DISABLED", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def samples(metrics: Metrics, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple(sorted((key, value) for key, value in sample.labels.items() if value)): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == name
    }


def test_outcomes_are_counted_by_status_and_reason_and_as_messages_sent() -> None:
    metrics = build()
    metrics.outcome("created", None)
    metrics.outcome("failed", "rejected")
    metrics.outcome("failed", "rejected")
    metrics.dead_letter("message_id_reused")
    outcomes = samples(metrics, "terminal_operations_outcomes_total")
    assert {labels: count for labels, count in outcomes.items() if count} == {
        (("status", "created"),): 1,
        (("reason", "rejected"), ("status", "failed")): 2,
    }
    sent = samples(metrics, "messaging_client_sent_messages_total")
    assert {dict(labels)["messaging_destination_name"]: count for labels, count in sent.items()} == {
        "outcomes": 3,
        "dead-letters": 1,
    }


def test_outcomes_and_dead_letters_begin_at_nought_so_that_the_first_is_an_increase() -> None:
    metrics = build()
    outcomes = samples(metrics, "terminal_operations_outcomes_total")
    assert set(outcomes.values()) == {0}
    assert {dict(labels).get("reason") for labels in outcomes} == {None, *(reason.value for reason in Reason)}
    assert {dict(labels)["status"] for labels in outcomes} == {status.value for status in OutcomeType}
    letters = samples(metrics, "terminal_operations_dead_letters_total")
    assert letters == {(("reason", reason.value),): 0 for reason in DeadLetterReason}


def test_every_count_shows_up_under_its_name() -> None:
    metrics = build()
    metrics.consumed(5)
    metrics.consumed(2)
    metrics.duplicate()
    metrics.misrouted()
    metrics.retry("timeout")
    metrics.engine_failure("ProducerFenced")
    metrics.dead_letter("invalid_request")
    metrics.commit(0.004, 30)
    metrics.restored(0.5, 100)
    (consumed,) = samples(metrics, "messaging_client_consumed_messages_total").items()
    assert consumed[1] == 7
    assert dict(consumed[0])["messaging_consumer_group_name"] == "group"
    assert samples(metrics, "terminal_operations_duplicates_total") == {(): 1}
    assert samples(metrics, "terminal_operations_misrouted_total") == {(): 1}
    assert samples(metrics, "terminal_operations_retries_total") == {(("cause", "timeout"),): 1}
    assert samples(metrics, "terminal_operations_engine_failures_total")[(("kind", "ProducerFenced"),)] == 1
    assert samples(metrics, "terminal_operations_dead_letters_total")[(("reason", "invalid_request"),)] == 1
    assert samples(metrics, "terminal_operations_commit_size_sum") == {(): 30}
    assert samples(metrics, "terminal_operations_restored_records_total") == {(): 100}


def test_durations_fall_into_buckets_made_for_seconds() -> None:
    metrics = build()
    metrics.operation_duration(90, "completed")
    metrics.operation_duration(120, "completed")
    metrics.operation_duration(11 * 3600, "failed")
    metrics.processed(0.03)
    metrics.commit(0.003, 1)
    metrics.restored(2, 1)
    operation = samples(metrics, "terminal_operations_operation_duration_seconds_bucket")
    assert operation[(("le", "60.0"), ("status", "completed"))] == 0
    assert operation[(("le", "120.0"), ("status", "completed"))] == 2
    assert operation[(("le", "10800.0"), ("status", "failed"))] == 0
    assert operation[(("le", "43200.0"), ("status", "failed"))] == 1
    assert samples(metrics, "terminal_operations_operation_duration_seconds_sum")[(("status", "completed"),)] == 210
    assert samples(metrics, "terminal_operations_commit_duration_seconds_bucket")[(("le", "0.005"),)] == 1
    assert samples(metrics, "terminal_operations_restore_duration_seconds_bucket")[(("le", "1.0"),)] == 0
    process = samples(metrics, "messaging_process_duration_seconds_bucket")
    assert {dict(labels)["le"] for labels in process} >= {"0.005", "0.05", "10.0"}


def test_a_call_is_measured_whether_it_was_answered_or_not() -> None:
    metrics = build()
    metrics.http("POST", 200, None, 0.2)
    metrics.http("GET", 503, None, 0.2)
    metrics.http("GET", None, "timeout", 10)
    server = (("server_address", "checkout.dintero.com"), ("server_port", "443"))
    assert samples(metrics, "http_client_request_duration_seconds_count") == {
        (("http_request_method", "POST"), ("http_response_status_code", "200"), *server): 1,
        (("error_type", "503"), ("http_request_method", "GET"), ("http_response_status_code", "503"), *server): 1,
        (("error_type", "timeout"), ("http_request_method", "GET"), *server): 1,
    }


def test_a_call_of_the_brokers_is_named_as_the_conventions_say() -> None:
    metrics = build()
    metrics.client_operation("poll", None, 0.1)
    metrics.client_operation("send", None, 0.004)
    metrics.client_operation("send", "ProducerFenced", 0.004)
    metrics.client_operation("commit", None, 0.01)
    counted = samples(metrics, "messaging_client_operation_duration_seconds_count")
    named = [{key.removeprefix("messaging_"): value for key, value in labels} for labels in counted]
    requests = {"system": "kafka", "destination_name": "requests", "consumer_group_name": "group"}
    assert set(counted.values()) == {1}
    assert named == [
        {**requests, "operation_name": "poll", "operation_type": "receive"},
        {"system": "kafka", "operation_name": "send", "operation_type": "send"},
        {"system": "kafka", "operation_name": "send", "operation_type": "send", "error_type": "ProducerFenced"},
        {**requests, "operation_name": "commit", "operation_type": "settle"},
    ]


def test_labels_that_grow_without_end_end_in_other() -> None:
    metrics = build()
    for number in range(500):
        metrics.retry(f"cause {number}")
        metrics.http("POST", None, f"error {number}", 0.1)
    causes = samples(metrics, "terminal_operations_retries_total")
    assert len(causes) == 101
    assert sum(causes.values()) == 500
    assert causes[(("cause", "other"),)] == 400
    assert len(samples(metrics, "http_client_request_duration_seconds_count")) == 101


def test_gauges_show_the_partitions_of_the_moment() -> None:
    metrics = build()
    figures = [PartitionFigures(0, backlog=6, pending=3, queued=2, paused=True, lag=9, oldest_pending_age=1.5)]
    metrics.observe(lambda: figures)
    assert samples(metrics, "terminal_operations_pending") == {(("partition", "0"),): 3}
    assert samples(metrics, "terminal_operations_paused") == {(("partition", "0"),): 1}
    assert samples(metrics, "terminal_operations_oldest_pending_age_seconds") == {(("partition", "0"),): 1.5}

    figures[:] = [PartitionFigures(4, pending=0, queued=2, paused=False)]
    assert samples(metrics, "terminal_operations_queued") == {(("partition", "4"),): 2}
    assert samples(metrics, "terminal_operations_paused") == {(("partition", "4"),): 0}
    assert samples(metrics, "terminal_operations_lag") == {}


def test_partitions_are_counted_by_state_and_one_without_an_engine_has_no_figures() -> None:
    metrics = build()
    assert samples(metrics, "terminal_operations_partitions") == {(("state", "running"),): 0}
    metrics.observe(lambda: [PartitionFigures(0, "halted"), PartitionFigures(1, "halted"), PartitionFigures(2)])
    assert samples(metrics, "terminal_operations_partitions") == {(("state", "halted"),): 2, (("state", "running"),): 1}
    assert samples(metrics, "terminal_operations_backlog") == {}


def test_accounts_tell_of_their_circuit_and_budget_and_too_many_are_told_together() -> None:
    metrics = build()
    accounts = [
        AccountFigures(f"P{n:03}", circuit_open=n % 2 == 0, in_flight=n, limit=64, waiting=1) for n in range(103)
    ]
    metrics.observe(tuple, lambda: accounts)
    circuits = samples(metrics, "terminal_operations_circuit_open")
    assert (circuits[(("account", "P000"),)], circuits[(("account", "P001"),)]) == (1, 0)
    assert circuits[(("account", "other"),)] == 2
    in_flight = samples(metrics, "terminal_operations_budget_in_flight")
    assert len(in_flight) == 101
    assert sum(in_flight.values()) == sum(range(103))
    assert samples(metrics, "terminal_operations_budget_limit")[(("account", "P007"),)] == 64
    assert samples(metrics, "terminal_operations_budget_waiting")[(("account", "other"),)] == 3


def test_the_versions_are_labels_of_a_constant() -> None:
    (labels,) = samples(build(), "terminal_operations_build_info")
    assert dict(labels) == {"version": "1", "python": platform.python_version()}


async def test_histograms_reach_a_collector_with_their_units_and_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    received: Queue[ExportMetricsServiceRequest] = Queue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.put(ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        Thread(target=collector.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        metrics = build()
        metrics.operation_duration(90, "completed")
        metrics.duplicate()
        await metrics.stop(5)
        request = received.get(timeout=5)
        collector.shutdown()
    (resource,) = request.resource_metrics
    sent = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
    assert sent["terminal_operations.duplicates"].sum.data_points[0].as_int == 1
    operation = sent["terminal_operations.operation.duration"]
    (point,) = operation.histogram.data_points
    assert (operation.unit, point.count, point.sum) == ("s", 1, 90)
    assert point.bucket_counts[list(point.explicit_bounds).index(120)] == 1
    assert 0 < point.start_time_unix_nano <= point.time_unix_nano


def test_a_request_costs_few_instructions_of_metrics() -> None:
    metrics = build()

    def lifecycle() -> None:
        metrics.processed(0.03)
        metrics.http("POST", 201, None, 0.05)
        metrics.http("GET", 200, None, 0.04)
        metrics.outcome("created", None)
        metrics.outcome("completed", None)
        metrics.operation_duration(12.0, "completed")

    lifecycle()  # what is cached is not counted
    # Counted, since others use the machine: 286 in practice, some two microseconds. OpenTelemetry's own take 3,400.
    assert 0 < executed(lifecycle) < 600


def test_two_workers_in_one_process_do_not_clash() -> None:
    one, other = build(), build()
    one.duplicate()
    assert samples(other, "terminal_operations_duplicates_total") == {(): 0}


def test_a_disabled_sdk_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    metrics = build()
    metrics.consumed(1)
    metrics.http("POST", 200, None, 0.1)
    metrics.observe(lambda: [PartitionFigures(0, pending=1)])
    assert metrics.render() == b""


def test_every_metric_is_in_the_table_and_nothing_else_is() -> None:
    metrics = build()
    figures = PartitionFigures(0, backlog=1, pending=1, queued=1, paused=False, lag=1, oldest_pending_age=1)
    metrics.observe(lambda: [figures], lambda: [AccountFigures("P1", False, 1, 1, 1)])
    metrics.retry("timeout")
    families = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    shown = {name.removesuffix("_seconds") for name in families - {"target_info", "target"}}

    readme = Path(logs.__file__).with_name("README.md").read_text()
    table = readme[readme.index("| metric |") :].split("\n\n")[0]
    listed: list[str] = []
    for row in table.splitlines()[2:]:
        for name in re.findall(r"`([\w.]+)`", row.split("|")[1]):
            # `.limit` stands beside a name whose last part it replaces.
            listed.append(listed[-1].rpartition(".")[0] + name if name.startswith(".") else name)
    assert {name.replace(".", "_") for name in listed} == shown
    assert len(listed) == len(set(listed))


async def test_metrics_stop_in_time_without_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    metrics = build()
    metrics.duplicate()
    await metrics.stop(0.2)
    assert metrics.render() == b""
