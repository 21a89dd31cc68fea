"""One account's calls: which goes next, whether it may, and what its answer says of the API's health."""

import asyncio
import math
from collections import deque
from collections.abc import Callable

import httpx
import structlog

from worker.dintero.answers import read_create, read_exception, read_poll
from worker.dintero.budget import Budget
from worker.dintero.call import Call, CallKind
from worker.dintero.circuit import Circuit
from worker.dintero.client import Client
from worker.dintero.tokens import TokenError, Tokens
from worker.domain.answer import Answer, Verdict

POLL_TURN = 4
"""Every so many calls, a waiting poll goes before the creates: lanes wait for it."""
SCOPE_MEMORY = 3600.0
DRAIN = 100
"""Answers handed over in one turn of the loop, so that an opening circuit does not stop it for long."""

_NOT_SENT = frozenset({"not_prepared", "door_closed", "closing"})
"""Causes of answers that say nothing of the API."""

log = structlog.get_logger(__name__)


class Account:
    """Starts a call when the circuit and the budget allow; while the circuit is open, answers it at once."""

    def __init__(
        self,
        tokens: Tokens,
        client: Client,
        circuit: Circuit,
        budget: Budget,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._tokens = tokens
        self._client = client
        self._circuit = circuit
        self._budget = budget
        self._clock = clock
        self._random = random
        self._creates: deque[Call] = deque()
        self._polls: deque[Call] = deque()
        self._outbox: deque[tuple[Call, Answer]] = deque()
        self._draining = False
        self._turn = 0
        self._allowed_at: dict[CallKind, float] = {}
        self._running: dict[Call, asyncio.Task[None]] = {}
        self._sent_at: dict[Call, float] = {}
        self._watchdog: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    def submit(self, call: Call) -> None:
        (self._creates if call.kind is CallKind.CREATE else self._polls).append(call)
        self._start_calls()

    def share(self, share: float) -> None:
        self._budget.share(share)
        self._cancel_timer()
        self._start_calls()

    def status(self) -> dict[str, object]:
        return {
            "circuit": self._circuit.state,
            "in_flight": self._budget.in_flight,
            "limit": self._budget.limit,
            "waiting": len(self._creates) + len(self._polls),
        }

    async def aclose(self, timeout: float) -> None:
        self._closing = True
        self._cancel_timer()
        self._start_calls()
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=timeout)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        while self._outbox:
            hand_over(*self._outbox.popleft())
        if self._watchdog:
            self._watchdog.cancel()
        await self._tokens.aclose()

    def _start_calls(self) -> None:
        while self._creates or self._polls:
            if self._closing:
                self._answer_waiting(lambda call: _not_sent(call, "closing"))
            elif self._circuit.wait() > 0:
                self._answer_waiting(self._circuit_open)
            elif (delay := self._budget.wait()) is None:
                return
            elif delay > 0:
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(delay, self._wake)
                return
            else:
                self._start(self._next())

    def _wake(self) -> None:
        self._timer = None
        self._start_calls()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> Call:
        self._turn += 1
        if self._creates and not (self._polls and self._turn % POLL_TURN == 0):
            return self._creates.popleft()
        return self._polls.popleft()

    def _start(self, call: Call) -> None:
        probe = self._circuit.enter()
        self._running[call] = asyncio.create_task(self._run(call, probe, self._budget.start()))

    async def _run(self, call: Call, probe: bool, started: int) -> None:
        answer = self._scoped(call, await self._ask(call))
        del self._running[call]
        self._learn(answer, probe, started)
        hand_over(call, answer)
        self._start_calls()

    async def _ask(self, call: Call) -> Answer:
        """Never raises: a call without an answer would be lost, and its lane with it."""
        try:
            await call.caller.prepare(call)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it was, nothing is sent
            log.info("call_withheld", idempotency_key=call.entry.request.key, error=type(error).__name__)
            return _not_sent(call, "not_prepared")
        sent = False
        try:
            for resent in (0, 1):
                token = await self._tokens.get()
                if self._closing:
                    return _not_sent(call, "closing")
                if not call.caller.door(call):
                    return _not_sent(call, "door_closed")
                sent = True
                answer = await self._send(call, token, resent)
                if answer.http_status != 401:
                    break
                self._tokens.invalidate(token)
            return answer
        except TokenError as error:
            return Answer(Verdict.NOT_RUN, cause=error.cause, retry_after=error.retry_after)
        except asyncio.CancelledError:
            if not sent:
                return _not_sent(call, "closing")
            return Answer(Verdict.UNKNOWN, cause="closing" if self._closing else "timeout")
        except Exception:
            log.exception("call_failed", idempotency_key=call.entry.request.key)
            return Answer(Verdict.UNKNOWN, cause="internal_error")

    async def _send(self, call: Call, token: str, resent: int) -> Answer:
        send, read = (
            (self._client.create, read_create) if call.kind is CallKind.CREATE else (self._client.poll, read_poll)
        )
        self._sent_at[call] = asyncio.get_running_loop().time()
        if self._watchdog is None:
            self._watch()
        try:
            received = await send(call.entry, token, resent)
        except httpx.HTTPError as error:
            return read_exception(error)
        finally:
            del self._sent_at[call]
        return read(call.entry, received.status, received.headers, received.body)

    def _watch(self) -> None:
        """End the calls that a transport gone wrong has not: one timer for all, since one each would cost 6 us."""
        self._watchdog = None
        loop = asyncio.get_running_loop()
        for call, sent_at in self._sent_at.items():  # the oldest first
            overdue_at = sent_at + self._client.patience
            if overdue_at > loop.time():
                self._watchdog = loop.call_at(overdue_at, self._watch)
                return
            self._running[call].cancel()

    def _scoped(self, call: Call, answer: Answer) -> Answer:
        """A 403 is about this request only where the account's like was allowed of late: else its scope is missing."""
        now = self._clock()
        if answer.verdict is Verdict.OPERATION:
            self._allowed_at[call.kind] = now
        elif answer.http_status == 403 and now - self._allowed_at.get(call.kind, -math.inf) > SCOPE_MEMORY:
            return answer._replace(verdict=Verdict.NOT_RUN)
        return answer

    def _learn(self, answer: Answer, probe: bool, started: int) -> None:
        sent = answer.cause not in _NOT_SENT
        trouble = sent and answer.verdict in (Verdict.UNKNOWN, Verdict.NOT_RUN) and answer.cause != "foreign_operation"
        self._budget.end(started, trouble=trouble, answered=sent)
        if trouble:
            at_once = answer.http_status in (401, 403)
            self._circuit.failed(probe=probe, at_once=at_once, at_least=(answer.retry_after or 0) / 1000)
        elif sent:
            self._circuit.succeeded()
        else:
            self._circuit.abandoned(probe=probe)

    def _circuit_open(self, call: Call) -> Answer:
        # Spread out, so that those who wait do not all come back with the probe.
        pause = self._circuit.wait()
        wait = pause + self._random() * max(1.0, pause / 2)
        return Answer(Verdict.NOT_RUN, cause="circuit_open", retry_after=int(wait * 1000))

    def _answer_waiting(self, answer: Callable[[Call], Answer]) -> None:
        if not self._draining:
            self._draining = True
            asyncio.get_running_loop().call_soon(self._drain)
        for waiting in (self._creates, self._polls):
            while waiting:
                call = waiting.popleft()
                self._outbox.append((call, answer(call)))

    def _drain(self) -> None:
        for _ in range(min(DRAIN, len(self._outbox))):
            hand_over(*self._outbox.popleft())
        self._draining = bool(self._outbox)
        if self._draining:
            asyncio.get_running_loop().call_soon(self._drain)


def _not_sent(call: Call, cause: str) -> Answer:
    return Answer(Verdict.WITHHELD if call.kind is CallKind.CREATE else Verdict.NOT_RUN, cause=cause)


def hand_over(call: Call, answer: Answer) -> None:
    """Give a call its answer."""
    try:
        call.caller.done(call, answer)
    except Exception:
        log.exception("answer_not_taken", idempotency_key=call.entry.request.key, cause=answer.cause)
