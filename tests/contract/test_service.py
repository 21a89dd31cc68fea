"""What the worker relies on, asked of the simulator, and of Dintero's own test environment where one is given.

The latter is sent one `send_logs`, twice with the same key, and polls until it ends. Its terminal must be free, and may
be offline: any end will do.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from pydantic import SecretStr

from tests.contract.conftest import Simulate
from tests.unit.dintero.support import ACCOUNT, CREDENTIALS, Caller, entry
from worker.dintero.api import Api
from worker.dintero.call import CallKind, Credentials
from worker.dintero.transport import build_transport
from worker.domain.answer import Answer, Verdict
from worker.domain.entry import Entry
from worker.simulator.settings import Settings
from worker.telemetry.tracing import Tracing

NEEDED = ("DINTERO_ACCOUNT_ID", "DINTERO_CLIENT_ID", "DINTERO_CLIENT_SECRET", "TERMINAL_ID")
PATIENCE = 300.0
"""Seconds, for a terminal that does not answer: then the API says TIMEOUT."""


@dataclass(frozen=True, slots=True)
class Service:
    """One API, an account on it and a terminal of that account. `pace` is seconds between polls."""

    url: str
    account: str
    credentials: Credentials
    terminal_id: str
    pace: float


@pytest.fixture(params=["simulator", "dintero"])
async def service(request: pytest.FixtureRequest, simulate: Simulate) -> AsyncIterator[Service]:
    if request.param == "dintero":
        yield _given()
        return
    async with simulate(Settings(completion_min=0.1, completion_max=0.1)) as url:
        yield Service(url, ACCOUNT, CREDENTIALS, f"{ACCOUNT}-T0013", 0.05)


@pytest.fixture
async def caller(service: Service) -> AsyncIterator[Caller]:
    transport = build_transport("asyncio", request_timeout=30)
    caller = Caller(transport)
    caller.api = Api(
        {service.account: service.credentials},
        base_url=service.url,
        transport=transport,
        request_timeout=30,
        max_in_flight=1,
        max_requests_per_second=1 / service.pace,
        tracing=Tracing(),
        metrics=caller.metrics,
    )
    yield caller
    await caller.api.aclose(1)
    await transport.aclose()


async def test_an_operation_is_run_once_for_its_key_and_followed_to_its_end(service: Service, caller: Caller) -> None:
    ours = _entry(service)
    created = await caller.submit(CallKind.CREATE, ours)
    again = await caller.submit(CallKind.CREATE, ours)
    assert created.verdict is Verdict.OPERATION, created
    assert created.operation is not None
    assert again.operation is not None, again
    assert again.operation.id == created.operation.id
    ours.operation_id = created.operation.id
    ended = await _until_final(service, caller, ours)
    assert ended.operation is not None, ended
    assert ended.operation.status in ("COMPLETED", "FAILED", "TIMEOUT")


async def test_an_operation_it_does_not_know_ends_nothing(service: Service, caller: Caller) -> None:
    ours = _entry(service)
    ours.operation_id = str(uuid4())
    assert (await caller.submit(CallKind.POLL, ours)).verdict is Verdict.NOTHING


async def _until_final(service: Service, caller: Caller, ours: Entry) -> Answer:
    until = time.monotonic() + PATIENCE
    while True:
        answer = await caller.submit(CallKind.POLL, ours)
        if (answer.operation and answer.operation.status != "PENDING") or time.monotonic() > until:
            return answer
        await asyncio.sleep(service.pace)


def _entry(service: Service) -> Entry:
    ours = entry(service.terminal_id)
    ours.request = ours.request._replace(operation="send_logs", parameters=None)
    return ours


def _given() -> Service:
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        pytest.skip(f"Dintero's test environment: {', '.join(missing)} not given, see tests/contract/README.md")
    account, client_id, secret, terminal_id = (os.environ[name] for name in NEEDED)
    if not account.startswith("T"):
        pytest.skip(f"{account} is no account of the test environment: those begin with T")
    url = os.environ.get("DINTERO_BASE_URL", "https://checkout.dintero.com")
    return Service(url, account, Credentials(client_id, SecretStr(secret)), terminal_id, 2.0)
