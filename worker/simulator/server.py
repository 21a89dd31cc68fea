"""The simulated API on HTTP, as a plain ASGI application, with its faults and its control endpoint `/_simulator`."""

import asyncio
import base64
import binascii
import socket
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any, cast
from urllib.parse import parse_qs, unquote

import orjson
import uvicorn
from pydantic import ValidationError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from worker.simulator.model import ApiError, Simulation
from worker.simulator.settings import AccountCredentials, Settings

MAX_BODY = 1024 * 1024
LONGEST_HANG = 300.0
OPERATIONS = "/v1/admin/terminals/operations"
GARBAGE = b"<!doctype html><title>Welcome</title>"

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Simulator:
    """The ASGI application."""

    def __init__(
        self, settings: Settings, *, seed: int | None = None, accounts: Mapping[str, AccountCredentials] | None = None
    ) -> None:
        self._random = Random(seed)
        self._model = Simulation(settings, time.time, self._random, accounts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        try:
            body = await _read(receive)
            if path.startswith("/_simulator"):
                await _answer(send, 200, self._control(scope["method"], path, body))
            else:
                self._model.counters.requests += 1
                await self._serve(scope, path, body, receive, send)
        except ApiError as error:
            await _answer(send, error.status, _error(error.code, error.message))

    async def _serve(self, scope: Scope, path: str, body: bytes, receive: Receive, send: Send) -> None:
        settings = self._model.settings
        if settings.latency or settings.jitter:
            await asyncio.sleep(settings.latency + self._random.random() * settings.jitter)
        fault = self._fault()
        if fault == "down":
            await _cut(scope, receive)
            return
        if fault == "throttle":
            retry_after = (b"retry-after", str(settings.retry_after).encode())
            await _answer(send, 429, _error("TOO_MANY_REQUESTS", "slow down"), retry_after)
            return
        if fault == "error_before":
            raise ApiError(503, "UNAVAILABLE", "nothing was executed")
        answer = self._answer(scope, path, body)
        match fault:
            case "error_after":
                raise ApiError(502, "BAD_GATEWAY", "the answer was lost")
            case "cut":
                await _cut(scope, receive)
            case "garbage":
                await _answer(send, 200, GARBAGE)
            case "hang":
                await _hang(scope, receive)
            case _:
                await _answer(send, 200, answer)

    def _fault(self) -> str | None:
        settings = self._model.settings
        if settings.down:
            return "down"
        chance = self._random.random()
        for fault in ("throttle", "error_before", "error_after", "cut", "garbage", "hang"):
            chance -= getattr(settings, f"{fault}_rate")
            if chance < 0:
                return fault
        return None

    def _answer(self, scope: Scope, path: str, body: bytes) -> bytes:
        headers = dict(scope["headers"])
        method = scope["method"]
        if path == OPERATIONS and method == "POST":
            key = headers.get(b"idempotency-key")
            return self._model.create(_bearer(headers), key and key.decode("latin-1"), _json(body))
        if path == OPERATIONS and method == "GET":
            query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=10)
            operation_id, terminal_id = (query.get(name, [None])[0] for name in ("operation_id", "terminal_id"))
            return self._model.list_operations(_bearer(headers), operation_id, terminal_id)
        parts = path.split("/")
        if method == "POST" and parts[:3] == ["", "v1", "accounts"] and parts[4:] == ["auth", "token"]:
            content = _json(body)
            if not isinstance(content, dict) or content.get("grant_type") != "client_credentials":
                raise ApiError(400, "BAD_REQUEST", "grant_type must be client_credentials")
            client_id, secret = _basic(headers)
            return orjson.dumps(self._model.issue_token(unquote(parts[3]), client_id, secret, content.get("audience")))
        raise ApiError(404, "NOT_FOUND", "no such resource")

    def _control(self, method: str, path: str, body: bytes) -> bytes:
        if (method, path) == ("GET", "/_simulator"):
            return orjson.dumps({**self._model.report(), "settings": self._model.settings.model_dump(mode="json")})
        if (method, path) == ("GET", "/_simulator/executions"):
            return orjson.dumps(self._model.counters.by_key)
        if (method, path) == ("PUT", "/_simulator"):
            changes = _json(body)
            if not isinstance(changes, dict):
                raise ApiError(400, "BAD_REQUEST", "the body must be an object of settings")
            try:
                self._model.settings = Settings.model_validate({**self._model.settings.model_dump(), **changes})
            except ValidationError as error:
                raise ApiError(422, "UNPROCESSABLE_ENTITY", str(error)) from None
            return orjson.dumps(self._model.settings.model_dump(mode="json"))
        raise ApiError(404, "NOT_FOUND", "no such resource")


async def serve(
    host: str,
    port: int,
    settings: Settings,
    ready: Callable[[int], None] | None = None,
    *,
    seed: int | None = None,
    accounts: Mapping[str, AccountCredentials] | None = None,
) -> None:
    """Serve until cancelled. `ready` is told the port once connections are accepted; raises OSError if it is taken."""
    config = uvicorn.Config(
        Simulator(settings, seed=seed, accounts=accounts),
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    with socket.create_server((host, port), backlog=2048) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            if ready is not None:
                ready(listener.getsockname()[1])
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Signals belong to whoever runs the loop.
        yield


class _Protocol(HttpToolsProtocol):
    """Lets the application cut its connection, which ASGI has no word for."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["cut"] = self.transport.abort


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += cast(bytes, message.get("body", b""))
        if len(body) > MAX_BODY:
            raise ApiError(413, "PAYLOAD_TOO_LARGE", f"the body is over {MAX_BODY} bytes")
        if not message.get("more_body", False):
            return body


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    described = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": described})
    await send({"type": "http.response.body", "body": body})


async def _cut(scope: Scope, receive: Receive) -> None:
    scope["state"]["cut"]()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _hang(scope: Scope, receive: Receive) -> None:
    try:
        async with asyncio.timeout(LONGEST_HANG):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        await _cut(scope, receive)


def _bearer(headers: Mapping[bytes, bytes]) -> str:
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _basic(headers: Mapping[bytes, bytes]) -> tuple[str, str]:
    scheme, _, pair = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    try:
        client_id, colon, secret = base64.b64decode(pair, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise ApiError(401, "UNAUTHORIZED", "unreadable credentials") from None
    if scheme.lower() != "basic" or not colon:
        raise ApiError(401, "UNAUTHORIZED", "HTTP Basic credentials are needed")
    return client_id, secret


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ApiError(400, "BAD_REQUEST", "the body must be JSON") from None


def _error(code: str, message: str) -> bytes:
    return orjson.dumps({"error": {"code": code, "message": message}})
