from typing import Annotated

import typer
import uvloop

from worker.cli import common
from worker.http.server import ListenError
from worker.kafka.topics import TopicsError
from worker.settings import Settings, SettingsError
from worker.telemetry import logs


def run(
    bootstrap_servers: Annotated[str | None, typer.Option(help="Kafka brokers (KAFKA_BOOTSTRAP_SERVERS).")] = None,
    http_port: Annotated[int | None, typer.Option(help="Port of probes, metrics, status (WORKER_HTTP_PORT).")] = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING, ERROR (WORKER_LOG_LEVEL).")] = None,
    log_format: Annotated[str | None, typer.Option(help="json or console (WORKER_LOG_FORMAT).")] = None,
) -> None:
    """Run the worker until SIGTERM, which drains it and exits 0.

    Settings come from the environment; the flags here override them.
    """
    settings = common.settings(
        kafka_bootstrap_servers=bootstrap_servers,
        worker_http_port=http_port,
        worker_log_level=log_level,
        worker_log_format=log_format,
    )
    logs.configure(settings.worker_log_level, settings.worker_log_format)
    try:
        uvloop.run(_run(settings))
    except SettingsError as error:
        common.fail(str(error), code=common.WRONG_SETTINGS)
    except (TopicsError, ListenError) as error:
        common.fail(str(error))


async def _run(settings: Settings) -> None:
    # Imported here: the other commands need not wait for OpenTelemetry and the Kafka client to load.
    from worker.runtime import Runtime

    await Runtime(settings).run()
