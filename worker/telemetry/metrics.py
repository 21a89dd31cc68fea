"""Metrics, as Prometheus text and, where an endpoint is set, by OTLP.

Counts are plain integers that OpenTelemetry reads when it is asked: its own counter costs 11-20 us for every add.
Labels are bounded; ids of messages and terminals are never among them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest

from worker.telemetry import export

# Those of the semantic conventions; the SDK's own are made for milliseconds.
_SHORT = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_COMMIT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_RESTORE = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_OPERATION = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)

# A label that was meant to be bounded and is not must not eat the memory of everyone down the line.
_MOST_SERIES = 100
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class PartitionFigures:
    """One partition at one moment. `oldest_pending_age` is seconds; None means that there is nothing to tell."""

    partition: int
    pending: int
    queued: int
    paused: bool
    lag: int | None = None
    oldest_pending_age: float | None = None


class _Counts:
    """Counts by label values. Adding costs a fraction of a microsecond, and other threads may read meanwhile."""

    def __init__(self, *labels: str) -> None:
        self._labels = labels
        self._counts: dict[tuple[str, ...], int] = {} if labels else {(): 0}

    def add(self, *values: str, by: int = 1) -> None:
        counts = self._counts
        if values not in counts and len(counts) >= _MOST_SERIES:
            values = (_OTHER,) * len(values)
        counts[values] = counts.get(values, 0) + by

    @property
    def total(self) -> int:
        return sum(list(self._counts.values()))

    def observe(self, _: CallbackOptions) -> list[Observation]:
        # The list is made in one step of the interpreter: the exporter's thread never sees a half-changed dict.
        items = list(self._counts.items())
        return [Observation(count, dict(zip(self._labels, values, strict=True))) for values, count in items]


class Metrics:
    """The worker's metrics. No method blocks or raises; with `OTEL_SDK_DISABLED=true` nothing is shown."""

    def __init__(
        self,
        resource: Resource,
        *,
        requests_topic: str,
        outcomes_topic: str,
        dead_letters_topic: str,
        group_id: str,
        api_url: str,
    ) -> None:
        self._registry = CollectorRegistry()
        readers: list[MetricReader] = [PrometheusMetricReader(scope_info_enabled=False, registry=self._registry)]
        if export.wanted("METRICS"):
            readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
        self._provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._snapshot: Callable[[], Iterable[PartitionFigures]] = tuple
        meter = self._provider.get_meter("worker.telemetry")
        self._requests = {
            "messaging.system": "kafka",
            "messaging.destination.name": requests_topic,
            "messaging.consumer.group.name": group_id,
        }
        api = urlsplit(api_url)
        self._api: dict[str, str | int] = {
            "server.address": api.hostname or "",
            "server.port": api.port or (80 if api.scheme == "http" else 443),
        }
        self._http_attributes: dict[tuple[str, int | None, str | None], dict[str, str | int]] = {}
        self._create_counters(meter)
        self._create_messaging(meter, outcomes_topic, dead_letters_topic)
        self._create_histograms(meter)
        self._create_gauges(meter)

    def _create_counters(self, meter: Meter) -> None:
        def counter(name: str, unit: str, description: str, *labels: str) -> _Counts:
            counts = _Counts(*labels)
            meter.create_observable_counter(f"terminal_operations.{name}", [counts.observe], unit, description)
            return counts

        self._consumed = _Counts()
        self._outcomes = counter("outcomes", "{outcome}", "Outcomes committed", "type", "reason")
        self._dead_letters = counter("dead_letters", "{message}", "Dead letters committed", "reason")
        self._duplicates = counter("duplicates", "{message}", "Requests seen before, dropped")
        self._misrouted = counter("misrouted", "{message}", "Requests whose key is not their terminal id")
        self._retries = counter("retries", "{retry}", "Calls of the API to be made again", "cause")
        self._engine_failures = counter("engine.failures", "{failure}", "Engines ended by a doubt", "kind")
        self._committed = counter("committed.records", "{record}", "Records written by commits")
        self._restored = counter("restored.records", "{record}", "Ledger records read by restores")

    def _create_messaging(self, meter: Meter, outcomes_topic: str, dead_letters_topic: str) -> None:
        poll = {**self._requests, "messaging.operation.name": "poll"}
        send = {"messaging.system": "kafka", "messaging.operation.name": "send"}

        def consumed(_: CallbackOptions) -> list[Observation]:
            return [Observation(self._consumed.total, poll)]

        def sent(_: CallbackOptions) -> list[Observation]:
            totals = ((outcomes_topic, self._outcomes.total), (dead_letters_topic, self._dead_letters.total))
            return [Observation(total, {**send, "messaging.destination.name": topic}) for topic, total in totals]

        meter.create_observable_counter(
            "messaging.client.consumed.messages", [consumed], "{message}", "Requests delivered to the worker"
        )
        meter.create_observable_counter(
            "messaging.client.sent.messages", [sent], "{message}", "Outcomes and dead letters committed"
        )

    def _create_histograms(self, meter: Meter) -> None:
        def histogram(name: str, description: str, boundaries: tuple[float, ...]) -> Histogram:
            return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=boundaries)

        self._process = histogram("messaging.process.duration", "Taking in a request, up to its commit", _SHORT)
        self._process_attributes = {**self._requests, "messaging.operation.name": "process"}
        self._http = histogram("http.client.request.duration", "Calls of the API, its token endpoint too", _SHORT)
        self._operation = histogram(
            "terminal_operations.operation.duration", "From a request's record to its final outcome", _OPERATION
        )
        self._commit = histogram("terminal_operations.commit.duration", "Commits", _COMMIT)
        self._restore = histogram("terminal_operations.restore.duration", "Restores of a partition", _RESTORE)

    def _create_gauges(self, meter: Meter) -> None:
        def gauge(name: str, unit: str, description: str, field: str) -> None:
            read = attrgetter(field)

            def observe(_: CallbackOptions) -> list[Observation]:
                return [
                    Observation(value, {"partition": figures.partition})
                    for figures in self._snapshot()
                    if (value := read(figures)) is not None
                ]

            meter.create_observable_gauge(f"terminal_operations.{name}", [observe], unit, description)

        gauge("pending", "{operation}", "Operations that terminals have not answered", "pending")
        gauge("queued", "{request}", "Requests behind others of their terminal", "queued")
        gauge("lag", "{message}", "Requests not yet taken in", "lag")
        gauge("oldest_pending_age", "s", "Age of the oldest pending operation", "oldest_pending_age")
        gauge("paused", "{partition}", "1 while the partition takes nothing in", "paused")

    def consumed(self, count: int) -> None:
        self._consumed.add(by=count)

    def processed(self, seconds: float) -> None:
        self._process.record(seconds, self._process_attributes)

    def outcome(self, type: str, reason: str | None) -> None:  # noqa: A002 - the word of the contract
        """An outcome, once it is committed."""
        self._outcomes.add(type, reason or "")

    def operation_duration(self, seconds: float, status: str) -> None:
        self._operation.record(seconds, {"status": status})

    def http(self, method: str, status: int | None, error: str | None, seconds: float) -> None:
        """One call, answered or not. `error` as on its span: a class of failure where there was no answer."""
        key = (method, status, error)
        attributes = self._http_attributes.get(key)
        if attributes is None:
            if len(self._http_attributes) >= _MOST_SERIES:
                status, error = None, _OTHER
            attributes = {"http.request.method": method, **self._api}
            if status is not None:
                attributes["http.response.status_code"] = status
                if error is None and status >= 400:
                    error = str(status)
            if error is not None:
                attributes["error.type"] = error
            if len(self._http_attributes) < _MOST_SERIES:
                self._http_attributes[key] = attributes
        self._http.record(seconds, attributes)

    def commit(self, seconds: float, records: int) -> None:
        self._commit.record(seconds)
        self._committed.add(by=records)

    def restored(self, seconds: float, records: int) -> None:
        self._restore.record(seconds)
        self._restored.add(by=records)

    def duplicate(self) -> None:
        self._duplicates.add()

    def dead_letter(self, reason: str) -> None:
        """A dead letter, once it is committed."""
        self._dead_letters.add(reason)

    def retry(self, cause: str) -> None:
        self._retries.add(cause)

    def misrouted(self) -> None:
        self._misrouted.add()

    def engine_failure(self, kind: str) -> None:
        self._engine_failures.add(kind)

    def observe(self, snapshot: Callable[[], Iterable[PartitionFigures]]) -> None:
        """Where the gauges come from. Called at every collection, with OTLP from another thread: copy, then read."""
        self._snapshot = snapshot

    def render(self) -> bytes:
        """All of it as Prometheus text."""
        return generate_latest(self._registry)

    async def stop(self, timeout: float) -> None:
        """Sends what is left, for at most `timeout` seconds; the rest is lost."""
        await export.stop(self._provider, timeout)
