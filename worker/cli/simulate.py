"""`terminal-worker simulate`: the API, with faults."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from pydantic import ValidationError

from worker.cli import common
from worker.credentials import AccountsFile, UnreadableError
from worker.simulator.settings import Settings


def simulate(
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="Port to listen on; 0 takes a free one.")] = 8081,
    seed: Annotated[int | None, typer.Option(metavar="NUMBER", help="Makes chance repeat itself.")] = None,
    accounts_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take only the accounts of DINTERO_ACCOUNTS_FILE.")
    ] = None,
    latency: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Seconds before each answer.")] = 0.0,
    jitter: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="At most so many more.")] = 0.0,
    completion_min: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Seconds an operation takes, at least.")
    ] = 1.0,
    completion_max: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Seconds an operation takes, at most.")
    ] = 3.0,
    error_before_rate: Annotated[
        float, typer.Option(min=0, max=1, metavar="RATE", help="503, nothing executed.")
    ] = 0.0,
    error_after_rate: Annotated[float, typer.Option(min=0, max=1, metavar="RATE", help="502, executed.")] = 0.0,
    cut_rate: Annotated[float, typer.Option(min=0, max=1, metavar="RATE", help="Executed, connection cut.")] = 0.0,
    garbage_rate: Annotated[
        float, typer.Option(min=0, max=1, metavar="RATE", help="Executed, 200 with a page that is no JSON.")
    ] = 0.0,
    hang_rate: Annotated[float, typer.Option(min=0, max=1, metavar="RATE", help="Executed, never answered.")] = 0.0,
    throttle_rate: Annotated[
        float, typer.Option(min=0, max=1, metavar="RATE", help="429 with Retry-After, nothing executed.")
    ] = 0.0,
    fail_rate: Annotated[float, typer.Option(min=0, max=1, metavar="RATE", help="Operations that end FAILED.")] = 0.0,
    timeout_rate: Annotated[
        float, typer.Option(min=0, max=1, metavar="RATE", help="Operations that end TIMEOUT.")
    ] = 0.0,
    fail: Annotated[str, typer.Option(metavar="PATTERN", help="Terminals whose operations end FAILED.")] = "",
    timeout: Annotated[str, typer.Option(metavar="PATTERN", help="Terminals whose operations end TIMEOUT.")] = "",
    reject: Annotated[str, typer.Option(metavar="PATTERN", help="Terminals that do not exist: 404.")] = "*-T9999",
    busy: Annotated[bool, typer.Option(help="409 while the terminal is at another operation.")] = True,
) -> None:
    """Run Dintero's terminal operations API on this machine, with faults.

    DINTERO_BASE_URL=http://127.0.0.1:8081 leads a worker to it; it takes any
    client id and secret. PUT /_simulator changes its faults while it runs, GET
    shows them and what it has counted. Patterns are those of a shell: *-T9999.

    Examples:

        terminal-worker simulate

        terminal-worker simulate --error-after-rate 0.1 --cut-rate 0.05 --seed 7

        terminal-worker simulate --completion-min 20 --completion-max 60
    """
    try:
        settings = Settings(
            latency=latency,
            jitter=jitter,
            completion_min=completion_min,
            completion_max=completion_max,
            error_before_rate=error_before_rate,
            error_after_rate=error_after_rate,
            cut_rate=cut_rate,
            garbage_rate=garbage_rate,
            hang_rate=hang_rate,
            throttle_rate=throttle_rate,
            fail_rate=fail_rate,
            timeout_rate=timeout_rate,
            fail=fail,
            timeout=timeout,
            reject=reject,
            busy=busy,
        )
        accounts = None if accounts_file is None else AccountsFile(accounts_file)
    except ValidationError as error:
        raise typer.BadParameter("; ".join(problem["msg"] for problem in error.errors(include_input=False))) from None
    except UnreadableError as error:
        raise typer.BadParameter(str(error)) from None
    uvloop.run(_until_stopped(host, port, settings, seed, accounts))


async def _until_stopped(
    host: str, port: int, settings: Settings, seed: int | None, accounts: AccountsFile | None
) -> None:
    # Imported here, as in `run`: the other commands need no HTTP server.
    from worker.simulator.server import serve

    def ready(port: int) -> None:
        typer.echo(f"simulating Dintero's API on http://{host}:{port}")

    serving = asyncio.ensure_future(serve(host, port, settings, ready, seed=seed, accounts=accounts))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        typer.echo("stopped")
    except OSError as error:
        common.fail(f"cannot listen on {host}:{port}: {error.strerror}")
