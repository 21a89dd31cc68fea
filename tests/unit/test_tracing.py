"""What the parts tell the tracing, and what of a request's context they carry."""

import asyncio
from collections import deque
from typing import cast

import httpx
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.unit.dintero.support import ACCOUNT, Caller, Transport, accept, entry
from tests.unit.domain.support import POLICY
from tests.unit.telemetry.traced import TRACE, TRACEPARENT, recorded_by
from tests.unit.wire import DATA, READER, binary, record
from worker.clock import Clock
from worker.dintero.api import Api
from worker.domain.commit import Commit, Position
from worker.domain.entry import Entry, State
from worker.domain.outcome import OutcomeType, about, about_invalid
from worker.domain.partition import Partition
from worker.domain.request import Invalid, Record, Request
from worker.engine import Engine
from worker.kafka.ledger import Replay, encode
from worker.kafka.outcomes import encode_outcome
from worker.telemetry import metrics
from worker.telemetry.recent import Recent

BAGGAGE = b"shop=7,night=true"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def carrying(baggage: bytes) -> Record:
    return record(headers=[*binary(), ("traceparent", TRACEPARENT.encode()), ("baggage", baggage)])


def through_the_ledger(entry: Entry) -> Entry:
    replay = Replay(group="g", topic="t")
    for key, value in encode(Commit(Position(1), entries=[entry]), group="g", topic="t"):
        replay.add(key, value)
    deque(replay.decode(), 0)
    return replay.entries[0]


def test_baggage_goes_through_the_ledger_into_every_outcome() -> None:
    request = READER.read(carrying(BAGGAGE))
    assert isinstance(request, Request)
    restored = through_the_ledger(Entry(request, State.QUEUED))
    for outcome in OutcomeType:
        published = about(restored.request, outcome, 0, None, "op-1")
        headers = encode_outcome(published, source="/w", traceparent=None, tracestate=None)[2]
        assert dict(headers)["baggage"] == BAGGAGE


def test_baggage_goes_along_with_the_failure_of_a_request_that_could_not_be_accepted() -> None:
    headers = [*binary(), ("baggage", BAGGAGE)]
    invalid = READER.read(record({**DATA, "operation": "reboot"}, headers))
    assert isinstance(invalid, Invalid)
    assert invalid.identity is not None
    outcome = about_invalid(invalid, invalid.identity, None, 0)
    assert dict(encode_outcome(outcome, source="/w", traceparent=None, tracestate=None)[2])["baggage"] == BAGGAGE


@pytest.mark.parametrize("unfit", [b"x" * 513, b"a=b\r\nhost: evil", "ä=1".encode(), b""])
def test_baggage_that_is_too_long_or_no_header_is_left_behind_and_costs_no_request(unfit: bytes) -> None:
    request = READER.read(carrying(unfit))
    assert isinstance(request, Request)
    assert (request.traceparent, request.baggage) == (TRACEPARENT, None)


def told(exporter: InMemorySpanExporter, method: str) -> list[tuple[object, object]]:
    """Of the calls for operations: how often it was sent before, and whether the request was restored."""
    spans = (span.attributes or {} for span in exporter.get_finished_spans() if span.name == method)
    return [
        (told.get("http.request.resend_count"), told.get("terminal_operations.restored"))
        for told in spans
        if str(told["url.full"]).partition("?")[0].endswith("/operations")
    ]


def traced(of: Entry) -> Entry:
    of.request = of.request._replace(traceparent=TRACEPARENT)
    return of


async def _throttled(_: httpx.Request) -> httpx.Response:
    return httpx.Response(429, headers={"retry-after": "1"})


async def test_every_create_after_the_first_counts_whatever_the_answer_was(exporter: InMemorySpanExporter) -> None:
    caller, ours = Caller(Transport(_throttled), tracing=recorded_by(exporter)), traced(entry())
    for _ in range(3):
        await caller.create(ours)
    assert told(exporter, "POST") == [(None, None), (1, None), (2, None)]


async def test_a_poll_is_a_new_question_unless_a_new_token_sends_it_again(exporter: InMemorySpanExporter) -> None:
    statuses = iter([200, 401, 200])

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(next(statuses), json=[])

    caller, ours = Caller(Transport(answer), tracing=recorded_by(exporter)), traced(entry(operation_id="op-1"))
    for _ in range(2):
        await caller.poll(ours)
    assert told(exporter, "GET") == [(None, None), (None, None), (1, None)]


async def test_a_create_restored_from_the_ledger_may_be_a_resend_and_is_told_as_one(
    exporter: InMemorySpanExporter,
) -> None:
    caller = Caller(Transport(accept), tracing=recorded_by(exporter))
    await caller.create(through_the_ledger(traced(entry())))
    await caller.poll(through_the_ledger(traced(entry(operation_id="op-1"))))
    assert told(exporter, "POST") == [(1, True)]
    assert told(exporter, "GET") == [(None, True)]


async def test_a_token_is_asked_for_in_a_trace_of_its_own(exporter: InMemorySpanExporter) -> None:
    await Caller(Transport(accept), tracing=recorded_by(exporter)).create(traced(entry()))
    token, create = exporter.get_finished_spans()
    assert (token.attributes or {})["url.full"] == f"https://api.example/v1/accounts/{ACCOUNT}/auth/token"
    assert token.parent is None
    assert "secret" not in str(token.attributes).lower()
    assert create.context is not None
    assert f"{create.context.trace_id:032x}" == TRACE


class Durable:
    """Commits at once, or fails."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def commit(self, commit: Commit) -> None:
        if self.error:
            raise self.error


async def taken_in(exporter: InMemorySpanExporter, committer: Durable, records: list[Record]) -> list[ReadableSpan]:
    """The spans of an engine that takes in these records in one commit."""
    names = {"requests_topic": "r", "outcomes_topic": "o", "dead_letters_topic": "d", "group_id": "g"}
    engine = Engine(
        0,
        Partition(POLICY, lambda: 0.0, Position(0)),
        committer=committer,
        api=cast(Api, type("NoApi", (), {"submit": lambda *_: None})()),
        reader=READER,
        clock=Clock(),
        proof_age=5.0,
        tracing=recorded_by(exporter),
        metrics=metrics.Metrics(Resource.create(), **names, api_url="http://127.0.0.1"),
        recent=Recent(),
    )
    engine.accept(records)
    running = asyncio.create_task(engine.run())
    async with asyncio.timeout(30):
        while len(exporter.get_finished_spans()) <= len(records):  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.wait([running])
    return list(exporter.get_finished_spans())


def numbered(*records: Record) -> list[Record]:
    return [each._replace(offset=number) for number, each in enumerate(records)]


async def test_one_commit_settles_all_that_was_taken_in_and_says_what_became_of_it(
    exporter: InMemorySpanExporter,
) -> None:
    reused = record({**DATA, "operation": "send_logs"})
    unread = record({**DATA, "operation": "reboot"}, binary(ce_id=b"17"))
    commit, *processes = await taken_in(exporter, Durable(), numbered(record(), record(), reused, unread))
    assert (commit.name, len(commit.links), commit.status.is_ok) == ("commit requests", 4, True)
    told = [process.attributes or {} for process in processes]
    acceptances = [each.get("terminal_operations.acceptance") for each in told]
    assert acceptances == [None, "duplicate", "reused", "invalid"]
    assert [each.get("error.type") for each in told] == [None, None, "message_id_reused", "invalid_request"]


async def test_a_commit_that_fails_is_told_by_it_and_by_all_it_should_have_settled(
    exporter: InMemorySpanExporter,
) -> None:
    committer = Durable()
    committer.error = TimeoutError()
    spans = await taken_in(exporter, committer, numbered(record()))
    assert [(span.attributes or {}).get("error.type") for span in spans] == ["not_committed"] * 2
