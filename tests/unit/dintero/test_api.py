import asyncio
from collections import Counter

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from tests.support.fake_transport import FakeTransport
from tests.unit.dintero.support import ACCOUNT, OTHER_ACCOUNT, Caller, Clock, Transport, accept, entry, settle
from worker.dintero import client
from worker.dintero.call import CallKind
from worker.dintero.circuit import FAILURES_TO_OPEN
from worker.dintero.http1 import Received
from worker.dintero.pool import Door
from worker.dintero.route import Headers
from worker.dintero.transport import always
from worker.domain.answer import Answer, Verdict


async def _down(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


async def _never(request: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


class _Busy:
    """Accepts as `accept` does, a turn of the loop later, and knows the most calls it had at once."""

    def __init__(self) -> None:
        self.most = self._now = 0

    async def accept(self, request: httpx.Request) -> httpx.Response:
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        return await accept(request)


class _Connecting(Transport):
    """Its connections for operations never come to stand."""

    def __init__(self) -> None:
        super().__init__(accept)
        self.begun = asyncio.Event()

    async def send(self, method: str, url: str, headers: Headers, body: bytes, door: Door = always) -> Received:
        if url.endswith("/operations"):
            self.begun.set()
            await asyncio.Event().wait()
        return await super().send(method, url, headers, body, door)


def _always(status: int) -> Transport:
    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status)

    return Transport(answer)


async def test_a_create_says_who_asks_for_what_and_with_which_key() -> None:
    transport = Transport(accept)
    ours = entry()
    answer = await Caller(transport).create(ours)
    assert answer.verdict is Verdict.OPERATION
    request = transport.requests[0]
    assert (request.method, request.url.raw_path) == ("POST", b"/v1/admin/terminals/operations")
    assert request.headers["idempotency-key"] == ours.request.key
    assert request.headers["authorization"] == "Bearer token-1"
    content = orjson.loads(b"".join(request.stream))  # type: ignore[arg-type]
    assert content == {
        "terminal_id": ours.request.terminal_id,
        "operation": "end_of_day",
        "parameters": {"operator_id": "7"},
    }


async def test_a_poll_asks_for_its_operation_alone() -> None:
    transport = Transport(accept)
    await Caller(transport).poll(entry(operation_id="a&b=c"))
    assert transport.requests[0].url.raw_path == b"/v1/admin/terminals/operations?operation_id=a%26b%3Dc"


async def test_a_transport_that_never_gives_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GRACE", 0.01)
    caller = Caller(Transport(_never), request_timeout=0.01)
    answer = await caller.create(entry())
    assert (answer.verdict, answer.cause) == (Verdict.UNKNOWN, "timeout")
    assert caller.metrics.calls[-1] == ("POST", None, "interrupted")
    assert caller.api.status()[ACCOUNT]["in_flight"] == 0


async def test_a_token_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GRACE", 0.01)

    class Silent(FakeTransport):
        async def answer(self, request: httpx.Request) -> httpx.Response:
            return await _never(request)

    answer = await Caller(Silent(), request_timeout=0.01).create(entry())
    assert (answer.verdict, answer.cause) == (Verdict.NOT_RUN, "token_timeout")


async def test_submit_never_answers_by_itself() -> None:
    caller = Caller(Transport(_down))
    unknown = caller.submit(CallKind.CREATE, entry("P99999999-T1"))
    known = caller.submit(CallKind.CREATE, entry())
    assert not unknown.done()
    assert not known.done()
    assert (await unknown).verdict is Verdict.REFUSED
    assert (await known).cause == "connect_error"


async def test_a_create_of_an_account_without_credentials_is_refused_by_name_and_a_poll_is_asked_again() -> None:
    caller = Caller(Transport(accept))
    create = await caller.create(entry("P99999999-T1"))
    poll = await caller.poll(entry("P99999999-T1", operation_id="op-1"))
    assert (create.verdict, create.cause) == (Verdict.REFUSED, "unknown_account")
    assert create.message is not None
    assert "P99999999" in create.message
    assert poll.verdict is Verdict.NOT_RUN


async def test_a_closed_door_sends_nothing() -> None:
    transport = Transport(accept)
    answer = await Caller(transport).create(entry(), door=lambda: False)
    assert answer.verdict is Verdict.WITHHELD
    assert transport.requests == []


async def test_the_door_is_asked_in_the_step_of_the_send_and_after_the_preparation() -> None:
    steps: list[str] = []

    async def send(request: httpx.Request) -> httpx.Response:
        steps.append("send")
        return await accept(request)

    async def prepare() -> None:
        await asyncio.sleep(0)
        steps.append("prepare")

    def door() -> bool:
        # Runs before anything else could, once the step that asks has ended.
        asyncio.get_running_loop().call_soon(steps.append, "later step")
        steps.append("door")
        return True

    await Caller(Transport(send)).submit(CallKind.CREATE, entry(), door=door, prepare=prepare)
    assert steps[:3] == ["prepare", "door", "send"]


@pytest.mark.parametrize("error", [RuntimeError(), asyncio.CancelledError()])
async def test_a_preparation_that_fails_withholds_the_call(error: BaseException) -> None:
    async def prepare() -> None:
        raise error

    transport = Transport(accept)
    answer = await Caller(transport).submit(CallKind.CREATE, entry(), prepare=prepare)
    assert answer.verdict is Verdict.WITHHELD
    assert transport.requests == []


async def test_every_call_is_answered_exactly_once() -> None:
    caller = Caller(Transport(accept), max_in_flight=3)
    entries = [entry(f"{ACCOUNT}-T{number}") for number in range(200)]
    await asyncio.gather(*(caller.create(ours) for ours in entries))
    await settle()
    assert Counter(len(caller.answers[ours]) for ours in entries) == {1: 200}


async def test_no_more_calls_are_out_than_the_limit() -> None:
    api = _Busy()
    caller = Caller(Transport(api.accept), max_in_flight=4)
    await asyncio.gather(*(caller.create(entry(f"{ACCOUNT}-T{number}")) for number in range(40)))
    assert api.most == 4


async def test_after_trouble_the_calls_that_wait_go_out_more_and_more_at_once() -> None:
    api = _Busy()
    transport = _always(500)
    caller = Caller(transport, max_in_flight=8)
    for _ in range(3):
        await caller.create(entry())
    assert caller.api.status()[ACCOUNT]["limit"] == 1
    transport.handler = api.accept
    await asyncio.gather(*(caller.create(entry()) for _ in range(100)))
    assert api.most == 8


async def test_however_many_calls_are_withheld_the_loop_goes_on_meanwhile() -> None:
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    caller = Caller(Transport(accept), max_in_flight=8)
    await caller.create(entry())
    watching = asyncio.create_task(watch())
    answers = await asyncio.gather(*(caller.create(entry(), door=lambda: False) for _ in range(800)))
    watching.cancel()
    assert {answer.cause for answer in answers} == {"door_closed"}
    assert turns >= 100


async def test_calls_that_are_not_sent_keep_no_other_from_its_turn_in_the_rate() -> None:
    transport = Transport(accept)
    caller = Caller(transport, max_requests_per_second=1.0)  # and its clock stands still: one may be sent
    left_behind = [caller.submit(CallKind.CREATE, entry(), door=lambda: False) for _ in range(50)]
    answer = await caller.create(entry())
    assert (answer.verdict, len(transport.requests)) == (Verdict.OPERATION, 1)
    assert [(await withheld).cause for withheld in left_behind] == ["door_closed"] * 50


async def test_creates_go_first_and_polls_get_every_fourth_turn() -> None:
    transport = Transport(accept)
    caller = Caller(transport, max_in_flight=1)
    await caller.create(entry())
    first = caller.submit(CallKind.POLL, entry(operation_id="op-1"))
    polls = [caller.submit(CallKind.POLL, entry(operation_id="op-1")) for _ in range(4)]
    creates = [caller.submit(CallKind.CREATE, entry(f"{ACCOUNT}-T{number}")) for number in range(9)]
    await asyncio.gather(first, *polls, *creates)
    methods = "".join(request.method[0] for request in transport.requests)
    assert methods == "PG" + "PGPPPGPPPGPP" + "G"


async def test_a_401_renews_the_token_once_and_asks_again() -> None:
    async def refuse_the_first(request: httpx.Request) -> httpx.Response:
        return await accept(request) if request.headers["authorization"] == "Bearer token-2" else httpx.Response(401)

    transport = Transport(refuse_the_first)
    caller = Caller(transport)
    answers = await asyncio.gather(*(caller.create(entry()) for _ in range(8)))
    assert {answer.verdict for answer in answers} == {Verdict.OPERATION}
    assert transport.tokens == 2


async def test_a_401_that_stays_opens_the_circuit_and_fails_nothing() -> None:
    transport = _always(401)
    caller = Caller(transport)
    answer = await caller.create(entry())
    assert (answer.verdict, answer.cause) == (Verdict.NOT_RUN, "http_401")
    assert len(transport.requests) == 2
    assert caller.api.status()[ACCOUNT]["circuit"] == "open"


async def test_the_door_is_asked_again_before_a_resend() -> None:
    doors = iter([True, False])
    transport = _always(401)
    answer = await Caller(transport).create(entry(), door=lambda: next(doors))
    assert answer.verdict is Verdict.WITHHELD
    assert len(transport.requests) == 1


async def test_a_403_before_any_create_was_accepted_is_the_accounts_and_opens_the_circuit() -> None:
    caller = Caller(_always(403))
    answer = await caller.create(entry())
    assert (answer.verdict, answer.http_status) == (Verdict.NOT_RUN, 403)
    assert caller.api.status()[ACCOUNT]["circuit"] == "open"


@pytest.mark.parametrize(("seconds", "verdict"), [(3599, Verdict.REFUSED), (3601, Verdict.NOT_RUN)])
async def test_a_403_within_an_hour_of_an_accepted_create_is_the_requests(seconds: int, verdict: Verdict) -> None:
    transport, clock = Transport(accept), Clock()
    caller = Caller(transport, clock=clock)
    await caller.create(entry())
    clock.now += seconds
    transport.handler = _always(403).handler
    assert (await caller.create(entry())).verdict is verdict


async def test_an_open_circuit_answers_at_once_and_sends_one_probe_when_it_is_due() -> None:
    transport, clock = Transport(_down), Clock()
    caller = Caller(transport, clock=clock)
    for _ in range(FAILURES_TO_OPEN):
        assert (await caller.create(entry())).cause == "connect_error"
    answer = await caller.create(entry())
    assert (answer.verdict, answer.cause, answer.retry_after) == (Verdict.NOT_RUN, "circuit_open", 750)
    clock.now += 0.75
    answers = await asyncio.gather(*(caller.create(entry()) for _ in range(10)))
    assert Counter(answer.cause for answer in answers) == {"connect_error": 1, "circuit_open": 9}
    transport.handler = accept
    clock.now += 1.5
    assert (await caller.create(entry())).verdict is Verdict.OPERATION
    assert caller.api.status()[ACCOUNT]["circuit"] == "closed"


async def test_an_outage_is_two_lines_with_its_cause_its_time_and_the_calls_not_made() -> None:
    transport, clock = Transport(_down), Clock()
    caller = Caller(transport, clock=clock)
    with capture_logs() as logs:
        for _ in range(FAILURES_TO_OPEN + 20):
            await caller.create(entry())
        clock.now += 0.75
        await caller.create(entry())  # the probe fails
        transport.handler = accept
        clock.now += 1.5
        await caller.create(entry())
    assert logs == [
        {"event": "circuit_opened", "log_level": "warning", "account": ACCOUNT, "cause": "connect_error"},
        {
            "event": "circuit_closed",
            "log_level": "info",
            "account": ACCOUNT,
            "seconds": pytest.approx(2.25, abs=0.1),
            "calls_not_made": 20,
        },
    ]


async def test_calls_that_wait_when_the_circuit_opens_are_answered() -> None:
    caller = Caller(Transport(_down), max_in_flight=1)
    answers = await asyncio.gather(*(caller.create(entry()) for _ in range(500)))
    assert Counter(answer.cause for answer in answers)["circuit_open"] == 500 - FAILURES_TO_OPEN


async def test_a_probe_behind_a_closed_door_leaves_the_circuit_to_the_next() -> None:
    transport, clock = Transport(_down), Clock()
    caller = Caller(transport, clock=clock)
    for _ in range(FAILURES_TO_OPEN):
        await caller.create(entry())
    clock.now += 1
    transport.handler = accept
    assert (await caller.create(entry(), door=lambda: False)).verdict is Verdict.WITHHELD
    assert (await caller.create(entry())).verdict is Verdict.OPERATION


@pytest.mark.parametrize("status", [400, 404, 409, 422])
async def test_an_ordinary_refusal_is_a_healthy_answer(status: int) -> None:
    caller = Caller(_always(status))
    for _ in range(FAILURES_TO_OPEN * 2):
        await caller.create(entry())
    assert caller.api.status()[ACCOUNT]["circuit"] == "closed"


async def test_a_bug_in_a_call_is_unknown_and_not_lost() -> None:
    async def broken(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    answer = await Caller(Transport(broken)).create(entry())
    assert (answer.verdict, answer.cause) == (Verdict.UNKNOWN, "internal_error")


async def test_a_header_from_outside_cannot_begin_another() -> None:
    transport = Transport(accept)
    ours = entry()
    ours.request = ours.request._replace(
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01", tracestate="a=b\r\nAuthorization: mine"
    )
    assert (await Caller(transport).create(ours)).verdict is Verdict.OPERATION
    assert transport.requests[0].headers["traceparent"].startswith("00-aaaa")
    assert "tracestate" not in transport.requests[0].headers


async def test_each_attempt_is_counted() -> None:
    caller = Caller(_always(401))
    await caller.create(entry())
    assert caller.metrics.calls == [("POST", 200, None), ("POST", 401, None)] * 2


async def test_closing_awaits_answers_on_the_way_and_withholds_the_rest() -> None:
    sent, answer_now = asyncio.Event(), asyncio.Event()

    async def slow(request: httpx.Request) -> httpx.Response:
        sent.set()
        await answer_now.wait()
        return await accept(request)

    caller = Caller(Transport(slow), max_in_flight=1)
    on_the_way, waiting = (caller.submit(CallKind.CREATE, entry()) for _ in range(2))
    await sent.wait()
    closing = asyncio.create_task(caller.api.aclose(5))
    await settle()
    answer_now.set()
    await closing
    assert on_the_way.result().verdict is Verdict.OPERATION
    assert waiting.result().verdict is Verdict.WITHHELD
    assert (await caller.create(entry())).verdict is Verdict.WITHHELD


async def test_a_call_still_preparing_when_the_closing_begins_is_not_sent() -> None:
    prepared = asyncio.Event()

    async def prepare() -> None:
        await prepared.wait()

    transport = Transport(accept)
    caller = Caller(transport)
    answered = caller.submit(CallKind.CREATE, entry(), prepare=prepare)
    await settle()
    closing = asyncio.create_task(caller.api.aclose(5))
    await settle()
    prepared.set()
    await closing
    assert answered.result().verdict is Verdict.WITHHELD
    assert transport.requests == []


async def test_closing_in_a_hurry_leaves_a_sent_create_unknown() -> None:
    transport = Transport(_never)
    caller = Caller(transport)
    answered = caller.submit(CallKind.CREATE, entry())
    await settle()
    assert len(transport.requests) == 1
    await caller.api.aclose(0)
    assert answered.result() == Answer(Verdict.UNKNOWN, cause="closing")


async def test_closing_in_a_hurry_leaves_a_create_that_still_connects_unsent() -> None:
    transport = _Connecting()
    caller = Caller(transport)
    answered = caller.submit(CallKind.CREATE, entry())
    await transport.begun.wait()
    await caller.api.aclose(0)
    assert answered.result() == Answer(Verdict.WITHHELD, cause="closing")


async def test_a_create_that_the_door_kept_back_is_no_attempt_that_the_next_repeats() -> None:
    ours, transport = entry(), Transport(accept)
    caller = Caller(transport)
    await caller.create(ours, door=lambda: False)
    assert ours.sent == 0
    await caller.create(ours)
    assert ours.sent == 1


async def test_one_accounts_trouble_does_not_stop_another() -> None:
    async def refuse_one(request: httpx.Request) -> httpx.Response:
        content = b"".join(request.stream)  # type: ignore[arg-type]
        return httpx.Response(401) if ACCOUNT.encode() in content else await accept(request)

    caller = Caller(Transport(refuse_one))
    await caller.create(entry())
    assert (await caller.create(entry(f"{OTHER_ACCOUNT}-T1"))).verdict is Verdict.OPERATION
    assert (await caller.create(entry())).cause == "circuit_open"
