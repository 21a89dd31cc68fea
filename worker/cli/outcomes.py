"""`terminal-worker outcomes`."""

import sys
from typing import Annotated, NamedTuple

import orjson
import typer
from aiokafka import ConsumerRecord
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from schemas import Failed, OutcomeRecord, UnreadableOutcomeError, names, read_outcome
from worker.cli import common, reading, shown
from worker.cli.topic_reader import open_reader
from worker.domain.outcome import OutcomeType
from worker.settings import Settings

_COLOURS = {"completed": typer.colors.GREEN, "failed": typer.colors.RED}
# With a message ID that is a UUID these make 80 columns. What is longer is shown whole: it is there to be copied.
_HEADER = f"{'time (UTC)':14}  {'terminal':15}  {'outcome':9}  message ID"
_INDENT = 16


class Filter(NamedTuple):
    """What is asked for. By headers, so that what is not asked for is not read."""

    terminal: str | None = None
    message_id: str | None = None
    status: OutcomeType | None = None

    def wants(self, record: ConsumerRecord) -> bool:
        event_type = self.status and names.OUTCOME_TYPES[self.status.value]
        wanted = {names.CE_SUBJECT: self.terminal, names.CE_CAUSATIONID: self.message_id, names.CE_TYPE: event_type}
        headers = dict(record.headers)
        return all(text is None or headers.get(name) == text.encode() for name, text in wanted.items())


def outcomes(
    terminal: Annotated[str | None, typer.Option(metavar="ID", help="Only of this terminal.")] = None,
    message_id: Annotated[str | None, typer.Option(metavar="ID", help="Only of this request.")] = None,
    status: Annotated[
        OutcomeType | None, typer.Option(metavar="STATUS", help="Only created, completed or failed.")
    ] = None,
    since: shown.Since = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="The outcomes themselves, a JSON object a line.")] = False,
    bootstrap_servers: common.BootstrapServers = None,
) -> None:
    """Show the outcomes that are on the topic, and with --follow those that come.

    They are in order for each terminal, not over all. A failed one has its reason
    on a second line. A record that is no outcome is told on standard error.

    Examples:

        terminal-worker outcomes --since 1h --status failed

        terminal-worker outcomes --follow --terminal P11223351-T0013

        terminal-worker outcomes --since 24h --jsonl | jq -r .message_id
    """
    settings = common.settings(api=False, kafka_bootstrap_servers=bootstrap_servers)
    wanted = Filter(terminal, message_id, status)
    reading.run(settings, _show(settings, wanted, since, follow=follow, jsonl=jsonl))


async def _show(settings: Settings, wanted: Filter, since: int | None, *, follow: bool, jsonl: bool) -> None:
    console = Console(highlight=False)
    async with open_reader(settings.connection, settings.topics.outcomes, since=since) as reader:
        if not jsonl:
            typer.echo(_HEADER)
        async for records in reader.batches(follow=follow):
            for record in filter(wanted.wants, records):
                print_outcome(record, console, jsonl=jsonl)
            sys.stdout.flush()


def print_outcome(record: ConsumerRecord, console: Console, *, jsonl: bool) -> None:
    """One outcome on standard output; a record that is none, on one line of standard error."""
    try:
        read = read_outcome(record.value, record.headers)
        if read is None:
            return  # an event of another type, such as a later version
        line = orjson.dumps(orjson.loads(record.value)).decode() if jsonl else _lines(read, console)
    except (UnreadableOutcomeError, orjson.JSONDecodeError) as error:
        place = f"{record.topic} partition {record.partition} offset {record.offset}"
        typer.echo(shown.harmless(f"no outcome: {place}: {error}"), err=True)
    else:
        typer.echo(line, color=True)


def _lines(read: OutcomeRecord, console: Console) -> str:
    outcome = read.outcome
    status = f"{outcome.status:9}"
    if console.color_system and not console.no_color and (colour := _COLOURS.get(outcome.status)):
        status = typer.style(status, fg=colour)
    terminal, message_id = shown.harmless(outcome.terminal_id or "unknown"), shown.harmless(outcome.message_id)
    line = f"{outcome.occurred_at:%m-%d %H:%M:%S}  {terminal:15}  {status}  {message_id}"
    if not isinstance(outcome, Failed):
        return line
    why = shown.harmless(f"{outcome.operation or 'unknown'}: {outcome.error.reason}: {outcome.error.message}")
    return f"{line}\n{'':{_INDENT}}{set_cell_size(why, min(cell_len(why), console.width - _INDENT))}"
