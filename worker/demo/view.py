"""What a person sees of the demo: a live panel on a terminal, else a line each second."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

_WIDTH = 78
_LINE_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Numbers:
    """One look at the whole. `expected` final outcomes; `lanes`, `pending` and `latencies` (seconds) may be unknown."""

    planned: int
    sent: int
    expected: int
    created: int
    completed: int
    failed: int
    lanes: int | None
    pending: int | None
    latencies: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, counted twice: from what was sent, and from what was seen."""

    what: str
    expected: int
    seen: int

    @property
    def holds(self) -> bool:
        return self.expected == self.seen


class View:
    """A context manager: inside it the panel is on the screen."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=5, transient=True)
        self._started = time.monotonic()
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(f"[dim]{self._seconds():5.1f} s[/] {text}", soft_wrap=True)

    def show(self, numbers: Numbers) -> None:
        if self._console.is_terminal:
            self._live.update(_panel(numbers))
        elif self._seconds() >= self._next_line:
            self._next_line = self._seconds() + _LINE_EVERY
            self.say(_line(numbers))

    def result(self, checks: Sequence[Check]) -> None:
        table = Table(title="Sent, against seen", title_justify="left", width=_WIDTH)
        table.add_column("what")
        table.add_column("expected", justify="right")
        table.add_column("seen", justify="right")
        table.add_column("")
        for check in checks:
            verdict = "[green]ok[/]" if check.holds else "[bold red]WRONG[/]"
            table.add_row(check.what, str(check.expected), str(check.seen), verdict)
        self._console.print(table)

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def _line(numbers: Numbers) -> str:
    """The most telling ones, in what 80 columns hold."""
    return (
        f"sent {numbers.sent}  created {numbers.created}  completed {numbers.completed}  failed {numbers.failed}"
        f"  pending {_known(numbers.pending)}  p50 {_latency(numbers, 0)}"
    )


def _panel(numbers: Numbers) -> Panel:
    bars = Table.grid(padding=(0, 1))
    for name, done, total in (
        ("requests sent", numbers.sent, numbers.planned),
        ("finished", numbers.completed + numbers.failed, numbers.expected),
    ):
        bars.add_row(name, ProgressBar(total=total, completed=done, width=40), f"{done} of {total}")
    facts = Table.grid(padding=(0, 3))
    facts.add_row(f"created [b]{numbers.created}[/]", f"lanes [b]{_known(numbers.lanes)}[/]")
    facts.add_row(f"completed [green]{numbers.completed}[/]", f"pending [b]{_known(numbers.pending)}[/]")
    facts.add_row(f"failed [yellow]{numbers.failed}[/]")
    facts.add_row(f"request to created: p50 [b]{_latency(numbers, 0)}[/]", f"p99 [b]{_latency(numbers, 1)}[/]")
    return Panel(Group(bars, "", facts), title="terminal operations", width=_WIDTH)


def _known(number: int | None) -> str:
    return "-" if number is None else str(number)


def _latency(numbers: Numbers, which: int) -> str:
    return "-" if numbers.latencies is None else f"{numbers.latencies[which]:.2f} s"
