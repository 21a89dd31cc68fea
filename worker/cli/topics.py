"""`terminal-worker topics`."""

from typing import Annotated

import typer

from worker.cli import common, reading
from worker.kafka import topics as kafka_topics

topics = typer.Typer(no_args_is_help=True)


@topics.callback()
def _commands() -> None:
    """The topics that the worker reads and writes.

    Requests, outcomes, state and dead letters. `terminal-worker run` makes none,
    and refuses to start on topics that are unfit.

    Examples:

        terminal-worker topics create
    """


@topics.command()
def create(
    partitions: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Of each topic.")] = 12,
    replication_factor: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Copies of each partition.")] = 3,
) -> None:
    """Make the topics that are missing, the state topic compacted.

    Those that exist are left as they are: `terminal-worker check` tells whether
    they are fit. The number of partitions is the most workers that can share the
    work, and is hard to change later.

    Examples:

        terminal-worker topics create --partitions 24

        terminal-worker topics create --partitions 4 --replication-factor 1
    """
    settings = common.settings(api=False)
    creating = kafka_topics.create(
        settings.connection, settings.topics, partitions=partitions, replication_factor=replication_factor
    )
    made = reading.run(settings, creating)
    for name, is_new in made.items():
        typer.echo(f"{'created' if is_new else 'exists '}  {name}")
