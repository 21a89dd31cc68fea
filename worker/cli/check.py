"""`terminal-worker check`."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.cli import common, shown
from worker.cli.checks.cluster import open_cluster
from worker.cli.checks.finding import Finding, Level, failed, until_failed
from worker.cli.checks.network import check_authentication, check_bootstrap, check_cluster, check_tls
from worker.cli.checks.permissions import check_reading, check_topics, check_writing
from worker.dintero.call import Credentials
from worker.settings import Settings, SettingsError, accounts, load

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red", Level.SKIPPED: "dim"}
_KAFKA = ("brokers", "tls", "authentication", "cluster", "topics", "permissions")
_API = ("api",)


def check(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, instead of the table.")] = False,
    bootstrap_servers: common.BootstrapServers = None,
) -> None:
    """Find out whether a worker could run here, and what to do where it could not.

    Looks at the settings, reaches the brokers, their TLS and authentication, the
    topics, every permission that the worker needs, transactions, a token for each
    account, and this machine's clock. What needs a check that failed is skipped.

    It joins no group and writes no record, so it may run beside workers. To see
    whether we may write, it aborts a transaction of its own: that leaves a marker
    no reader sees in the first partition of outcomes, state and dead letters, and
    a transactional id that the brokers forget by themselves.

    Exit codes: 0 no problem; 1 there is one, also where it is in the settings.

    Examples:

        terminal-worker check

        terminal-worker check --json | jq '.findings[] | select(.fix)'
    """
    logging.disable(logging.CRITICAL)  # the libraries tell each failure again, at length
    try:
        findings = asyncio.run(_findings(bootstrap_servers))
    finally:
        logging.disable(logging.NOTSET)
    if as_json:
        told = [
            {"check": each.check, "level": each.level.value, "found": each.found, "fix": each.fix} for each in findings
        ]
        typer.echo(orjson.dumps({"ok": not failed(findings), "findings": told}))
    else:
        _show(findings)
    if failed(findings):
        raise typer.Exit(common.FAILED)


async def _findings(bootstrap_servers: str | None) -> list[Finding]:
    findings, settings, credentials = _check_settings(bootstrap_servers)
    kafka = _check_kafka(settings) if settings else None
    api = _check_api(settings, credentials) if settings and credentials else None
    return [*findings, *await until_failed(_KAFKA, kafka), *await until_failed(_API, api)]


async def _check_kafka(settings: Settings) -> AsyncGenerator[list[Finding]]:
    connection = settings.connection
    found, reached = await check_bootstrap(connection)
    yield found
    yield await check_tls(connection, reached[0])
    yield await check_authentication(connection, reached[0])
    async with open_cluster(connection) as cluster:
        yield await check_cluster(cluster.addresses())
        yield await check_topics(connection, settings.topics)
        yield [*await check_reading(cluster, settings), *await check_writing(cluster, settings)]


async def _check_api(settings: Settings, credentials: Mapping[str, Credentials]) -> AsyncGenerator[list[Finding]]:
    # Here, since it brings the API's client, and OpenTelemetry with it.
    from worker.cli.checks.api import check_tokens

    yield await check_tokens(settings, credentials)


def _check_settings(bootstrap_servers: str | None) -> tuple[list[Finding], Settings | None, Mapping[str, Credentials]]:
    """What is wrong with them, and as much of them as the other checks can go by."""
    settings: Settings | None = None
    credentials: Mapping[str, Credentials] = {}
    problems = ""
    try:
        settings = load(os.environ, kafka_bootstrap_servers=bootstrap_servers)
        credentials = accounts(settings)
    except SettingsError as error:
        problems = str(error)
        with suppress(SettingsError):
            settings = settings or load(os.environ, api=False, kafka_bootstrap_servers=bootstrap_servers)
    if problems:
        return [Finding("settings", Level.PROBLEM, line) for line in problems.splitlines()], settings, credentials
    return (
        [Finding("settings", Level.OK, f"complete, with credentials of {len(credentials)} accounts")],
        settings,
        credentials,
    )


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("check", "result", "what was found, and what to do"):
        table.add_column(column, overflow="fold")
    for each in findings:
        found = Text(shown.harmless(each.found))
        if each.fix:
            found.append(f"\n→ {shown.harmless(each.fix)}", "bold")
        table.add_row(each.check, Text(each.level.value, _STYLES[each.level]), found)
    Console(highlight=False).print(table)
