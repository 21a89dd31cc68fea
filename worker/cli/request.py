"""`terminal-worker request`."""

import asyncio
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from worker.cli import common, reading
from worker.cli.requests.intake import Intake
from worker.cli.requests.lines import Line, read_lines
from worker.cli.requests.send import send
from worker.cli.requests.wait import Outcomes, wait
from worker.cli.topic_reader import open_reader
from worker.settings import Settings

_PROBLEMS_SHOWN = 50
# The outcome of a request that is sent now cannot be older than this, whatever the clocks of brokers and workers say.
_CLOCKS_APART = 300.0


def request(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="CSV with a header, or JSON lines; - reads standard input.")
    ] = None,
    terminal: Annotated[str | None, typer.Option(metavar="ID", help="The terminal, for one request.")] = None,
    operation: Annotated[
        str | None, typer.Option(metavar="NAME", help="end_of_day, send_logs, check_update, open_menu.")
    ] = None,
    parameters: Annotated[str | None, typer.Option(metavar="JSON", help="An object, given to the API.")] = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="RFC 3339; not created by then: failed.")
    ] = None,
    message_id: Annotated[str | None, typer.Option(metavar="ID", help="Runs once for ever; made when absent.")] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="NAME", help="Makes IDs from content and this name: a repeat runs nothing.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.01, metavar="NUMBER", help="At most so many requests a second.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all, send nothing.")] = False,
    wait_: Annotated[bool, typer.Option("--wait", help="Until each has its final outcome.")] = False,
    timeout: Annotated[
        float, typer.Option(parser=common.seconds, metavar="DURATION", help="How long --wait waits at most.")
    ] = "1h",  # type: ignore[assignment]
    bootstrap_servers: common.BootstrapServers = None,
) -> None:
    """Request operations of terminals: one by flags, or many from a file.

    Every line is checked before any is sent. CSV columns and JSON members are
    terminal_id, operation, parameters, expires_at and message_id; the first two
    are required. A request without a message_id gets one made from its content
    and --batch: the same file with the same name can be sent again, and nothing
    runs twice. Another name runs it again.

    Message IDs go to standard output, all else to standard error. Exit codes:
    0 done; 1 not all sent or, with --wait, not all completed; 2 something is
    wrong with the lines, and nothing was sent.

    Examples:

        terminal-worker request --terminal P11223351-T0013 \\
            --operation end_of_day --wait

        terminal-worker request night.csv --batch night-2026-11-22 --dry-run

        cat night.jsonl | terminal-worker request - --batch night-2026-11-22
    """
    one = {"terminal_id": terminal, "operation": operation, "expires_at": expires_at, "message_id": message_id}
    given = {name: value for name, value in one.items() if value is not None}
    if (file is None) == (terminal is None) or (file is not None and (given or parameters)):
        raise typer.BadParameter("give either a FILE, or --terminal and --operation")
    if file is None and operation is None:
        raise typer.BadParameter("--operation: is required with --terminal")
    settings = common.settings(api=False, kafka_bootstrap_servers=bootstrap_servers)
    if file is None and message_id is None and batch is None:
        given["message_id"] = str(uuid.uuid4())
        known = time.time() - _CLOCKS_APART
    else:
        known = time.time() - settings.worker_dedupe_window
    with closing(Intake(settings, batch=batch)) as intake:
        if file is None:
            _check(intake.take([Line(0, given | _parsed(parameters))]))
        else:
            with _opened(file) as stream:
                _check(intake.take(read_lines(stream)))
        sending = _Sending(settings, intake, listed=file is None or dry_run or not sys.stdout.isatty())
        if dry_run:
            sending.listing(intake.lines)
            sending.console.print(f"{len(intake)} requests are good; nothing was sent")
            return
        reading.run(settings, sending.run(rate, timeout if wait_ else None, int(known * 1000)))


class _Sending:
    """One run of the command after everything was found good: what it shows, and how it ends."""

    def __init__(self, settings: Settings, intake: Intake, *, listed: bool) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._settings = settings
        self._intake = intake
        self._listed = listed
        self._sent = 0

    def listing(self, message_ids: Iterable[str]) -> None:
        if self._listed:
            for message_id in message_ids:
                typer.echo(message_id)

    async def run(self, rate: float | None, timeout: float | None, known: int) -> None:
        """Sends all, and waits up to `timeout` seconds for outcomes that are not before `known` (ms)."""
        settings = self._settings
        if timeout is None:
            await self._send(rate)
            return
        # Before the first is sent, so that no outcome is missed; a repeat's outcome may be there already.
        async with open_reader(settings.connection, settings.topics.outcomes, since=known) as reader:
            await self._send(rate)
            outcomes = Outcomes(self._intake.lines)
            try:
                with self._bar("waiting", len(self._intake)) as (bar, task):
                    async with asyncio.timeout(timeout) as limit:
                        await wait(reader, outcomes, lambda: self._show(bar, task, outcomes))
            except TimeoutError:
                if not limit.expired():
                    raise
                self.console.print(
                    f"not all final in {timeout:.0f} s: see `terminal-worker pending` and the dead letters"
                )
        self.console.print(outcomes.table())
        if outcomes.counts["completed"] < len(self._intake):
            raise typer.Exit(common.FAILED)

    async def _send(self, rate: float | None) -> None:
        total = len(self._intake)
        try:
            with self._bar("sending", total) as (bar, task):

                def sent(message_ids: list[str]) -> None:
                    self._sent += len(message_ids)
                    self.listing(message_ids)
                    bar.update(task, completed=self._sent)

                settings = self._settings
                await send(settings.connection, settings.topics.requests, self._intake.records(), rate=rate, sent=sent)
        finally:
            self.console.print(f"{self._sent} of {total} sent{self._again()}")

    def _again(self) -> str:
        if self._sent == len(self._intake):
            return ""
        (first, *others) = self._intake.lines
        which = "the same file, with its --batch if it had one," if others else f"the same with --message-id {first}"
        return f"; send {which} again: nothing runs twice"

    @contextmanager
    def _bar(self, what: str, total: int) -> Iterator[tuple[Progress, TaskID]]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[now]}"),
        )
        hidden = not self.console.is_terminal
        # Redirected, standard output would go where the bar is: to standard error.
        with Progress(*columns, console=self.console, disable=hidden, transient=True, redirect_stdout=False) as bar:
            yield bar, bar.add_task(what, total=total, now="")

    def _show(self, bar: Progress, task: TaskID, outcomes: Outcomes) -> None:
        bar.update(task, completed=len(self._intake) - outcomes.open, now=str(outcomes))


def _parsed(parameters: str | None) -> dict[str, Any]:
    if parameters is None:
        return {}
    try:
        return {"parameters": orjson.loads(parameters)}
    except orjson.JSONDecodeError:
        raise typer.BadParameter("--parameters: expected a JSON object") from None


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(file).open("rb") as stream:
            yield stream
    except OSError as error:
        common.fail(f"{file}: {error.strerror}", code=common.WRONG_SETTINGS)


def _check(problems: Iterator[tuple[int, str]]) -> None:
    """Ends the command when there are problems, each on a line of its own."""
    count = 0
    for number, problem in problems:
        count += 1
        if count <= _PROBLEMS_SHOWN:
            typer.echo(f"error: {f'line {number}: ' if number else ''}{problem}", err=True)
    if count > _PROBLEMS_SHOWN:
        typer.echo(f"error: and {count - _PROBLEMS_SHOWN} more", err=True)
    if count:
        raise typer.Exit(common.WRONG_SETTINGS)
