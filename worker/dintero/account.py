"""One account's calls: which goes next, whether it may, and what its answer says of the API's health."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any

import httpx
import structlog

from worker.dintero.answers import read_create, read_exception, read_poll
from worker.dintero.budget import Budget
from worker.dintero.call import Call, CallKind
from worker.dintero.circuit import Circuit
from worker.dintero.client import Client
from worker.dintero.pool import Door, DoorClosedError
from worker.dintero.tokens import TokenError, Tokens
from worker.domain.answer import Answer, Verdict

POLL_TURN = 4
"""Every so many calls, a waiting poll goes before the creates: lanes wait for it."""
SCOPE_MEMORY = 3600.0
DRAIN = 100
"""Answers handed over in one turn of the loop, so that an opening circuit does not stop it for long."""

_NOT_SENT = frozenset({"not_prepared", "door_closed", "closing"})
"""Causes of answers that say nothing of the API."""

log = structlog.wrap_logger(logging.getLogger(__name__))


class Account:
    """Starts a call when the circuit and the budget allow; while the circuit is open, answers it at once."""

    def __init__(
        self,
        name: str,
        tokens: Tokens,
        client: Client,
        circuit: Circuit,
        budget: Budget,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._name = name
        self._tokens = tokens
        self._client = client
        self._circuit = circuit
        self._budget = budget
        self._clock = clock
        self._random = random
        self._creates: deque[Call] = deque()
        self._polls: deque[Call] = deque()
        self._draining = False
        self._turn = 0
        self._allowed_at: dict[CallKind, float] = {}
        self._running: dict[Call, asyncio.Task[None]] = {}
        self._sent_at: dict[Call, float] = {}
        self._watchdog: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._opened_at: float | None = None
        self._not_asked = 0

    def submit(self, call: Call) -> None:
        (self._creates if call.kind is CallKind.CREATE else self._polls).append(call)
        self._start_calls()

    def share(self, share: float) -> None:
        self._budget.share(share)
        self._cancel_timer()
        self._start_calls()

    def status(self) -> dict[str, Any]:
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
        while self._creates or self._polls:
            self._drain()
        if self._watchdog:
            self._watchdog.cancel()
        await self._tokens.aclose()

    def _start_calls(self) -> None:
        while self._may_start():
            call, probe, started = self._take()
            self._running[call] = asyncio.create_task(self._run(call, probe, started))

    def _may_start(self) -> bool:
        """Whether a call waits and may go out now. If one may not, what will start it later is on its way."""
        if not (self._creates or self._polls):
            return False
        if self._closing or self._circuit.wait() > 0:
            if not self._draining:
                self._draining = True
                asyncio.get_running_loop().call_soon(self._drain)
            return False
        delay = self._budget.wait()
        if delay is not None and delay > 0 and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake)
        return delay == 0

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

    def _take(self) -> tuple[Call, bool, int]:
        """The next call, which may start; whether it is the circuit's probe; what the budget wants back at its end."""
        return self._next(), self._circuit.enter(), self._budget.start()

    async def _run(self, call: Call, probe: bool, started: int) -> None:
        """Make a call, and others after it as long as some wait: a task for each would cost 5 us more."""
        while True:
            answer = self._scoped(call, await self._ask(call))
            task = self._running.pop(call)
            self._learn(answer, probe, started)
            hand_over(call, answer)
            # Only an answer that came from the API let the loop go on meanwhile, and did not come of a cancellation.
            if answer.http_status is None or not self._may_start():
                break
            call, probe, started = self._take()
            self._running[call] = task
            self._start_calls()  # more than this one, where the limit has risen
        self._start_calls()

    async def _ask(self, call: Call) -> Answer:
        """Never raises: a call without an answer would be lost, and its lane with it."""
        try:
            await call.caller.prepare(call)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it was, nothing is sent
            log.info("call_withheld", idempotency_key=call.entry.request.key, error=type(error).__name__)
            return _not_sent(call, "not_prepared")
        sent = False

        def door() -> bool:
            nonlocal sent
            sent = not self._closing and call.caller.door(call)
            call.entry.sent += sent and call.kind is CallKind.CREATE
            return sent

        try:
            for resent in (0, 1):
                token = await self._tokens.get()
                answer = await self._send(call, token, resent, door)
                if answer.http_status != 401:
                    break
                self._tokens.invalidate(token)
            return answer
        except TokenError as error:
            return Answer(Verdict.NOT_RUN, cause=error.cause, retry_after=error.retry_after)
        except DoorClosedError:
            return _not_sent(call, "closing" if self._closing else "door_closed")
        except asyncio.CancelledError:
            if not sent:
                return _not_sent(call, "closing")
            return Answer(Verdict.UNKNOWN, cause="closing" if self._closing else "timeout")
        except Exception:
            log.exception("call_failed", idempotency_key=call.entry.request.key)
            return Answer(Verdict.UNKNOWN, cause="internal_error")

    async def _send(self, call: Call, token: str, resent: int, door: Door) -> Answer:
        entry = call.entry
        if call.kind is CallKind.CREATE:
            send, read, resent = self._client.create, read_create, entry.sent
        else:
            send, read = self._client.poll, read_poll
        self._sent_at[call] = asyncio.get_running_loop().time()
        if self._watchdog is None:
            self._watch()
        try:
            received = await send(entry, token, resent, door)
        except httpx.HTTPError as error:
            return read_exception(error)
        finally:
            del self._sent_at[call]
        return read(entry, received.status, received.headers, received.body)

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
        self._budget.end(started, trouble=trouble, sent=sent)
        if trouble:
            at_once = answer.http_status in (401, 403)
            self._circuit.failed(probe=probe, at_once=at_once, at_least=(answer.retry_after or 0) / 1000)
        elif sent:
            self._circuit.succeeded()
        else:
            self._circuit.abandoned(probe=probe)
        self._tell(answer)

    def _tell(self, answer: Answer) -> None:
        """An outage is two lines, however long it lasts."""
        closed, since = self._circuit.state == "closed", self._opened_at
        if since is None and not closed:
            self._opened_at, self._not_asked = self._clock(), 0
            log.warning("circuit_opened", account=self._name, cause=answer.cause)
        elif since is not None and closed:
            self._opened_at = None
            seconds = round(self._clock() - since, 1)
            log.info("circuit_closed", account=self._name, seconds=seconds, calls_not_made=self._not_asked)

    def _circuit_open(self) -> Answer:
        # Spread out, so that those who wait do not all come back with the probe.
        self._not_asked += 1
        pause = self._circuit.wait()
        wait = pause + self._random() * max(1.0, pause / 2)
        return Answer(Verdict.NOT_RUN, cause="circuit_open", retry_after=int(wait * 1000))

    def _drain(self) -> None:
        """Answer some of those who wait for what cannot be sent; the rest in later turns."""
        self._draining = False
        for _ in range(min(DRAIN, len(self._creates) + len(self._polls))):
            if self._closing:
                call = self._next()
                hand_over(call, _not_sent(call, "closing"))
            elif self._circuit.wait() > 0:
                hand_over(self._next(), self._circuit_open())
        self._start_calls()


def _not_sent(call: Call, cause: str) -> Answer:
    return Answer(Verdict.WITHHELD if call.kind is CallKind.CREATE else Verdict.NOT_RUN, cause=cause)


def hand_over(call: Call, answer: Answer) -> None:
    """Give a call its answer."""
    try:
        call.caller.done(call, answer)
    except Exception:
        log.exception("answer_not_taken", idempotency_key=call.entry.request.key, cause=answer.cause)
