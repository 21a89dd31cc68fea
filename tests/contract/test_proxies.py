"""Proxies, as the environment names them."""

import socket
from pathlib import Path

import httpx
import pytest

from tests.contract.conftest import PATIENCE, Build
from tests.contract.proxy import proxied
from tests.contract.scripted import response, scripted
from tests.contract.secure import HOST, Authority, secured
from tests.contract.test_transport import post
from worker.dintero.transport import build_transport


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
async def test_a_tunnel_is_asked_of_the_proxy_that_the_environment_names(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    authority = Authority(tmp_path)
    async with secured(authority) as port, proxied(port) as proxy:
        monkeypatch.setenv(variable, f"http://user:hunter2@{proxy.address}")
        answer = await post(build(ca_file=str(authority.ca_file)), f"https://{HOST}")
    assert await answer.aread() == b"secret"
    [head] = proxy.heads
    assert head.startswith(b"CONNECT checkout.test:443 HTTP/1.1\r\n")
    assert b"\r\nproxy-authorization: basic dxnlcjpodw50zxiy\r\n" in head.lower()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
async def test_plain_http_is_passed_on_by_the_proxy(
    build: Build, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    async with scripted(response(200, b"plain")) as server, proxied(httpx.URL(server.url).port or 0) as proxy:
        monkeypatch.setenv(variable, f"http://{proxy.address}")
        answer = await post(build(), f"http://{HOST}")
    assert await answer.aread() == b"plain"
    assert server.requests[0].startswith(b"post http://checkout.test/x?y=z http/1.1\r\n")


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("names", ["localhost", ".elsewhere.test, localhost", "*"])
async def test_a_host_named_as_none_of_the_proxys_is_asked_directly(
    build: Build, monkeypatch: pytest.MonkeyPatch, variable: str, names: str
) -> None:
    async with scripted(response(200, b"plain")) as server, proxied(httpx.URL(server.url).port or 0) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        monkeypatch.setenv(variable, names)
        answer = await post(build(), server.url.replace("127.0.0.1", "localhost"))
    assert await answer.aread() == b"plain"
    assert proxy.heads == []


@pytest.mark.parametrize("status", [403, 407, 502])
async def test_a_tunnel_that_is_refused_sent_nothing_and_the_error_tells_no_password(
    build: Build, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    async with proxied(0, refusal=response(status, b"")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@{proxy.address}")
        with pytest.raises(httpx.ConnectError) as refused:
            await post(build(), f"https://{HOST}")
    assert "hunter2" not in repr(refused.value)


async def test_a_proxy_that_is_not_there_was_sent_nothing(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unheard:  # held, or somebody else could listen on its port meanwhile
        unheard.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{unheard.getsockname()[1]}")
        with pytest.raises(httpx.ConnectError):
            await post(build(), f"https://{HOST}")


@pytest.mark.parametrize("named", ["socks5://user:hunter2@127.0.0.1:1080", "https://127.0.0.1:3128", "http://", "://"])
def test_a_proxy_that_cannot_be_used_is_refused_at_once_and_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", named)
    with pytest.raises(ValueError, match="HTTPS_PROXY must be http://host:port") as refused:
        build_transport("asyncio", request_timeout=PATIENCE)
    assert "hunter2" not in repr(refused.value)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\nHello", b"200\r\n\r\n", 70_000 * b"x"]
)
async def test_a_proxy_that_says_no_clear_yes_gives_no_tunnel(
    build: Build, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    async with proxied(0, refusal=said) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        with pytest.raises(httpx.TransportError):
            await post(build(), f"https://{HOST}")
    assert len(proxy.heads) == 1
