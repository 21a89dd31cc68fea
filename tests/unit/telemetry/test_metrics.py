"""Metrics, as Prometheus reads them."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from worker.telemetry import export
from worker.telemetry.metrics import Metrics, PartitionFigures


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


def test_outcomes_are_counted_by_type_and_reason_and_as_messages_sent() -> None:
    metrics = build()
    metrics.outcome("created", None)
    metrics.outcome("failed", "rejected")
    metrics.outcome("failed", "rejected")
    metrics.dead_letter("message_id_reused")
    assert samples(metrics, "terminal_operations_outcomes_total") == {
        (("type", "created"),): 1,
        (("reason", "rejected"), ("type", "failed")): 2,
    }
    sent = samples(metrics, "messaging_client_sent_messages_total")
    assert {dict(labels)["messaging_destination_name"]: count for labels, count in sent.items()} == {
        "outcomes": 3,
        "dead-letters": 1,
    }


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
    assert samples(metrics, "terminal_operations_engine_failures_total") == {(("kind", "ProducerFenced"),): 1}
    assert samples(metrics, "terminal_operations_dead_letters_total") == {(("reason", "invalid_request"),): 1}
    assert samples(metrics, "terminal_operations_committed_records_total") == {(): 30}
    assert samples(metrics, "terminal_operations_restored_records_total") == {(): 100}


def test_durations_fall_into_buckets_made_for_seconds() -> None:
    metrics = build()
    metrics.operation_duration(90, "completed")
    metrics.processed(0.03)
    metrics.commit(0.003, 1)
    metrics.restored(2, 1)
    operation = samples(metrics, "terminal_operations_operation_duration_seconds_bucket")
    assert operation[(("le", "60.0"), ("status", "completed"))] == 0
    assert operation[(("le", "120.0"), ("status", "completed"))] == 1
    assert (("le", "3600.0"), ("status", "completed")) in operation
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
    figures = [PartitionFigures(0, pending=3, queued=2, paused=True, lag=9, oldest_pending_age=1.5)]
    metrics.observe(lambda: figures)
    assert samples(metrics, "terminal_operations_pending") == {(("partition", "0"),): 3}
    assert samples(metrics, "terminal_operations_paused") == {(("partition", "0"),): 1}
    assert samples(metrics, "terminal_operations_oldest_pending_age_seconds") == {(("partition", "0"),): 1.5}

    figures[:] = [PartitionFigures(4, pending=0, queued=2, paused=False)]
    assert samples(metrics, "terminal_operations_queued") == {(("partition", "4"),): 2}
    assert samples(metrics, "terminal_operations_paused") == {(("partition", "4"),): 0}
    assert samples(metrics, "terminal_operations_lag") == {}


def test_two_workers_in_one_process_do_not_clash() -> None:
    one, other = build(), build()
    one.duplicate()
    assert samples(other, "terminal_operations_duplicates_total") == {(): 0}


def test_a_disabled_sdk_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    metrics = build()
    metrics.consumed(1)
    metrics.http("POST", 200, None, 0.1)
    metrics.observe(lambda: [PartitionFigures(0, 1, 1, False)])
    assert metrics.render() == b""


async def test_metrics_stop_in_time_without_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    metrics = build()
    metrics.duplicate()
    await metrics.stop(0.2)
    assert metrics.render() == b""
