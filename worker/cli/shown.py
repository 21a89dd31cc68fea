"""What a person gives and sees: times, text of others made harmless, tables that fit a terminal."""

import time
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.cli import common
from worker.clock import rfc3339
from worker.kafka.fields import LATEST, Refused, milliseconds


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _moment(text: str) -> int:
    try:
        return max(0, milliseconds(text, "time"))
    except Refused:
        pass
    return now() - round(common.seconds(text) * 1000)


Since = Annotated[
    int | None,
    typer.Option(parser=_moment, metavar="TIME", help="Only records from then on: 15m, 24h, 7d, or an RFC 3339 time."),
]
OlderThan = Annotated[
    float | None,
    typer.Option(parser=common.seconds, metavar="DURATION", help="Only requests older than this: 30s, 15m, 24h."),
]


def age(milliseconds_ago: int) -> str:
    """In its two largest units: `3d04h`, `2h05m`, `7m30s`, `12s`."""
    seconds = max(0, milliseconds_ago) // 1000
    for large, small, size, part in (("d", "h", 86_400, 3_600), ("h", "m", 3_600, 60), ("m", "s", 60, 1)):
        if seconds >= size:
            return f"{seconds // size}{large}{seconds % size // part:02}{small}"
    return f"{seconds}s"


def moment(time_ms: int) -> str:
    """RFC 3339, also of a time that no clock showed: others write to these topics too."""
    return rfc3339(min(max(time_ms, 0), LATEST))


def harmless(value: object) -> str:
    """Text of others on one line: a control character could rewrite the terminal, and becomes its escape."""
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Printed as wide as the terminal, 80 columns elsewhere. What is too long is folded, never cut."""
    # A space between columns: a message ID that is a UUID, its terminal and the rest then fit a line.
    drawn = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold", justify="right" if column in right else "left")
    for row in rows:
        drawn.add_row(*(Text(harmless(cell)) for cell in row))
    Console(highlight=False).print(drawn)


def pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Names and values, a line each."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"{name:{width}}  {harmless(value)}")
