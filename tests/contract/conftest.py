"""Every test of this folder runs over both transports, and those of connections on both event loops."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import uvloop

from tests.unit.dintero.support import Caller
from worker.dintero.transport import Transport, build_transport
from worker.simulator.server import serve
from worker.simulator.settings import Settings

Build = Callable[..., Transport]
CallerTo = Callable[..., AbstractAsyncContextManager[Caller]]
Simulate = Callable[[Settings], AbstractAsyncContextManager[str]]

# Seconds for an answer that comes: a machine may stand still for some. And for one that never does.
PATIENCE, SILENCE = 30.0, 3.0
_ON_BOTH_LOOPS = ("test_connections", "test_transport", "test_tls", "test_proxies")


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The worker runs on uvloop; whoever has it as a library may not."""
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return loops if item.path.stem in _ON_BOTH_LOOPS else {"asyncio": asyncio.new_event_loop}


@pytest.fixture(params=["asyncio", "httpx"])
async def build(request: pytest.FixtureRequest) -> AsyncIterator[Build]:
    """Builds a transport, in the environment as it is then."""
    built: list[Transport] = []

    def build(**options: Any) -> Transport:
        patient = {"request_timeout": PATIENCE, "connect_timeout": PATIENCE}
        built.append(build_transport(request.param, **patient | options))
        return built[-1]

    yield build
    for transport in built:
        await transport.aclose()


@pytest.fixture
def transport(build: Build) -> Transport:
    return build()


@pytest.fixture
def caller_to(build: Build) -> CallerTo:
    """A caller of the API at an address."""

    @asynccontextmanager
    async def caller_to(url: str, request_timeout: float = PATIENCE) -> AsyncIterator[Caller]:
        transport = build(request_timeout=request_timeout)
        caller = Caller(transport, base_url=url, request_timeout=request_timeout)
        try:
            yield caller
        finally:
            await caller.api.aclose(1)

    return caller_to


@pytest.fixture
def simulate() -> Simulate:
    """The simulator on a free port; gives its address."""

    @asynccontextmanager
    async def simulate(settings: Settings) -> AsyncIterator[str]:
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(serve("127.0.0.1", 0, settings, ready.set_result, seed=1))
        try:
            yield f"http://127.0.0.1:{await asyncio.wait_for(ready, PATIENCE)}"
        finally:
            serving.cancel()
            await asyncio.wait([serving])

    return simulate
