"""`terminal-worker unconfirmed`: a person's word where the worker cannot know."""

import getpass
from typing import Annotated

import typer

from schemas import Failed
from worker.cli import common, reading, shown
from worker.cli.publishing import publish
from worker.cli.resolutions import Found, RefusedError, Resolution, event
from worker.settings import Settings

unconfirmed = typer.Typer(no_args_is_help=True)


@unconfirmed.callback()
def _commands() -> None:
    """Requests that may have run: for a person who has looked at the terminal.

    They ended `failed`, reason `unconfirmed`: to ask the API again could have run
    them twice. What the terminal did can be published for others to read.

    Examples:

        terminal-worker unconfirmed list --since 7d

        terminal-worker unconfirmed resolve order-4711 --as completed
    """


@unconfirmed.command("list")
def list_(since: shown.Since = None) -> None:
    """List the outcomes that are unconfirmed and not resolved, oldest first.

    They are read from the outcomes topic: what its retention has taken is not
    listed.

    Examples:

        terminal-worker unconfirmed list --since 7d
    """
    settings = common.settings(api=False)
    found = reading.run(settings, _find(settings, since)).open
    if not found:
        typer.echo("nothing is unconfirmed")
        return
    shown.table(
        ("TIME", "TERMINAL", "OPERATION", "MESSAGE ID"),
        (
            (_time(outcome), outcome.terminal_id, outcome.operation, outcome.message_id)
            for outcome in sorted((each.outcome for each in found), key=lambda outcome: outcome.occurred_at)
        ),
    )


@unconfirmed.command()
def resolve(
    wanted: Annotated[str, typer.Argument(metavar="MESSAGE_ID", help="The request's, or its idempotency key.")],
    resolution: Annotated[Resolution, typer.Option("--as", help="What the terminal did.")],
    note: Annotated[str | None, typer.Option(help="What was seen, for others to read.")] = None,
    by: Annotated[str | None, typer.Option(help="Who looked; the user of this machine without it.")] = None,
    since: shown.Since = None,
) -> None:
    """Publish what became of a request, after looking at the terminal.

    It is an event of its own type on the outcomes topic,
    terminal.operation.resolved.v1. It changes nothing that the worker does, and
    a request can be resolved in one way only. Said twice, it is the same event.

    Examples:

        terminal-worker unconfirmed resolve order-4711 --as completed

        terminal-worker unconfirmed resolve order-4711 --as failed --note 'no receipt'
    """
    settings = common.settings(api=False)
    found = reading.run(settings, _find(settings, since))
    key = _key(found, wanted)
    known = found.resolved.get(key)
    if known is not None:
        told = (
            f"{shown.harmless(wanted)} is already resolved as {known.resolution} by {shown.harmless(known.resolved_by)}"
        )
        if known.resolution != resolution.value:
            common.fail(f"{told}: a resolution is the last word")
        typer.echo(told)
        return
    try:
        message = event(
            found.unconfirmed[key],
            resolution,
            by=by or _user(),
            note=note,
            topic=settings.kafka_outcomes_topic,
            source=settings.worker_event_source,
        )
    except RefusedError as error:
        common.fail(str(error), code=common.WRONG_SETTINGS)
    reading.run(settings, publish(settings, [message]))
    typer.echo(f"{shown.harmless(wanted)} is resolved as {resolution.value}")


async def _find(settings: Settings, since: int | None) -> Found:
    found = Found()
    async with reading.opened(settings) as topics:
        async for record in topics.scan(settings.topics.outcomes, since=since):
            found.take(record)
    return found


def _key(found: Found, wanted: str) -> str:
    keys = found.keys(wanted)
    if not keys:
        common.fail(f"{shown.harmless(wanted)!r} has no unconfirmed outcome: see `terminal-worker unconfirmed list`")
    if len(keys) > 1:
        common.fail(f"{shown.harmless(wanted)!r} is the message ID of several requests: give one of {', '.join(keys)}")
    return keys[0]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return "unknown"


def _time(outcome: Failed) -> str:
    return shown.moment(int(outcome.occurred_at.timestamp() * 1000))
