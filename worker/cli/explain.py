"""`terminal-worker explain`."""

from typing import Annotated

import typer

from worker.cli import common, reading, shown
from worker.cli.story import Story
from worker.settings import Settings


def explain(
    wanted: Annotated[str, typer.Argument(metavar="MESSAGE_ID", help="A message ID, or an idempotency key.")],
    since: shown.Since = None,
) -> None:
    """Tell what became of one request.

    All that is known of it, in the order of time. Reads the requests, the dead
    letters, the state and the outcomes from their beginning; --since makes that
    shorter, and the state is always read whole.
    What retention and compaction have taken is not told. Exits with 1 when
    nothing is known.

    Examples:

        terminal-worker explain 0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44

        terminal-worker explain order-4711 --since 2h
    """
    settings = common.settings(api=False)
    story = reading.run(settings, _collect(settings, wanted, since))
    if not story.events:
        common.fail(f"nothing is known of {shown.harmless(wanted)!r}: is it the message ID, and these the brokers?")
    shown.pairs(story.facts())
    typer.echo()
    shown.table(("TIME", "WHAT", "WHERE", ""), sorted(story.events))
    if story.left_out:
        typer.echo(f"\n{story.left_out} more are left out: narrow it with --since")


async def _collect(settings: Settings, wanted: str, since: int | None) -> Story:
    names = settings.topics
    story = Story(wanted, settings.reader)
    async with reading.opened(settings) as topics:
        async for record in topics.scan(names.requests, since=since):
            story.request(record)
        async for record in topics.scan(names.dead_letters, since=since):
            story.dead_letter(record)
        async for record in topics.scan(names.state):
            story.ledger_record(record)
        async for record in topics.scan(names.outcomes, since=since):
            story.outcome(record)
    return story
