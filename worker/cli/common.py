"""What the commands share: settings, and errors of one line each."""

import os
from typing import Annotated, Any, NoReturn

import typer
from pydantic import TypeAdapter, ValidationError

from worker.settings import Seconds, Settings, SettingsError, load

PROGRAM = "terminal-worker"

FAILED = 1
WRONG_SETTINGS = 2
INTERRUPTED = 130

BootstrapServers = Annotated[str | None, typer.Option(metavar="HOSTS", help="Kafka brokers (KAFKA_BOOTSTRAP_SERVERS).")]

_SECONDS: TypeAdapter[float] = TypeAdapter(Seconds)


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


def seconds(text: str) -> float:
    """A duration of the command line, as the settings have them."""
    try:
        return _SECONDS.validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")) from None
