"""The way to the brokers, a step at a time: reach one, TLS, authentication, and every broker by its own address."""

import asyncio
import ssl
import time
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from worker.cli.checks.finding import Finding, Level
from worker.kafka.connection import Connection

_TIMEOUT = 10.0
_REACH = 5.0
_EXPIRES_SOON = 14 * 86_400.0

Address = tuple[str, int]


async def check_bootstrap(connection: Connection) -> tuple[list[Finding], list[Address]]:
    """Which of the addresses take a connection. One is enough to begin with."""
    fix = "check KAFKA_BOOTSTRAP_SERVERS, DNS and firewalls"
    try:
        wanted = [(host, port) for host, port, _ in collect_hosts(connection.bootstrap_servers, randomize=False)]
    except ValueError:
        return [Finding("brokers", Level.PROBLEM, "KAFKA_BOOTSTRAP_SERVERS: expected host:port, host:port", fix)], []
    reasons = await _reach(wanted)
    reached = [address for address, reason in reasons.items() if reason is None]
    level = Level.WARNING if reached else Level.PROBLEM
    findings = [Finding("brokers", level, f"{_name(at)}: {why}", fix) for at, why in reasons.items() if why]
    if reached:
        findings.insert(0, Finding("brokers", Level.OK, f"reached {', '.join(map(_name, reached))}"))
    return findings, reached


async def check_cluster(advertised: list[Address]) -> list[Finding]:
    """Clients go to every broker, by the address that the cluster tells of it."""
    fix = "this machine must resolve and reach what the broker's advertised.listeners says"
    reasons = await _reach(advertised)
    problems = [Finding("cluster", Level.PROBLEM, f"{_name(at)}: {why}", fix) for at, why in reasons.items() if why]
    return problems or [Finding("cluster", Level.OK, f"reached {', '.join(map(_name, advertised))}")]


async def check_tls(connection: Connection, address: Address) -> list[Finding]:
    if not connection.security_protocol.endswith("SSL"):
        if connection.sasl_mechanism == "PLAIN":
            fix = "KAFKA_SECURITY_PROTOCOL=SASL_SSL, on brokers that have such a listener"
            return [Finding("tls", Level.WARNING, "the password crosses the network as it is", fix)]
        return [Finding("tls", Level.SKIPPED, f"not used: {connection.security_protocol}")]
    try:
        context = connection.options()["ssl_context"]
    except (ssl.SSLError, OSError) as error:
        fix = "check KAFKA_SSL_CAFILE, KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE: PEM files, the key of the certificate"
        return [Finding("tls", Level.PROBLEM, f"the files cannot be used: {_reason(error)}", fix)]
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(*address, ssl=context, server_hostname=address[0])
    except ssl.SSLCertVerificationError as error:
        fix = "KAFKA_SSL_CAFILE: the CA of the brokers; KAFKA_BOOTSTRAP_SERVERS: the names in their certificates"
        return [Finding("tls", Level.PROBLEM, f"{_name(address)}: {error.verify_message}", fix)]
    except (OSError, TimeoutError) as error:
        fix = "use the port of a TLS listener, or KAFKA_SECURITY_PROTOCOL without SSL"
        return [Finding("tls", Level.PROBLEM, f"{_name(address)} does not speak TLS: {_reason(error)}", fix)]
    secured: Any = writer.get_extra_info("ssl_object")
    writer.transport.abort()
    left = ssl.cert_time_to_seconds(secured.getpeercert()["notAfter"]) - time.time()
    found = f"{secured.version()}, the certificate is good for {left / 86_400:.0f} days"
    if left < _EXPIRES_SOON:
        return [Finding("tls", Level.WARNING, found, "renew the brokers' certificate")]
    return [Finding("tls", Level.OK, found)]


async def check_authentication(connection: Connection, address: Address) -> list[Finding]:
    options = connection.options()
    del options["bootstrap_servers"], options["retry_backoff_ms"]
    user = f"as {connection.sasl_username!r} by {connection.sasl_mechanism}"
    try:
        async with asyncio.timeout(_TIMEOUT):
            opened = await create_conn(*address, **options, request_timeout_ms=int(_TIMEOUT * 1000))
    except (AuthenticationFailedError, SaslAuthenticationFailed, ValueError):
        # A ValueError is SCRAM's word for a server that does not know our secret.
        fix = "check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM against the brokers' users"
        return [Finding("authentication", Level.PROBLEM, f"refused {user}", fix)]
    except (UnsupportedSaslMechanismError, IllegalSaslStateError):
        fix = "KAFKA_SASL_MECHANISM: one that this listener has (sasl.enabled.mechanisms)"
        return [Finding("authentication", Level.PROBLEM, f"{connection.sasl_mechanism} is not offered", fix)]
    except (KafkaError, OSError, TimeoutError) as error:
        fix = "KAFKA_SECURITY_PROTOCOL must be that of the listener; with SSL it may ask for KAFKA_SSL_CERTFILE"
        found = f"{_name(address)} does not answer over {connection.security_protocol}: {_reason(error)}"
        return [Finding("authentication", Level.PROBLEM, found, fix)]
    opened.close()
    found = user if connection.sasl_mechanism else f"none is asked over {connection.security_protocol}"
    return [Finding("authentication", Level.OK, found)]


async def _reach(wanted: list[Address]) -> dict[Address, str | None]:
    """Why each cannot be reached, or None."""
    return dict(zip(wanted, await asyncio.gather(*map(_unreachable, wanted)), strict=True))


async def _unreachable(address: Address) -> str | None:
    try:
        async with asyncio.timeout(_REACH):
            _, writer = await asyncio.open_connection(*address)
    except (OSError, TimeoutError) as error:
        return _reason(error)
    writer.transport.abort()
    return None


def _name(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(told.split()) or type(error).__name__
