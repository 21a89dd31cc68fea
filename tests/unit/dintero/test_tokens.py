import asyncio

import httpx
import pytest

from tests.support.fake_transport import FakeTransport
from tests.unit.dintero.support import ACCOUNT, BASIC, CREDENTIALS, Clock, client, settle
from worker.dintero.tokens import DEFAULT_LIFETIME, TokenError, Tokens


class Endpoint(FakeTransport):
    """The token endpoint: answers as told, when told."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.free = asyncio.Event()
        self.free.set()
        self.lifetime: object = 1000
        self.response: httpx.Response | None = None
        self.error: Exception | None = None

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await self.free.wait()
        if self.error is not None:
            raise self.error
        given = {"access_token": f"token-{len(self.requests)}", "expires_in": self.lifetime}
        return self.response or httpx.Response(200, json=given)


def _tokens(endpoint: Endpoint, clock: Clock) -> Tokens:
    return Tokens(ACCOUNT, lambda: CREDENTIALS, client(endpoint, clock), clock, lambda: 0.0)


async def test_a_token_is_fetched_once_for_many_callers_and_kept() -> None:
    endpoint = Endpoint()
    endpoint.free.clear()
    tokens = _tokens(endpoint, Clock())
    callers = [asyncio.create_task(tokens.get()) for _ in range(50)]
    await settle()
    endpoint.free.set()
    assert set(await asyncio.gather(*callers)) == {"token-1"}
    assert await tokens.get() == "token-1"
    assert len(endpoint.requests) == 1


async def test_it_is_asked_for_with_the_accounts_credentials() -> None:
    endpoint = Endpoint()
    await _tokens(endpoint, Clock()).get()
    request = endpoint.requests[0]
    assert request.url.raw_path == b"/v1/accounts/P11223351/auth/token"
    assert request.headers["authorization"] == BASIC


async def test_from_half_of_its_life_on_it_is_renewed_while_it_serves() -> None:
    endpoint, clock = Endpoint(), Clock()
    tokens = _tokens(endpoint, clock)
    await tokens.get()
    clock.now += 499
    assert await tokens.get() == "token-1"
    await settle()
    assert len(endpoint.requests) == 1
    clock.now += 2
    assert await tokens.get() == "token-1"
    await settle()
    assert await tokens.get() == "token-2"


async def test_an_early_renewal_that_fails_is_no_failure_and_is_not_repeated_at_once() -> None:
    endpoint, clock = Endpoint(), Clock()
    tokens = _tokens(endpoint, clock)
    await tokens.get()
    endpoint.error = httpx.ConnectError("refused")
    clock.now += 600
    for _ in range(20):
        assert await tokens.get() == "token-1"
        await settle()
    assert len(endpoint.requests) == 2
    clock.now += 10
    assert await tokens.get() == "token-1"
    await settle()
    assert len(endpoint.requests) == 3


async def test_one_near_its_end_is_not_used() -> None:
    endpoint, clock = Endpoint(), Clock()
    tokens = _tokens(endpoint, clock)
    await tokens.get()
    clock.now += 950
    assert await tokens.get() == "token-2"


async def test_a_refused_token_is_dropped_and_its_successor_is_not() -> None:
    endpoint = Endpoint()
    tokens = _tokens(endpoint, Clock())
    first = await tokens.get()
    tokens.invalidate(first)
    second = await tokens.get()
    tokens.invalidate(first)
    assert await tokens.get() == second == "token-2"


async def test_one_who_waited_gets_a_token_even_if_another_has_had_it_refused() -> None:
    tokens = _tokens(Endpoint(), Clock())

    async def refuse() -> None:
        tokens.invalidate(await tokens.get())

    _, token = await asyncio.gather(refuse(), tokens.get())
    assert token == "token-1"


@pytest.mark.parametrize("lifetime", [None, "600", True, -1, 0, {}])
async def test_a_lifetime_that_is_none_is_the_default(lifetime: object) -> None:
    endpoint, clock = Endpoint(), Clock()
    endpoint.lifetime = lifetime
    tokens = _tokens(endpoint, clock)
    await tokens.get()
    clock.now += DEFAULT_LIFETIME * 0.49
    await tokens.get()
    await settle()
    assert len(endpoint.requests) == 1
    clock.now += DEFAULT_LIFETIME
    assert await tokens.get() == "token-2"


@pytest.mark.parametrize(
    ("response", "cause", "retry_after"),
    [
        (httpx.Response(200, content=b"<html>"), "token_not_json", None),
        (httpx.Response(200, json=[]), "token_missing", None),
        (httpx.Response(200, json={"access_token": 7}), "token_missing", None),
        (httpx.Response(200, json={"access_token": "a\r\nx: y"}), "token_missing", None),
        (httpx.Response(200, json={"access_token": "x" * 20_000}), "token_missing", None),
        (httpx.Response(401, json={}), "token_http_401", None),
        (httpx.Response(503, headers={"retry-after": "9"}), "token_http_503", 9000),
    ],
)
async def test_nonsense_is_one_error(response: httpx.Response, cause: str, retry_after: int | None) -> None:
    endpoint = Endpoint()
    endpoint.response = response
    with pytest.raises(TokenError) as raised:
        await _tokens(endpoint, Clock()).get()
    assert (raised.value.cause, raised.value.retry_after) == (cause, retry_after)
    assert "hunter2" not in repr(raised.value)


async def test_a_bug_in_a_renewal_is_the_same_error() -> None:
    endpoint = Endpoint()
    endpoint.error = ZeroDivisionError()
    with pytest.raises(TokenError, match="token_internal_error"):
        await _tokens(endpoint, Clock()).get()


async def test_a_caller_that_gives_up_does_not_take_the_token_from_the_others() -> None:
    endpoint = Endpoint()
    endpoint.free.clear()
    tokens = _tokens(endpoint, Clock())
    leaver, stayer = asyncio.create_task(tokens.get()), asyncio.create_task(tokens.get())
    await settle()
    leaver.cancel()
    await settle()
    endpoint.free.set()
    assert await stayer == "token-1"


async def test_closing_ends_a_renewal_under_way() -> None:
    endpoint = Endpoint()
    endpoint.free.clear()
    tokens = _tokens(endpoint, Clock())
    waiting = asyncio.create_task(tokens.get())
    await settle()
    await tokens.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
