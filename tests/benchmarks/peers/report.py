"""Figures as a table, as JSON and as a picture: medians over the rounds, and the least and the most."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

FULL = "full"
"""The load of all requests at once; the others are rates."""


class Latency(NamedTuple):
    """Milliseconds."""

    p50: float
    p99: float


class Result(NamedTuple):
    """One load of one program in one round. CPU is microseconds a request, of that process alone."""

    program: str
    mode: str
    load: str
    round: int
    requests: int
    a_second: float = 0.0
    cpu_us: float = 0.0
    api_cpu_us: float = 0.0
    peak_mib: float = 0.0
    created_ms: Latency | None = None
    """From a request's record to its `created` for a `read_committed` reader. Not at full load: that has a queue."""
    completed_ms: Latency | None = None
    """From the API's first answer with the final status to `completed` for such a reader."""

    def __str__(self) -> str:
        told = f"{self.program:<18} {self.mode:<10} {self.load:<6} {self.a_second:>6.0f}/s {self.cpu_us:>6.0f} us"
        for name, latency in (("created", self.created_ms), ("completed", self.completed_ms)):
            if latency:
                told += f"  {name} p50 {latency.p50:.1f} p99 {latency.p99:.1f} ms"
        return told


class Spread(NamedTuple):
    median: float
    least: float
    most: float

    def __format__(self, spec: str) -> str:
        if self.least == self.most:
            return format(self.median, spec)
        return f"{self.median:{spec}} ({self.least:{spec}}-{self.most:{spec}})"


Figures = dict[tuple[str, str, str], list[Result]]
"""Every round's, by mode, load and program."""


def grouped(results: Sequence[Result]) -> Figures:
    found: Figures = {}
    for result in sorted(results, key=lambda each: (each.mode, _order(each.load))):
        found.setdefault((result.mode, result.load, result.program), []).append(result)
    return found


def spread(rounds: Sequence[Result], value: Callable[[Result], float]) -> Spread:
    values = [value(each) for each in rounds]
    return Spread(statistics.median(values), min(values), max(values))


def table(results: Sequence[Result]) -> str:
    """Markdown."""
    figures = grouped(results)
    cpu = {key: spread(rounds, lambda each: each.cpu_us) for key, rounds in figures.items()}
    lines = [
        "| | load | program | CPU each, us | times the floor | a second a core | a second "
        "| peak MiB | `created` p50, ms | p99 | `completed` p50, ms | p99 | API, us |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (mode, load, program), rounds in sorted(figures.items(), key=lambda each: (*_place(each[0]), cpu[each[0]])):
        own = cpu[mode, load, program]
        cells = [
            *(mode, load, program, f"{own:.0f}"),
            _ratio(rounds, figures.get((mode, load, "floor"), [])),
            f"{1e6 / own.median:,.0f}" if own.median else "",
            f"{spread(rounds, lambda each: each.a_second):,.0f}",
            f"{spread(rounds, lambda each: each.peak_mib):.0f}",
            *_latencies([each.created_ms for each in rounds]),
            *_latencies([each.completed_ms for each in rounds]),
            f"{spread(rounds, lambda each: each.api_cpu_us):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write(results: Sequence[Result], folder: Path, about: Mapping[str, object]) -> None:
    """`compare.json`: what the run was `about`, and every round's figures. `compare.png`: their medians."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            **result._asdict(),
            "created_ms": result.created_ms and result.created_ms._asdict(),
            "completed_ms": result.completed_ms and result.completed_ms._asdict(),
        }
        for result in results
    ]
    (folder / "compare.json").write_text(json.dumps({**about, "results": rows}, indent=1) + "\n")
    draw(results).savefig(folder / "compare.png", dpi=110)


def draw(results: Sequence[Result]) -> Figure:
    figures = grouped(results)
    programs = sorted({result.program for result in results})
    colors = {program: f"C{number}" for number, program in enumerate(programs)}
    figure = Figure(figsize=(12, 8), layout="constrained")
    (full, created), (by_rate, completed) = figure.subplots(2, 2)
    _bars(full, figures, colors)
    _lines(by_rate, figures, colors, lambda each: (each.cpu_us,))
    by_rate.set_title("CPU of a lifecycle, us")
    _lines(created, figures, colors, lambda each: each.created_ms)
    created.set_title("request to created, ms: p50, and p99 dotted")
    _lines(completed, figures, colors, lambda each: each.completed_ms)
    completed.set_title("final status to completed, ms: p50, and p99 dotted")
    return figure


def _bars(axes: Axes, figures: Figures, colors: Mapping[str, str]) -> None:
    axes.set_title("CPU of a request at full load, us")
    full = {key: spread(rounds, lambda each: each.cpu_us) for key, rounds in figures.items() if key[1] == FULL}
    ordered = sorted(full.items(), key=lambda each: (each[0][0], -each[1].median))
    around = [[cpu.median - cpu.least for _, cpu in ordered], [cpu.most - cpu.median for _, cpu in ordered]]
    bars = axes.barh(
        [f"{program}, {mode}" for (mode, _, program), _ in ordered],
        [cpu.median for _, cpu in ordered],
        color=[colors[program] for (_, _, program), _ in ordered],
        xerr=around,
        capsize=3,
    )
    axes.bar_label(bars, labels=[f"{cpu.median:,.0f}" for _, cpu in ordered], padding=4)
    axes.margins(x=0.15)


def _lines(
    axes: Axes, figures: Figures, colors: Mapping[str, str], value: Callable[[Result], Sequence[float] | None]
) -> None:
    """Medians of one figure, or of two, by rate."""
    axes.set_xlabel("lifecycles a second")
    for program, color in colors.items():
        points = []
        for (mode, load, name), rounds in figures.items():
            values = [found for each in rounds if (found := value(each)) is not None]
            if (mode, name) == ("lifecycle", program) and load != FULL and values:
                points.append((_order(load), *(statistics.median(column) for column in zip(*values, strict=True))))
        rates, *columns = zip(*points, strict=True) if points else ((),)
        for column, style in zip(columns, ("-", ":"), strict=False):
            axes.plot(rates, column, style, marker="o", color=color, label=program if style == "-" else None)
    if axes.lines:
        axes.set_xscale("log")
        axes.set_yscale("log")
        asked = sorted({_order(load) for _, load, _ in figures} - {0.0})
        axes.set_xticks(asked, [f"{rate:.0f}" for rate in asked])
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(lambda tick, _: f"{tick:,g}")
        axes.minorticks_off()
        axes.legend()


def _ratio(rounds: Sequence[Result], floors: Sequence[Result]) -> str:
    """Of the CPU of the same round: what slowed one has slowed the other."""
    floor = {each.round: each.cpu_us for each in floors if each.cpu_us}
    compared = [each for each in rounds if each.round in floor]
    return f"{spread(compared, lambda each: each.cpu_us / floor[each.round]):.1f}" if compared else ""


def _latencies(rounds: Sequence[Latency | None]) -> list[str]:
    found = [each for each in rounds if each is not None]
    if not found:
        return ["", ""]
    columns = ([each.p50 for each in found], [each.p99 for each in found])
    return [f"{Spread(statistics.median(column), min(column), max(column)):.1f}" for column in columns]


def _order(load: str) -> float:
    """A rate; full load comes first."""
    return 0.0 if load == FULL else float(load.removesuffix("/s"))


def _place(key: tuple[str, str, str]) -> tuple[str, float]:
    return key[0], _order(key[1])
