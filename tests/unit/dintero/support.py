"""Stand-ins for the API's side: a clock set by hand, a scripted transport, entries and calls."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from uuid import uuid4

import httpx
import orjson
from pydantic import SecretStr

from tests.support.fake_transport import FakeTransport
from worker.dintero.api import Api
from worker.dintero.call import Call, CallKind, Credentials
from worker.dintero.client import Client
from worker.dintero.transport import Transport as HttpTransport
from worker.domain.answer import Answer
from worker.domain.entry import Entry, State
from worker.domain.request import Request
from worker.telemetry.tracing import Tracing

ACCOUNT = "P11223351"
OTHER_ACCOUNT = "T44556677"
CREDENTIALS = Credentials("client", SecretStr("hunter2"))
BASIC = "Basic " + base64.b64encode(b"client:hunter2").decode()

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Metrics:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int | None, str | None]] = []

    def http(self, method: str, status: int | None, error: str | None, seconds: float) -> None:
        self.calls.append((method, status, error))


class Transport(FakeTransport):
    """Answers by a function, tokens by itself, and keeps the requests for operations."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[httpx.Request] = []
        self.tokens = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/auth/token"):
            self.tokens += 1
            return httpx.Response(200, json={"access_token": f"token-{self.tokens}", "expires_in": 3600})
        self.requests.append(request)
        return await self.handler(request)


def entry(terminal_id: str = f"{ACCOUNT}-T0013", *, operation_id: str | None = None) -> Entry:
    key = str(uuid4())
    request = Request(key, key, "f" * 32, terminal_id, "end_of_day", b'{"operator_id":"7"}', None, key, 0, 0)
    state = State.CREATING if operation_id is None else State.PENDING
    return Entry(request, state, operation_id=operation_id)


def operation(of: Entry, **changes: object) -> dict[str, object]:
    request = of.request
    body = {"id": "op-1", "terminal_id": request.terminal_id, "operation": request.operation, "status": "PENDING"}
    return body | changes


async def accept(request: httpx.Request) -> httpx.Response:
    """Accepts every create, and has nothing for any poll."""
    if request.method == "GET":
        return httpx.Response(200, json=[])
    content = orjson.loads(request.content)
    return httpx.Response(201, json={"id": "op-1", "status": "PENDING", **content})


def client(transport: HttpTransport, clock: Callable[[], float]) -> Client:
    return Client("https://api.example", transport, 5.0, Tracing(), Metrics(), clock)


class Caller:
    """Submits calls to an Api of its own and keeps their answers."""

    def __init__(
        self,
        transport: HttpTransport,
        *,
        clock: Clock | None = None,
        max_in_flight: int = 8,
        max_requests_per_second: float | None = None,
        base_url: str = "https://api.example",
        request_timeout: float = 5.0,
        tracing: Tracing | None = None,
    ) -> None:
        self.metrics = Metrics()
        self.answers: dict[Entry, list[Answer]] = {}
        self.api = Api(
            {ACCOUNT: CREDENTIALS, OTHER_ACCOUNT: CREDENTIALS},
            base_url=base_url,
            transport=transport,
            request_timeout=request_timeout,
            max_in_flight=max_in_flight,
            max_requests_per_second=max_requests_per_second,
            tracing=tracing or Tracing(),
            metrics=self.metrics,
            clock=clock or Clock(),
            random=lambda: 0.0,
        )

    def submit(
        self,
        kind: CallKind,
        of: Entry,
        *,
        door: Callable[[], bool] = lambda: True,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> asyncio.Future[Answer]:
        caller = _Caller(self.answers, door, prepare)
        self.api.submit(Call(kind, of, caller))
        return caller.answered

    async def create(self, of: Entry, *, door: Callable[[], bool] = lambda: True) -> Answer:
        return await asyncio.wait_for(self.submit(CallKind.CREATE, of, door=door), 60)

    async def poll(self, of: Entry) -> Answer:
        return await asyncio.wait_for(self.submit(CallKind.POLL, of), 60)


class _Caller:
    """The owner of one call."""

    def __init__(
        self,
        answers: dict[Entry, list[Answer]],
        door: Callable[[], bool],
        prepare: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self.answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers = answers
        self._door = door
        self._prepare = prepare

    async def prepare(self, _: Call) -> None:
        if self._prepare:
            await self._prepare()

    def door(self, _: Call) -> bool:
        return self._door()

    def done(self, call: Call, answer: Answer) -> None:
        self._answers.setdefault(call.entry, []).append(answer)
        if not self.answered.done():
            self.answered.set_result(answer)


async def settle() -> None:
    """Let everything that can go on without the outside go on."""
    for _ in range(50):
        await asyncio.sleep(0)
