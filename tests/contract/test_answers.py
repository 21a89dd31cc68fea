"""The table of answers, each row by a real server over real connections."""

import socket

import orjson
import pytest

from tests.contract.conftest import PATIENCE, SILENCE, CallerTo
from tests.contract.scripted import CUT, response, scripted
from tests.unit.dintero.support import entry, operation
from worker.dintero.http1 import MAX_BODY
from worker.domain.answer import Verdict

HTML = b"<!doctype html><title>Welcome</title>"

ROWS = {
    "bad request": (response(400, b"{}"), Verdict.REFUSED, Verdict.NOTHING),
    "unauthorized": (response(401, b"{}"), Verdict.NOT_RUN, Verdict.NOT_RUN),
    "forbidden from the start": (response(403, b"{}"), Verdict.NOT_RUN, Verdict.NOT_RUN),
    "not found": (response(404, b"{}"), Verdict.REFUSED, Verdict.NOTHING),
    "request timeout": (response(408, b"{}"), Verdict.UNKNOWN, Verdict.UNKNOWN),
    "busy": (response(409, b"{}"), Verdict.BUSY, Verdict.NOTHING),
    "unprocessable": (response(422, b"{}"), Verdict.REFUSED, Verdict.NOTHING),
    "too early": (response(425, b"{}"), Verdict.UNKNOWN, Verdict.UNKNOWN),
    "throttled": (response(429, b"{}", "Retry-After: 2"), Verdict.NOT_RUN, Verdict.NOT_RUN),
    "server error": (response(500, b"{}"), Verdict.UNKNOWN, Verdict.UNKNOWN),
    "unavailable": (response(503, b"{}"), Verdict.UNKNOWN, Verdict.UNKNOWN),
    "unavailable for a while": (response(503, b"{}", "Retry-After: 2"), Verdict.NOT_RUN, Verdict.NOT_RUN),
    "page": (response(200, HTML), Verdict.UNKNOWN, Verdict.UNKNOWN),
    "no body": (response(200, b""), Verdict.UNKNOWN, Verdict.UNKNOWN),
    "no content": (b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n", Verdict.UNKNOWN, Verdict.UNKNOWN),
    "half an object": (response(200, b'{"id": "op-1", "terminal_'), Verdict.UNKNOWN, Verdict.UNKNOWN),
    "half an answer": (response(200, b'[{"id": "op-1"}]')[:-4], Verdict.UNKNOWN, Verdict.UNKNOWN),
    "too much": (response(200, b" " * (MAX_BODY + 1)), Verdict.UNKNOWN, Verdict.UNKNOWN),
    "too deep": (response(200, b"[" * 5000), Verdict.UNKNOWN, Verdict.UNKNOWN),
    "not text": (response(200, b"\xff\xfe[]"), Verdict.UNKNOWN, Verdict.UNKNOWN),
    "array of nothing": (response(200, b"[null,{},[]]"), Verdict.UNKNOWN, Verdict.NOTHING),
    "empty array": (response(200, b"[]"), Verdict.UNKNOWN, Verdict.NOTHING),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", Verdict.UNKNOWN, Verdict.UNKNOWN),
    "compressed": (response(200, b"[]", "Content-Encoding: gzip"), Verdict.UNKNOWN, Verdict.NOTHING),
    "strange header": (response(404, b"{}", "X-Strange: \xe9"), Verdict.REFUSED, Verdict.NOTHING),
    "connection cut": (CUT, Verdict.UNKNOWN, Verdict.UNKNOWN),
    "silence past the timeout": (None, Verdict.UNKNOWN, Verdict.UNKNOWN),
}


@pytest.mark.parametrize("row", ROWS)
async def test_the_meaning_of_an_answer(caller_to: CallerTo, row: str) -> None:
    script, to_create, to_poll = ROWS[row]
    request_timeout = SILENCE if script is None else PATIENCE
    async with scripted(script) as server:
        # One caller each: the first answer may open the circuit.
        async with caller_to(server.url, request_timeout) as caller:
            create = await caller.create(entry())
        async with caller_to(server.url, request_timeout) as caller:
            poll = await caller.poll(entry(operation_id="op-1"))
    assert (create.verdict, poll.verdict) == (to_create, to_poll), (create, poll)
    assert len(server.requests) == (4 if row == "unauthorized" else 2)


async def test_retry_after_survives_a_strange_header_beside_it(caller_to: CallerTo) -> None:
    script = response(429, b"", "X-Strange: \xe9", "Retry-After: 7")
    async with scripted(script) as server, caller_to(server.url) as caller:
        assert (await caller.create(entry())).retry_after == 7000


async def test_a_redirect_is_not_followed(caller_to: CallerTo) -> None:
    async with scripted(response(200, b"[]")) as elsewhere:
        script = response(307, b"", f"Location: {elsewhere.url}/x")
        async with scripted(script) as server, caller_to(server.url) as caller:
            answer = await caller.create(entry())
        assert (answer.verdict, answer.cause) == (Verdict.UNKNOWN, "http_307")
        assert elsewhere.requests == []


async def test_a_status_nobody_knows_yet_is_kept(caller_to: CallerTo) -> None:
    ours = entry()
    script = response(201, orjson.dumps(operation(ours, status="QUEUED", extra=1)))
    async with scripted(script) as server, caller_to(server.url) as caller:
        answer = await caller.create(ours)
    assert answer.operation is not None
    assert (answer.operation.status, answer.operation.body["extra"]) == ("QUEUED", 1)


async def test_an_array_of_two_gives_ours(caller_to: CallerTo) -> None:
    ours = entry(operation_id="op-1")
    body = orjson.dumps([operation(ours, id="op-2"), operation(ours, status="FAILED")])
    async with scripted(response(200, body)) as server, caller_to(server.url) as caller:
        answer = await caller.poll(ours)
    assert answer.operation is not None
    assert answer.operation.status == "FAILED"


async def test_a_refused_connection_means_that_it_certainly_did_not_run(caller_to: CallerTo) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        async with caller_to(f"http://127.0.0.1:{unheard.getsockname()[1]}") as caller:
            answer = await caller.create(entry())
    assert (answer.verdict, answer.cause) == (Verdict.NOT_RUN, "token_connect_error")
