"""What the commands share: settings, and errors of one line each."""

import os
from typing import Any, NoReturn

import typer

from worker.settings import Settings, SettingsError, load

FAILED = 1
WRONG_SETTINGS = 2


def settings(*, api: bool = True, **flags: Any) -> Settings:
    """The settings, or the end of the command with every problem on a line of its own."""
    try:
        return load(os.environ, api=api, **flags)
    except SettingsError as error:
        fail(str(error), code=WRONG_SETTINGS)


def fail(message: str, *, code: int = FAILED) -> NoReturn:
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
    raise typer.Exit(code)
