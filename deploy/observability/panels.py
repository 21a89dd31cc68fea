"""The panels of the dashboard, all in one style. `WORKERS` in an expression selects the workers chosen above."""

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH = 24


def _query(expression: str, legend: str) -> prometheus.Dataquery:
    chosen = expression.replace("WORKERS", 'job=~"$job"')
    return prometheus.Dataquery().expr(chosen).legend_format(legend).datasource(SOURCE)


def quantiles(histogram: str) -> list[tuple[str, str]]:
    """The middle one, and the slowest of a hundred."""
    buckets = f"sum by (le) (rate({histogram}_bucket{{WORKERS}}[$__rate_interval]))"
    return [(f"histogram_quantile({share}, {buckets})", f"p{share * 100:.0f}") for share in (0.5, 0.99)]


def number(
    title: str, expression: str, unit: str = "short", *, warn: float | None = None, bad: float | None = None, says: str
) -> stat.Panel:
    """One figure, green until it is not."""
    steps = [Threshold(color="green")]
    steps += [
        Threshold(value=value, color=color) for value, color in ((warn, "orange"), (bad, "red")) if value is not None
    ]
    return (
        stat.Panel()
        .title(title)
        .description(says)
        .datasource(SOURCE)
        .with_target(_query(expression, ""))
        .unit(unit)
        .no_value("0")
        .graph_mode(BigValueGraphMode.AREA)
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .height(4)
        .span(_WIDTH // 6)
    )


def plot(
    title: str, *queries: tuple[str, str], unit: str = "short", says: str, stacked: bool = False
) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(says)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .fill_opacity(20 if stacked else 0)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .height(8)
        .span(_WIDTH // 3)
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for expression, legend in queries:
        panel = panel.with_target(_query(expression, legend))
    return panel
