"""The command line: one thin file a command."""

import sys

import typer

from worker.cli.demo import demo
from worker.cli.run import run
from worker.cli.schemas import schemas
from worker.cli.simulate import simulate
from worker.cli.topics import topics

app = typer.Typer(
    name="terminal-worker",
    help="Runs payment terminal operations requested on Kafka, exactly once, and publishes their outcomes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback is no message for a user, and may hold secrets
)
app.command()(run)
app.command()(simulate)
app.command()(demo)
app.command()(schemas)
app.add_typer(topics, name="topics")


def main() -> None:
    """Exit codes: 0 done, 1 failed, 2 wrong use or settings, 130 interrupted."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
