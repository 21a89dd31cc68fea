"""`terminal-worker run`: a process that is a worker and nothing else."""

import asyncio
import gc
import logging
import signal
from typing import Annotated

import structlog
import typer
import uvloop

from worker import __version__
from worker.cli import common
from worker.kafka.topics import TopicsError
from worker.settings import Settings, SettingsError
from worker.telemetry import logs

# What the HTTP server has to answer what is being asked, once the worker has stopped.
_CLOSE = 2.0

log = structlog.wrap_logger(logging.getLogger(__name__))


def run(
    bootstrap_servers: common.BootstrapServers = None,
    http_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Of probes, metrics, status (WORKER_HTTP_PORT).")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="DEBUG, INFO, WARNING, ERROR (WORKER_LOG_LEVEL).")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="json or console (WORKER_LOG_FORMAT).")
    ] = None,
) -> None:
    """Run the worker until SIGTERM or Ctrl-C, which drains it and exits 0.

    Settings come from the environment; the flags here override them. A second
    worker of the same group takes half of the partitions, and so on.

    Examples:

        terminal-worker run

        terminal-worker run --log-format console --http-port 8090
    """
    # Imported here and in `_run`: the other commands need not wait for HTTP, OpenTelemetry and the Kafka client.
    from worker.http.server import ListenError

    settings = common.settings(
        kafka_bootstrap_servers=bootstrap_servers,
        worker_http_port=http_port,
        worker_log_level=log_level,
        worker_log_format=log_format,
    )
    logs.configure(settings.worker_log_level, settings.worker_log_format)
    logs.debug_on_sighup()
    try:
        uvloop.run(_run(settings))
    except SettingsError as error:
        common.fail(str(error), code=common.WRONG_SETTINGS)
    except (TopicsError, ListenError) as error:
        common.fail(str(error))


async def _run(settings: Settings) -> None:
    from worker.http.server import Server
    from worker.runtime import Runtime

    runtime = Runtime(settings)
    server = Server(settings.worker_http_host, settings.worker_http_port, runtime.view)

    def stop(number: int) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        runtime.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await server.start()
        spare_the_collector()
        log.info("worker_started", version=__version__, http_port=server.port)
        await runtime.run()
    finally:
        await runtime.aclose()
        await server.stop(_CLOSE)
    log.info("worker_stopped")


def spare_the_collector() -> None:
    """Python's defaults look for cycles every 700 objects: 9 % of our CPU, and long pauses with many entries.

    A look at 50,000 objects takes 10 to 20 ms. So looks are small, 7,500 at most, and all there is is looked at
    every 25 million.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_500, 1, 5_000)
