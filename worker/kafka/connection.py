"""What every Kafka client of the worker is built from."""

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import structlog
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from pydantic import SecretStr

# A client that did not stop in time is taken apart: each part gets this long. Pods have 30 s to end in all.
_BY_HAND = 0.5
# What a call that was given up has to clean up after itself.
_GIVEN_UP = 5.0
# How soon a rotated credential is noticed, and how often one that the brokers refuse is tried.
_LOOK_EVERY = 1.0
_TRIAL = 10.0

REFUSALS = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, TransactionalIdAuthorizationFailed)

log = structlog.wrap_logger(logging.getLogger(__name__))


@dataclass(frozen=True, slots=True)
class Topics:
    requests: str
    outcomes: str
    state: str
    dead_letters: str


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach and authenticate to the brokers. The password stays a `SecretStr` until a client is built."""

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None

    def options(self) -> dict[str, Any]:
        """Keyword arguments common to aiokafka's consumer, producer and admin client."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": "terminal-operations-worker",
            "security_protocol": self.security_protocol,
            "retry_backoff_ms": 20,
        }
        if self.security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password.get_secret_value() if self.sasl_password else None
        if self.security_protocol.endswith("SSL"):
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
            options["ssl_context"] = context
        return options

    def credentials(self) -> str:
        """A digest of the password, certificates and key as they are now: another one when any was changed."""
        digest = hashlib.sha256(self.sasl_password.get_secret_value().encode() if self.sasl_password else b"")
        for path in (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile):
            try:
                digest.update(hashlib.sha256(Path(path).read_bytes() if path else b"").digest())
            except OSError:
                digest.update(b"unreadable")
        return digest.hexdigest()


class NotAllowedError(KafkaError):  # type: ignore[misc]
    """The brokers refuse what this user is to do: which operation, on what. Passes once a person allows it."""

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def naming(operation: str) -> Iterator[None]:
    """Makes a refusal a NotAllowedError: of `operation` on a topic, Read on a group, Write on a transactional id."""
    try:
        yield
    except KafkaError as error:
        # aiokafka's background tasks wrap what ended them.
        refused = next((each for each in (error, error.__cause__) if isinstance(each, REFUSALS)), None)
        if refused is None:
            raise
        named = refused.args[0] if refused.args else "?"
        if isinstance(refused, TopicAuthorizationFailedError):
            topics = [named] if isinstance(named, str) else sorted(named)
            raise NotAllowedError("; ".join(not_allowed(operation, "topic", topic) for topic in topics)) from None
        if isinstance(refused, GroupAuthorizationFailedError):
            raise NotAllowedError(not_allowed("Read", "group", named)) from None
        raise NotAllowedError(not_allowed("Write", "transactional id", named)) from None


def not_allowed(operation: str, kind: str, name: str) -> str:
    return f"{operation} on {kind} {name!r} is not allowed to this user: `terminal-worker check` tells what to do"


async def rotated(connection: Connection, used: str) -> None:
    """Returns once the credentials are others than those `used`, and the brokers take them.

    What they refuse is said once for each change, and tried again: connections of before go on meanwhile.
    """
    refused: str | None = None
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        now = connection.credentials()
        if now == used:
            continue
        try:
            client = AIOKafkaClient(**connection.options())
            try:
                async with asyncio.timeout(_TRIAL):
                    await client.bootstrap()
            finally:
                await stop_client(client)
        except (KafkaError, OSError, TimeoutError) as error:
            if refused != now:
                log.warning("kafka_credentials_refused", why=str(error) or type(error).__name__)
            refused = now
            continue
        log.info("kafka_credentials_rotated")
        return


async def within(seconds: float, call: Awaitable[Any]) -> bool:
    """Await what may hang or fail while brokers are away; False when it did not end well.

    Not by `wait_for`, here or elsewhere: Python 3.11's loses a cancellation that comes as its own wait ends.
    """
    try:
        async with asyncio.timeout(seconds):
            await call
    except asyncio.CancelledError:
        # aiokafka's stop() can leak the cancellation of its own tasks; ours must still pass.
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        return False
    except Exception:  # noqa: BLE001 - nothing is lost with a client that is thrown away
        return False
    return True


async def unless(stopping: asyncio.Event, call: Coroutine[Any, Any, Any]) -> Any:
    """What the call gives, or None as soon as `stopping` is set: the call is then cancelled, and its end awaited."""
    task = asyncio.ensure_future(call)
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        given_up = task.cancel()
    if not given_up:
        return task.result()
    await asyncio.wait([task], timeout=_GIVEN_UP)
    return None


async def stop_client(client: Any, seconds: float = 3.0) -> None:
    """Stop a consumer, producer or admin client within a time, whatever state it is in."""
    if await within(seconds, client.stop() if hasattr(client, "stop") else client.close()):
        return
    # Its tasks wait for brokers that are away, a producer's for ever. Fail what they wait for: those that are only
    # cancelled leave others behind, which hold the client in memory until somebody collects them.
    accumulator, sender = getattr(client, "_message_accumulator", None), getattr(client, "_sender", None)
    inner = getattr(client, "client", None) or getattr(client, "_client", None)
    if accumulator is not None:
        _fail(accumulator)
    if inner is not None:
        await within(_BY_HAND, inner.close())
    if sender is not None:
        await within(_BY_HAND, sender.close())


def _fail(accumulator: Any) -> None:
    """Fail what a producer has not sent, without asyncio's complaints that nobody waits for some of it."""
    accumulator._pending_batches = _Batches(accumulator._pending_batches)
    batches = chain(accumulator._pending_batches, *accumulator._batches.values())
    waiters = [waiter for batch in batches for waiter in (batch.future, batch._drain_waiter)]
    accumulator.fail_all(KafkaError("given up"))
    for waiter in waiters:
        if not waiter.cancelled():
            waiter.exception()


class _Batches(set[Any]):
    """Those a producer has under way. Its tasks still remove them one by one, also what was failed in between."""

    def remove(self, batch: Any) -> None:
        self.discard(batch)
