"""Whom the transports trust, and HTTP/2 where it is offered."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.contract.conftest import Build
from tests.contract.relay import relayed
from tests.contract.secure import Authority, offering_http2, secured
from tests.contract.test_transport import NOT_SENT, post
from worker.dintero import transport as transport_module
from worker.dintero.transport import PyreqwestTransport, build_transport


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


async def test_http_2_is_spoken_where_it_is_offered(build: Build, authority: Authority) -> None:
    transport = build(ca_file=str(authority.ca_file))
    async with offering_http2(authority) as port, relayed(port) as relay:
        spoken = {await (await post(transport, f"https://{relay.address}")).aread()}
        await asyncio.gather(*(post(transport, f"https://{relay.address}") for _ in range(20)))
    if isinstance(transport, PyreqwestTransport):
        assert (spoken, relay.connections) == ({b"2"}, 1)
    else:
        assert spoken == {b"1.1"}


async def test_a_dead_connection_of_http_2_is_replaced(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "PING_EVERY", timedelta(milliseconds=50))
    monkeypatch.setattr(transport_module, "PONG_WITHIN", timedelta(seconds=3))  # the server is slow on a busy machine
    transport = build_transport("pyreqwest", request_timeout=60, ca_file=str(authority.ca_file))
    async with offering_http2(authority) as port, relayed(port) as relay, asyncio.timeout(30):
        url = f"https://{relay.address}"
        await post(transport, url)
        relay.freeze()
        with pytest.raises(httpx.TransportError) as lost:
            await post(transport, url)
        assert not isinstance(lost.value, NOT_SENT)
        assert (await post(transport, url)).status_code == 200
    await transport.aclose()
