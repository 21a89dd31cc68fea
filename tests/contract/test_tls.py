"""Whom the transports trust, and what becomes of calls where HTTP/2 is offered."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.contract.conftest import PATIENCE, Build
from tests.contract.secure import Authority, offering_http2, secured
from tests.contract.test_transport import post


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_a_server_is_trusted_by_any_certificate_of_the_file(build: Build, authority: Authority) -> None:
    async with secured(authority) as port:
        answer = await post(build(ca_file=str(authority.ca_file)), f"https://127.0.0.1:{port}")
    assert await answer.aread() == b"secret"


async def test_a_server_of_an_unknown_authority_is_sent_nothing(build: Build, authority: Authority) -> None:
    async with secured(authority) as port:
        with pytest.raises(httpx.ConnectError):
            await post(build(), f"https://127.0.0.1:{port}")


async def test_a_server_of_another_name_is_sent_nothing(build: Build, authority: Authority) -> None:
    async with secured(authority) as port:
        with pytest.raises(httpx.ConnectError):
            await post(build(ca_file=str(authority.ca_file)), f"https://localhost:{port}")


async def test_calls_that_hang_keep_no_other_waiting_where_http_2_is_offered(
    build: Build, authority: Authority
) -> None:
    transport = build(ca_file=str(authority.ca_file), request_timeout=2 * PATIENCE)
    async with offering_http2(authority, streams=2) as (port, arrived):
        url = f"https://127.0.0.1:{port}"
        await post(transport, url)
        hanging = [asyncio.create_task(post(transport, url + "/hang")) for _ in range(2)]
        async with asyncio.timeout(PATIENCE):
            await arrived.acquire()
            await arrived.acquire()
            answer = await post(transport, url)
    await asyncio.wait(hanging)
    assert answer.status_code == 200
