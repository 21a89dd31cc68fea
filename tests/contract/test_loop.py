"""The event loop under load: no step of it holds up heartbeats and probes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.contract.conftest import Simulate
from tests.support.loop_watch import LoopWatch, held_nowhere, watched
from tests.unit.dintero.support import ACCOUNT, Caller, entry
from worker.dintero.call import CallKind
from worker.dintero.transport import build_transport
from worker.domain.answer import Verdict
from worker.simulator.settings import Settings

LONGEST = 0.02


async def test_the_watch_sees_a_step_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(monkeypatch, LoopWatch()) as watch:
        asyncio.get_running_loop().call_soon(_spin, 2 * LONGEST)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert watch.longest >= 2 * LONGEST
    assert "_spin" in watch.what


async def test_what_takes_long_now_and_then_is_looked_at_again_and_what_always_does_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hold(*times: float) -> None:
        left = iter(times)
        for watch in held_nowhere(monkeypatch, LONGEST):
            with watch:
                asyncio.get_running_loop().call_soon(_spin, next(left))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        assert list(left) == []

    await hold(2 * LONGEST, 0)
    with pytest.raises(pytest.fail.Exception, match="_spin"):
        await hold(*[2 * LONGEST] * 5)


@pytest.mark.parametrize("kind", CallKind)
async def test_two_thousand_calls_hold_the_loop_nowhere(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, kind: CallKind
) -> None:
    async with simulate(Settings(completion_min=0, completion_max=0)) as url, calling(url) as caller:
        polled = entry()
        operation = (await caller.create(polled)).operation
        assert operation is not None
        polled.operation_id = operation.id
        for watch in held_nowhere(monkeypatch, LONGEST):
            created = [entry(f"{ACCOUNT}-T{number:04}") for number in range(2_000)]
            with watch:
                asked = created if kind is CallKind.CREATE else [polled] * 2_000
                answers = await asyncio.gather(*(caller.submit(kind, each) for each in asked))
            assert {answer.verdict for answer in answers} == {Verdict.OPERATION}


async def test_ten_thousand_waiting_calls_of_an_api_that_goes_down_hold_it_nowhere(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with simulate(Settings(down=True)) as url:
        for watch in held_nowhere(monkeypatch, LONGEST):
            async with calling(url) as caller:
                waiting = [caller.submit(CallKind.CREATE, entry()) for _ in range(10_000)]
                with watch:
                    answers = await asyncio.gather(*waiting)
            assert {answer.verdict for answer in answers} == {Verdict.NOT_RUN}


@asynccontextmanager
async def calling(url: str) -> AsyncIterator[Caller]:
    transport = build_transport("asyncio", request_timeout=30)
    caller = Caller(transport, base_url=url, max_in_flight=64, request_timeout=30)
    try:
        yield caller
    finally:
        await caller.api.aclose(1)
        await transport.aclose()


def _spin(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
