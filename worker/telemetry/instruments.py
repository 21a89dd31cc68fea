"""What the work is counted with: plain numbers, which OpenTelemetry reads when it is asked.

Its own counters and histograms cost 11-20 us for each value, these under one. The loop writes; any thread may read.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import export as sdk

SCOPE = "worker.telemetry"

# A label that was meant to be bounded and is not must not eat the memory of everyone down the line.
MOST_SERIES = 100
OTHER = "other"

Labels = tuple[Any, ...]
Attributes = dict[str, str | int]


class Counts:
    """Counts by label values. Those `known` begin at 0: Prometheus sees no increase in a series that begins at 1."""

    def __init__(self, *labels: str, known: Iterable[Labels] = ()) -> None:
        self._labels = labels
        self._counts: dict[Labels, int] = dict.fromkeys(known if labels else [()], 0)

    def add(self, *values: str, by: int = 1) -> None:
        counts = self._counts
        if values not in counts and len(counts) >= MOST_SERIES:
            values = (OTHER,) * len(values)
        counts[values] = counts.get(values, 0) + by

    @property
    def total(self) -> int:
        return sum(list(self._counts.values()))

    def observe(self, _: CallbackOptions) -> list[Observation]:
        # The list is made in one step of the interpreter: the exporter's thread never sees a half-changed dict.
        items = list(self._counts.items())
        return [Observation(count, dict(zip(self._labels, values, strict=True))) for values, count in items]


class Histogram:
    """Values by label values, in buckets. `attributes` gives those of a series from its label values."""

    def __init__(
        self,
        name: str,
        unit: str,
        description: str,
        bounds: Sequence[float],
        attributes: Callable[..., Attributes],
    ) -> None:
        self._name, self._unit, self._description = name, unit, description
        self._bounds = bounds
        self._attributes = attributes
        self._series: dict[Labels, _Series] = {}

    def add(self, value: float, *labels: Any) -> None:
        series = self._series.get(labels) or self._added(labels)
        series.counts[bisect_left(self._bounds, value)] += 1
        series.sum += value

    def metric(self) -> sdk.Metric:
        points = [series.point(self._bounds) for series in list(self._series.values())]
        data = sdk.Histogram(points, sdk.AggregationTemporality.CUMULATIVE)
        return sdk.Metric(self._name, self._description, self._unit, data)

    def _added(self, labels: Labels) -> "_Series":
        if len(self._series) >= MOST_SERIES:
            labels = (OTHER,) * len(labels)
        return self._series.setdefault(labels, self._new(labels))

    def _new(self, labels: Labels) -> "_Series":
        return _Series(self._attributes(*labels), len(self._bounds) + 1)


class _Series:
    __slots__ = ("attributes", "counts", "since", "sum")

    def __init__(self, attributes: Attributes, buckets: int) -> None:
        self.attributes = attributes
        self.counts = [0] * buckets
        self.sum = 0.0
        self.since = time.time_ns()

    def point(self, bounds: Sequence[float]) -> sdk.HistogramDataPoint:
        counts = list(self.counts)
        # No least and no most: of a whole life they would say little, and OTLP does without them.
        nothing: Any = None
        return sdk.HistogramDataPoint(
            self.attributes,
            self.since,
            time.time_ns(),
            count=sum(counts),
            sum=self.sum,
            bucket_counts=counts,
            explicit_bounds=bounds,
            min=nothing,
            max=nothing,
        )


class _WithHistograms(sdk.MetricReader):
    """Adds the histograms to what the SDK has collected: it has none whose values it would read when asked."""

    histograms: Sequence[Histogram] = ()

    def _receive_metrics(self, metrics_data: sdk.MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        (collected,) = metrics_data.resource_metrics
        added = [one.metric() for one in self.histograms]
        # Beside the counters: of two scopes with one name an exporter keeps the last.
        scopes = [
            replace(scope, metrics=[*scope.metrics, *added]) if scope.scope.name == SCOPE else scope
            for scope in collected.scope_metrics
        ]
        whole = sdk.MetricsData([replace(collected, scope_metrics=scopes)])
        super()._receive_metrics(whole, timeout_millis, **kwargs)  # type: ignore[safe-super]


class PrometheusReader(_WithHistograms, PrometheusMetricReader):
    """For `/metrics`."""


class PeriodicReader(_WithHistograms, sdk.PeriodicExportingMetricReader):
    """For OTLP. Its histograms are cumulative, whatever temporality the environment prefers."""
