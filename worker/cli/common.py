"""What the commands share: settings, and errors of one line each."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from aiokafka.errors import KafkaError
from pydantic import TypeAdapter, ValidationError

from worker.kafka.topics import TopicsError
from worker.settings import Seconds, Settings, SettingsError, load

FAILED = 1
WRONG_SETTINGS = 2

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


@contextmanager
def brokers(settings: Settings) -> Iterator[None]:
    """Around what asks the brokers: a failure ends the command with its reason.

    The libraries' logs are not shown meanwhile: they repeat the reason, at length and more than once.
    """
    logging.disable(logging.CRITICAL)
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read our output has gone: not the brokers' doing
    except TopicsError as error:
        fail(str(error))
    except (KafkaError, OSError, TimeoutError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        fail(f"no answer from {settings.kafka_bootstrap_servers}: {reason}; `terminal-worker check` finds out why")
    finally:
        logging.disable(logging.NOTSET)


def seconds(text: str) -> float:
    """A duration of the command line, as the settings have them."""
    try:
        return _SECONDS.validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")) from None
