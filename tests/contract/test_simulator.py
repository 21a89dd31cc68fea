"""The worker's side and the simulator agree, with and without faults."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from tests.contract.conftest import PATIENCE, SILENCE, CallerTo, Simulate
from tests.unit.dintero.support import ACCOUNT, BASIC, Caller, entry
from worker.domain.answer import Answer, Verdict
from worker.domain.entry import Entry
from worker.simulator.settings import Settings

QUICK = Settings(completion_min=0, completion_max=0)


async def _control(url: str, **changes: object) -> dict[str, Any]:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        if changes:
            (await client.put(f"{url}/_simulator", content=orjson.dumps(changes))).raise_for_status()
        report: dict[str, Any] = (await client.get(f"{url}/_simulator")).json()
        return report


async def _ask_for_token(client: httpx.AsyncClient, url: str) -> httpx.Response:
    asked = {"grant_type": "client_credentials", "audience": f"https://api.dintero.com/v1/accounts/{ACCOUNT}"}
    target = f"{url}/v1/accounts/{ACCOUNT}/auth/token"
    return await client.post(target, json=asked, headers={"authorization": BASIC}, timeout=60)


async def _create(caller: Caller, ours: Entry) -> Answer:
    answer = await caller.create(ours)
    assert answer.operation is not None
    ours.operation_id = answer.operation.id
    return answer


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, "COMPLETED"),
        ({"fail": "*-T0013"}, "FAILED"),
        ({"timeout": "*-T0013"}, "TIMEOUT"),
        ({"fail_rate": 1}, "FAILED"),
        ({"timeout_rate": 1}, "TIMEOUT"),
    ],
)
async def test_an_operation_is_created_followed_and_ended(
    caller_to: CallerTo, simulate: Simulate, settings: dict[str, Any], status: str
) -> None:
    async with simulate(QUICK.model_copy(update=settings)) as url, caller_to(url) as caller:
        ours = entry()
        created = await _create(caller, ours)
        polled = await caller.poll(ours)
        report = await _control(url)
    assert created.operation is not None
    assert created.operation.status == "PENDING"
    assert polled.operation is not None
    assert polled.operation.status == status
    assert ("batch_id" in polled.operation.body.get("result", {})) == (status == "COMPLETED")
    assert report["operations"] == {"PENDING": 0, status: 1}


async def test_a_key_is_executed_once_and_answered_as_at_first(caller_to: CallerTo, simulate: Simulate) -> None:
    async with simulate(QUICK) as url, caller_to(url) as caller:
        ours = entry()
        first = await _create(caller, ours)
        assert await caller.create(ours) == first
        report = await _control(url)
    assert (report["creates"], report["executions"], report["executed_twice"]) == (2, 1, [])


async def test_a_key_is_refused_with_another_payload(caller_to: CallerTo, simulate: Simulate) -> None:
    async with simulate(QUICK) as url, caller_to(url) as caller:
        ours = entry()
        await caller.create(ours)
        ours.request = ours.request._replace(operation="send_logs")
        assert (await caller.create(ours)).http_status == 422


async def test_a_key_older_than_the_window_is_executed_twice_and_reported(
    caller_to: CallerTo, simulate: Simulate
) -> None:
    async with simulate(QUICK.model_copy(update={"idempotency_window": 0})) as url, caller_to(url) as caller:
        ours = entry()
        await caller.create(ours)
        await caller.create(ours)
        report = await _control(url)
    assert report["executed_twice"] == [ours.request.key]


async def test_a_terminal_does_one_operation_at_a_time(caller_to: CallerTo, simulate: Simulate) -> None:
    async with simulate(Settings(completion_min=60, completion_max=60)) as url, caller_to(url) as caller:
        await _create(caller, entry())
        assert (await caller.create(entry())).verdict is Verdict.BUSY
        await _create(caller, entry(f"{ACCOUNT}-T0014"))
        assert (await _control(url))["overlaps"] == 0
        await _control(url, busy=False)
        await _create(caller, entry())
        assert (await _control(url))["overlaps"] == 1


async def test_an_unknown_terminal_is_refused_in_the_apis_words(caller_to: CallerTo, simulate: Simulate) -> None:
    async with simulate(QUICK) as url, caller_to(url) as caller:
        answer = await caller.create(entry(f"{ACCOUNT}-T9999"))
    assert answer.verdict is Verdict.REFUSED
    assert (answer.http_status, answer.code, answer.message) == (404, "NOT_FOUND", "no such terminal")


@pytest.mark.parametrize(
    ("fault", "verdict", "executed"),
    [
        ("error_before_rate", Verdict.UNKNOWN, 0),
        ("error_after_rate", Verdict.UNKNOWN, 1),
        ("cut_rate", Verdict.UNKNOWN, 1),
        ("garbage_rate", Verdict.UNKNOWN, 1),
        ("hang_rate", Verdict.UNKNOWN, 1),
        ("throttle_rate", Verdict.NOT_RUN, 0),
        ("down", Verdict.UNKNOWN, 0),
    ],
)
async def test_a_fault_is_what_it_says_and_asking_again_runs_it_once(
    caller_to: CallerTo, simulate: Simulate, fault: str, verdict: Verdict, executed: int
) -> None:
    request_timeout = SILENCE if fault == "hang_rate" else PATIENCE
    async with simulate(QUICK) as url, caller_to(url, request_timeout) as caller:
        # The token is in hand: the fault is to meet the create.
        await _create(caller, entry(f"{ACCOUNT}-T0001"))
        await _control(url, **{fault: 1})
        ours = entry()
        assert (await caller.create(ours)).verdict is verdict
        assert (await _control(url))["executions"] == 1 + executed
        await _control(url, **{fault: 0})
        await _create(caller, ours)
        report = await _control(url)
    assert (report["executions"], report["executed_twice"]) == (2, [])


async def test_a_missing_scope_opens_the_circuit(caller_to: CallerTo, simulate: Simulate) -> None:
    settings = QUICK.model_copy(update={"scopes": frozenset({"read:checkout:/admin/terminals"})})
    async with simulate(settings) as url, caller_to(url) as caller:
        assert (await caller.create(entry())).http_status == 403
        assert (await caller.create(entry())).cause == "circuit_open"


async def test_settings_that_make_no_sense_are_refused_and_change_nothing(simulate: Simulate) -> None:
    async with simulate(QUICK) as url, httpx.AsyncClient(timeout=PATIENCE) as client:
        for body in (b'{"dwn":true}', b'{"cut_rate":2}', b'{"cut_rate":0.6,"hang_rate":0.6}', b"[]", b"{"):
            assert (await client.put(f"{url}/_simulator", content=body)).status_code in (400, 422)
        assert (await _ask_for_token(client, url)).status_code == 200


async def test_settings_in_force_are_shown_and_changed_while_it_runs(simulate: Simulate) -> None:
    async with simulate(QUICK) as url:
        before = (await _control(url))["settings"]
        await _control(url, down=True, retry_after=7)
        after = (await _control(url))["settings"]
    assert (before["down"], before["completion_max"]) == (False, QUICK.completion_max)
    assert (after["down"], after["retry_after"], after["completion_max"]) == (True, 7, QUICK.completion_max)


async def test_stopping_does_not_wait_for_those_who_hang(caller_to: CallerTo, simulate: Simulate) -> None:
    async with asyncio.timeout(PATIENCE):
        async with simulate(QUICK.model_copy(update={"hang_rate": 1})) as url, httpx.AsyncClient() as client:
            hanging = asyncio.create_task(_ask_for_token(client, url))
            while (await _control(url))["requests"] == 0:
                pass
        with pytest.raises(httpx.TransportError):
            await hanging
