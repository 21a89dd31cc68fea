"""Metrics, as Prometheus text and, where an endpoint is set, by OTLP.

Labels are bounded; ids of messages and terminals are never among them.
"""

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal
from urllib.parse import urlsplit

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import SERVICE_VERSION, Resource
from prometheus_client import CollectorRegistry, generate_latest

from worker.domain.outcome import DeadLetterReason, Reason
from worker.telemetry import export
from worker.telemetry.instruments import (
    MOST_SERIES,
    OTHER,
    SCOPE,
    Attributes,
    Counts,
    Histogram,
    PeriodicReader,
    PrometheusReader,
)

# Those of the semantic conventions; the SDK's own are made for milliseconds.
_SHORT = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_COMMIT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_RECORDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
_RESTORE = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
# To the end of the create timeout's half a day.
_OPERATION = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 10800.0, 43200.0)

_OPERATION_TYPES = {"poll": "receive", "send": "send", "commit": "settle"}
_RUNNING = "running"


@dataclass(frozen=True, slots=True)
class PartitionFigures:
    """One partition at one moment. `oldest_pending_age` is seconds; None means that there is nothing to tell."""

    partition: int
    state: str = _RUNNING
    backlog: int | None = None
    pending: int | None = None
    queued: int | None = None
    paused: bool | None = None
    lag: int | None = None
    oldest_pending_age: float | None = None


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """One account at one moment: is its circuit open; how many calls are under way, allowed at once, and waiting."""

    account: str
    circuit_open: bool
    in_flight: int
    limit: int
    waiting: int


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
        readers: list[PrometheusReader | PeriodicReader] = [
            PrometheusReader(scope_info_enabled=False, registry=self._registry)
        ]
        if export.wanted("METRICS"):
            readers.append(_otlp_reader())
        self._provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._partitions: Callable[[], Iterable[PartitionFigures]] = tuple
        self._accounts: Callable[[], Iterable[AccountFigures]] = tuple
        self._requests: Attributes = {
            "messaging.system": "kafka",
            "messaging.destination.name": requests_topic,
            "messaging.consumer.group.name": group_id,
        }
        meter = self._provider.get_meter(SCOPE)
        self._create_counters(meter)
        self._create_messages(meter, outcomes_topic, dead_letters_topic)
        self._create_gauges(meter, str(resource.attributes.get(SERVICE_VERSION, "")))
        histograms = (*self._create_conventional(api_url), *self._create_own())
        for reader in readers:
            reader.histograms = histograms

    # -- what there is ------------------------------------------------------------------------------------------

    def _create_counters(self, meter: Meter) -> None:
        def counter(name: str, unit: str, description: str, counts: Counts) -> Counts:
            meter.create_observable_counter(f"terminal_operations.{name}", [counts.observe], unit, description)
            return counts

        outcomes = [("created", ""), ("completed", ""), *(("failed", reason.value) for reason in Reason)]
        letters = [(reason.value,) for reason in DeadLetterReason]
        self._outcomes = counter(
            "outcomes", "{outcome}", "Outcomes committed", Counts("status", "reason", known=outcomes)
        )
        self._dead_letters = counter(
            "dead_letters", "{message}", "Dead letters committed", Counts("reason", known=letters)
        )
        self._duplicates = counter("duplicates", "{message}", "Requests seen before, dropped", Counts())
        self._misrouted = counter("misrouted", "{message}", "Requests whose key is not their terminal id", Counts())
        self._retries = counter("retries", "{retry}", "Calls of the API to be made again", Counts("cause"))
        self._engine_failures = counter(
            "engine.failures", "{failure}", "Engines ended by a doubt", Counts("kind", known=[("halted",)])
        )
        self._restored = counter("restored.records", "{record}", "Ledger records read by restores", Counts())
        self._consumed = Counts()

    def _create_messages(self, meter: Meter, outcomes_topic: str, dead_letters_topic: str) -> None:
        poll = {**self._requests, "messaging.operation.name": "poll"}
        send = {"messaging.system": "kafka", "messaging.operation.name": "send"}

        def consumed(_: CallbackOptions) -> list[Observation]:
            return [Observation(self._consumed.total, poll)]

        def sent(_: CallbackOptions) -> list[Observation]:
            totals = ((outcomes_topic, self._outcomes.total), (dead_letters_topic, self._dead_letters.total))
            return [Observation(total, {**send, "messaging.destination.name": topic}) for topic, total in totals]

        for name, observe, description in (
            ("consumed", consumed, "Requests delivered to the worker"),
            ("sent", sent, "Outcomes and dead letters committed"),
        ):
            meter.create_observable_counter(f"messaging.client.{name}.messages", [observe], "{message}", description)

    def _create_gauges(self, meter: Meter, version: str) -> None:
        def gauge(name: str, unit: str, description: str, observe: Callable[[], list[Observation]]) -> None:
            meter.create_observable_gauge(f"terminal_operations.{name}", [lambda _: observe()], unit, description)

        build = [Observation(1, {"version": version, "python": platform.python_version()})]
        gauge("build_info", "", "1, labelled with the versions of the worker and of Python", lambda: build)
        gauge("partitions", "{partition}", "Partitions of this worker", self._states)
        for name, unit, description in (
            ("lag", "{message}", "Requests not yet taken in"),
            ("backlog", "{request}", "Requests taken in and not finished"),
            ("queued", "{request}", "Requests behind others of their terminal"),
            ("pending", "{operation}", "Operations that terminals have not answered"),
            ("oldest_pending_age", "s", "Age of the oldest pending operation"),
            ("paused", "{partition}", "1 while the partition is full and takes nothing in"),
        ):
            gauge(name, unit, description, self._of_partitions(name))
        gauge("circuit.open", "{circuit}", "1 while the account's API is not asked", self._of_accounts("circuit_open"))
        gauge("budget.in_flight", "{call}", "Calls of the API under way", self._of_accounts("in_flight"))
        gauge("budget.limit", "{call}", "Calls allowed at once, for now", self._of_accounts("limit"))
        gauge("budget.waiting", "{call}", "Calls that wait for their turn", self._of_accounts("waiting"))

    def _create_conventional(self, api_url: str) -> Iterable[Histogram]:
        """Those of the semantic conventions."""
        api = urlsplit(api_url)
        server: Attributes = {
            "server.address": api.hostname or "",
            "server.port": api.port or (80 if api.scheme == "http" else 443),
        }

        def called(method: str, status: int | str | None, error: str | None) -> Attributes:
            if error is None and isinstance(status, int) and status >= 400:
                error = str(status)
            answered: Attributes = {} if status is None else {"http.response.status_code": status}
            return {"http.request.method": method, **server, **answered, **_failed(error)}

        def asked(operation: str, error: str | None) -> Attributes:
            # A send is a whole commit, which goes to several topics.
            where = {"messaging.system": "kafka"} if operation == "send" else self._requests
            kind = {"messaging.operation.type": _OPERATION_TYPES.get(operation, OTHER)}
            return {**where, "messaging.operation.name": operation, **kind, **_failed(error)}

        process = {**self._requests, "messaging.operation.name": "process"}
        self._http = Histogram(
            "http.client.request.duration", "s", "Calls of the API, its token endpoint too", _SHORT, called
        )
        self._client = Histogram(
            "messaging.client.operation.duration", "s", "Fetches, commits, and commits of group offsets", _SHORT, asked
        )
        self._process = Histogram(
            "messaging.process.duration", "s", "Taking in a request, up to its commit", _SHORT, lambda: process
        )
        return self._http, self._client, self._process

    def _create_own(self) -> Iterable[Histogram]:
        def own(name: str, unit: str, description: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
            def attributes(*values: str) -> Attributes:
                return dict(zip(labels, values, strict=True))

            return Histogram(f"terminal_operations.{name}", unit, description, bounds, attributes)

        self._operation = own(
            "operation.duration", "s", "From a request's record to its final outcome", _OPERATION, "status"
        )
        self._commit = own("commit.duration", "s", "Commits", _COMMIT)
        self._commit_size = own("commit.size", "{record}", "Records of a commit", _RECORDS)
        self._restore = own("restore.duration", "s", "Restores of a partition", _RESTORE)
        return self._operation, self._commit, self._commit_size, self._restore

    # -- looks at the moment ------------------------------------------------------------------------------------

    def _states(self) -> list[Observation]:
        # That none runs is said too: an alert cannot see what is not there.
        counts = {_RUNNING: 0}
        for figures in self._partitions():
            counts[figures.state] = counts.get(figures.state, 0) + 1
        return [Observation(count, {"state": state}) for state, count in counts.items()]

    def _of_partitions(self, field: str) -> Callable[[], list[Observation]]:
        read = attrgetter(field)
        return lambda: [
            Observation(value, {"partition": figures.partition})
            for figures in self._partitions()
            if (value := read(figures)) is not None
        ]

    def _of_accounts(self, field: str) -> Callable[[], list[Observation]]:
        read = attrgetter(field)

        def observe() -> list[Observation]:
            sums: dict[str, int] = {}
            for figures in self._accounts():
                account = figures.account if len(sums) < MOST_SERIES else OTHER
                sums[account] = sums.get(account, 0) + read(figures)
            return [Observation(value, {"account": account}) for account, value in sums.items()]

        return observe

    # -- what happens -------------------------------------------------------------------------------------------

    def consumed(self, count: int) -> None:
        self._consumed.add(by=count)

    def processed(self, seconds: float) -> None:
        self._process.add(seconds)

    def outcome(self, status: str, reason: str | None) -> None:
        """An outcome, once it is committed."""
        self._outcomes.add(status, reason or "")

    def operation_duration(self, seconds: float, status: str) -> None:
        self._operation.add(seconds, status)

    def http(self, method: str, status: int | None, error: str | None, seconds: float) -> None:
        """One call, answered or not. `error` as on its span: a class of failure where there was no answer."""
        self._http.add(seconds, method, status, error)

    def client_operation(self, name: Literal["poll", "send", "commit"], error: str | None, seconds: float) -> None:
        """One call of the brokers. `error` is the kind of its failure, of few kinds."""
        self._client.add(seconds, name, error)

    def commit(self, seconds: float, records: int) -> None:
        self._commit.add(seconds)
        self._commit_size.add(records)

    def restored(self, seconds: float, records: int) -> None:
        self._restore.add(seconds)
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

    # -- out ----------------------------------------------------------------------------------------------------

    def observe(
        self,
        partitions: Callable[[], Iterable[PartitionFigures]],
        accounts: Callable[[], Iterable[AccountFigures]] = tuple,
    ) -> None:
        """Where the gauges come from. Called at every collection, with OTLP from another thread: copy, then read."""
        self._partitions, self._accounts = partitions, accounts

    def render(self) -> bytes:
        """All of it as Prometheus text."""
        return generate_latest(self._registry)

    async def stop(self, timeout: float) -> None:
        """Sends what is left, for at most `timeout` seconds; the rest is lost."""
        await export.stop(self._provider.shutdown, timeout)


def _failed(error: str | None) -> Attributes:
    return {} if error is None else {"error.type": error}


def _otlp_reader() -> PeriodicReader:
    # Imported here: see `tracing.build_tracing`.
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    from worker.telemetry.session import Session

    return PeriodicReader(OTLPMetricExporter(session=Session("METRICS")))
