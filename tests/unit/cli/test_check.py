"""What `check` makes of answers, where no real broker or API gives them on demand."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import httpx
import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownError,
    UnknownMemberIdError,
)
from pydantic import SecretStr

from tests.support.fake_transport import FakeTransport
from worker.cli.checks import api
from worker.cli.checks.finding import Finding, Level, failed, until_failed
from worker.cli.checks.network import check_authentication, check_bootstrap, check_tls
from worker.cli.checks.permissions import check_reading, check_writing
from worker.dintero.call import Credentials
from worker.kafka.connection import Connection
from worker.settings import load

ENVIRONMENT = {"KAFKA_BOOTSTRAP_SERVERS": "nowhere:1", "DINTERO_BASE_URL": "https://api.test"}
SETTINGS = load(ENVIRONMENT, api=False)
CREDENTIALS = {name: Credentials("client", SecretStr("hunter2")) for name in ("P1", "P2")}


def levels(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.level.value) for finding in findings]


# -- the network ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[tuple[str, int]]:
    """Answers everything with these bytes and hangs up; with None, it hangs up at once."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer is not None:
            await reader.read(1)
            writer.write(answer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[:2]
    finally:
        listening.close()
        await listening.wait_closed()


async def test_one_broker_that_answers_is_enough_and_the_others_are_told() -> None:
    async with server(None) as (host, port):
        findings, reached = await check_bootstrap(Connection(f"{host}:{port},127.0.0.1:1"))
    assert levels(findings) == [("brokers", "ok"), ("brokers", "warning")]
    assert reached == [(host, port)]
    assert findings[1].fix


@pytest.mark.parametrize("servers", ["127.0.0.1:1", "no.such.host.invalid:9092", "127.0.0.1:port"])
async def test_no_broker_that_answers_is_a_problem(servers: str) -> None:
    findings, reached = await check_bootstrap(Connection(servers))
    assert levels(findings) == [("brokers", "problem")]
    assert reached == []


async def test_a_listener_without_tls_is_told_from_one_that_is_not_trusted() -> None:
    async with server(b"no TLS\n") as address:
        (finding,) = await check_tls(Connection("unused", "SSL"), address)
    assert (finding.level, "does not speak TLS" in finding.found) == (Level.PROBLEM, True)


async def test_a_password_without_tls_is_a_warning() -> None:
    plain = Connection("unused", "SASL_PLAINTEXT", "PLAIN", "user", SecretStr("hunter2"))
    (finding,) = await check_tls(plain, ("unused", 1))
    assert finding.level is Level.WARNING
    assert "hunter2" not in f"{finding}"


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_what_is_no_broker_is_told_as_such(answer: bytes | None) -> None:
    async with server(answer) as address:
        (finding,) = await check_authentication(Connection("unused"), address)
    assert (finding.check, finding.level) == ("authentication", Level.PROBLEM)
    assert finding.fix


# -- what is allowed --------------------------------------------------------------------------------------------


class Cluster:
    """Answers as it is told."""

    def __init__(self, *, topic: Any = None, group: Any = UnknownMemberIdError, written: Any = (None, {})) -> None:
        self.topic, self.group, self.written = topic, group, written
        self.transactional_id = ""

    async def read(self, topic: str) -> Any:
        return self.topic

    async def join(self, group: str) -> Any:
        return self.group

    async def write(self, transactional_id: str, topics: list[str]) -> Any:
        self.transactional_id = transactional_id
        return self.written


@pytest.mark.parametrize(
    ("cluster", "found"),
    [
        (Cluster(), ["ok", "ok", "ok"]),
        (Cluster(topic=OffsetOutOfRangeError), ["ok", "ok", "ok"]),
        (Cluster(topic=TopicAuthorizationFailedError), ["problem", "problem", "ok"]),
        (Cluster(topic=UnknownError), ["problem", "problem", "ok"]),
        (Cluster(group=GroupAuthorizationFailedError), ["ok", "ok", "problem"]),
    ],
)
async def test_reading_is_allowed_unless_the_brokers_refuse_it(cluster: Any, found: list[str]) -> None:
    findings = await check_reading(cluster, SETTINGS)
    assert [finding.level.value for finding in findings] == found
    assert all(finding.fix for finding in findings if finding.level is Level.PROBLEM)


async def test_only_a_refusal_is_told_as_a_permission_to_give() -> None:
    refused: Any = Cluster(written=(None, {"outcomes": TopicAuthorizationFailedError, "state": UnknownError}))
    allowed, outcomes, state = await check_writing(refused, SETTINGS)
    assert allowed.level is Level.OK
    assert "--operation Write --topic outcomes" in (outcomes.fix or "")
    assert "UnknownError" in state.found
    assert "kafka-acls" not in (state.fix or "")


async def test_the_throwaway_transaction_has_an_id_that_no_partition_has_and_is_another_each_time() -> None:
    first, second = Cluster(), Cluster()
    for cluster in (first, second):
        unit: Any = cluster
        await check_writing(unit, SETTINGS)
        assert cluster.transactional_id.startswith("terminal-operations-worker-terminal-operations.requests-check-")
    assert first.transactional_id != second.transactional_id


async def test_without_transactions_none_is_tried() -> None:
    cluster: Any = Cluster()
    findings = await check_writing(cluster, load({**ENVIRONMENT, "WORKER_DELIVERY": "at_least_once"}, api=False))
    assert levels(findings) == [("transactions", "skipped")]
    assert cluster.transactional_id == ""


# -- the API ----------------------------------------------------------------------------------------------------


class Endpoint(FakeTransport):
    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self._answer = answer

    async def answer(self, request: httpx.Request) -> httpx.Response:
        return self._answer(request)


async def check_tokens(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], httpx.Response], url: str = "https://api.test"
) -> list[Finding]:
    monkeypatch.setattr(api, "build_transport", lambda *_, **__: Endpoint(answer))
    settings = load({**ENVIRONMENT, "DINTERO_BASE_URL": url}, api=False)
    findings = await api.check_tokens(settings, CREDENTIALS)
    assert "hunter2" not in f"{findings}"
    return findings


def token(ahead: float = 0, status: int = 200) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        good = status == 200 or "P2" in request.url.path
        headers = {"Date": formatdate(time.time() - ahead, usegmt=True)}
        return httpx.Response(200 if good else status, headers=headers, json={"access_token": "x", "expires_in": 9})

    return answer


@pytest.mark.parametrize(
    ("ahead", "level"), [(0, "ok"), (3, "ok"), (-3, "ok"), (30, "warning"), (-30, "warning"), (3600, "problem")]
)
async def test_the_clock_is_held_against_the_apis(ahead: float, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = await check_tokens(monkeypatch, token(ahead))
    assert levels(findings) == [("token", "ok"), ("token", "ok"), ("clock", level)]


@pytest.mark.parametrize(("status", "fix"), [(401, "client secret"), (404, "account"), (503, "later")])
async def test_one_account_that_gets_no_token_is_told_and_what_to_do(
    status: int, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = await check_tokens(monkeypatch, token(status=status))
    assert levels(findings) == [("token", "problem"), ("token", "ok"), ("clock", "ok")]
    assert findings[0].found.startswith("P1: ")
    assert fix in (findings[0].fix or "")


async def test_an_api_that_is_away_leaves_the_clock_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no", request=request)

    findings = await check_tokens(monkeypatch, away, url="http://api.test")
    assert levels(findings) == [("token", "problem"), ("token", "problem"), ("api", "warning"), ("clock", "skipped")]


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Mon, 99 Nov 2026 99:99:99 GMT", "Sun, 22 Nov 99999999 10:00:00 GMT"]
)
async def test_a_date_that_is_none_is_no_clock(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Date": date}, json={"access_token": "x"})

    assert levels(await check_tokens(monkeypatch, answer)) == [("token", "ok"), ("token", "ok"), ("clock", "skipped")]


# -- the report -------------------------------------------------------------------------------------------------


async def test_what_follows_a_failed_check_is_skipped_and_a_check_that_breaks_is_a_problem() -> None:
    async def fails() -> Any:
        yield [Finding("a", Level.OK, "")]
        yield [Finding("b", Level.PROBLEM, "")]
        pytest.fail("went on")

    async def breaks() -> Any:
        yield [Finding("a", Level.WARNING, "")]
        raise KeyError("surprise")

    names = ("a", "b", "c")
    assert levels(await until_failed(names, fails())) == [("a", "ok"), ("b", "problem"), ("c", "skipped")]
    assert levels(await until_failed(names, breaks())) == [("a", "warning"), ("b", "problem"), ("c", "skipped")]
    nothing = await until_failed(names, None)
    assert levels(nothing) == [(name, "skipped") for name in names]
    assert not failed(nothing)
