"""The commands together, and how each of them ends."""

from typing import Annotated, Any

import typer

from worker import __version__
from worker.cli import common
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

# The base of what tells wrong use; Typer brings it along under no name of its own.
_WrongUse: Any = typer.BadParameter.__base__

_TRY, _SET_UP, _USE, _REPAIR = "Try and learn", "Set up and run", "Ask and look", "Set right"

app = typer.Typer(
    name=common.PROGRAM,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback is no message for a user, and may hold secrets
)
app.command(rich_help_panel=_TRY)(demo)
app.command(rich_help_panel=_TRY)(simulate)
app.command(rich_help_panel=_TRY)(schemas)
app.command(rich_help_panel=_SET_UP)(check)
app.add_typer(topics, name="topics", rich_help_panel=_SET_UP)
app.command(rich_help_panel=_SET_UP)(run)
app.command(rich_help_panel=_USE)(request)
app.command(rich_help_panel=_USE)(outcomes)
app.command(rich_help_panel=_USE)(pending)
app.command(rich_help_panel=_USE)(explain)
app.add_typer(unconfirmed, name="unconfirmed", rich_help_panel=_REPAIR)
app.add_typer(dead_letters, name="dead-letters", rich_help_panel=_REPAIR)
app.add_typer(state, name="state", rich_help_panel=_REPAIR)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{common.PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run payment terminal operations that are requested on Kafka, exactly once,
    and publish their outcomes.

    Settings come from the environment: `terminal-worker check` tells which are
    missing or wrong.

    Examples:

        terminal-worker check

        terminal-worker topics create

        terminal-worker run

        terminal-worker request --terminal P11223351-T0013 \\
            --operation end_of_day --wait
    """


def run_command() -> int:
    """Does what the command line says, and gives the exit code. What is wrong with it is told in one line."""
    try:
        return app(prog_name=common.PROGRAM, standalone_mode=False) or 0
    except _WrongUse as wrong:
        told = " ".join(wrong.format_message().split()).rstrip(".")
        typer.echo(f"error: {told}; see `{wrong.ctx.command_path if wrong.ctx else common.PROGRAM} --help`", err=True)
        return common.WRONG_SETTINGS
    except typer.Abort as aborted:
        typer.echo("error: not confirmed: nothing was done", err=True)
        return common.INTERRUPTED if isinstance(aborted.__context__, KeyboardInterrupt) else common.FAILED
