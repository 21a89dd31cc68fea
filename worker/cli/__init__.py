"""The command line: one thin file a command."""

import sys

import typer

from worker.cli.check import check
from worker.cli.dead_letters import dead_letters
from worker.cli.demo import demo
from worker.cli.explain import explain
from worker.cli.outcomes import outcomes
from worker.cli.pending import pending
from worker.cli.request import request
from worker.cli.run import run
from worker.cli.schemas import schemas
from worker.cli.simulate import simulate
from worker.cli.state import state
from worker.cli.topics import topics
from worker.cli.unconfirmed import unconfirmed

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
app.command()(check)
app.command()(request)
app.command()(outcomes)
app.command()(pending)
app.command()(explain)
app.add_typer(topics, name="topics")
app.add_typer(state, name="state")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(unconfirmed, name="unconfirmed")


def main() -> None:
    """Exit codes: 0 done, 1 failed, 2 wrong use or settings, 130 interrupted."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
