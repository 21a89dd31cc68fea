"""Dintero's terminal operations API, as the worker sees it: calls go in, and each gets one answer."""

import asyncio
import random as random_module
import time
from collections.abc import Callable, Mapping
from typing import Any

from worker.dintero.account import Account, hand_over
from worker.dintero.budget import Budget
from worker.dintero.call import Call, CallKind, Credentials
from worker.dintero.circuit import Circuit
from worker.dintero.client import CallMetrics, Client
from worker.dintero.tokens import Tokens
from worker.dintero.transport import Transport
from worker.domain.answer import Answer, Verdict
from worker.telemetry.tracing import Tracing


class Api:
    """Sends the calls of every account, each account for itself: the trouble of one does not reach another.

    `max_in_flight` and `max_requests_per_second` are for each account, durations are seconds. Credentials are read when
    a token is asked for, so a mapping that changes is followed. The transport stays its maker's to close.
    """

    def __init__(
        self,
        accounts: Mapping[str, Credentials],
        *,
        base_url: str,
        transport: Transport,
        request_timeout: float,
        max_in_flight: int,
        max_requests_per_second: float | None,
        tracing: Tracing,
        metrics: CallMetrics,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._credentials = accounts
        self._client = Client(base_url, transport, request_timeout, tracing, metrics, clock)
        self._max_in_flight = max_in_flight
        self._max_requests_per_second = max_requests_per_second
        self._clock = clock
        self._random = random
        self._share = 1.0
        self._accounts = {name: self._account(name) for name in accounts}

    def submit(self, call: Call) -> None:
        """Take a call. Never blocks, and never calls `done` itself: its answer comes later, and exactly once."""
        name = call.entry.request.terminal_id.partition("-")[0]
        if name not in self._credentials:
            asyncio.get_running_loop().call_soon(hand_over, call, _unknown_account(call, name))
            return
        if name not in self._accounts:
            self._accounts[name] = self._account(name)
        self._accounts[name].submit(call)

    def share(self, share: float) -> None:
        """Set this worker's part, 0 to 1, of the group's request rate."""
        self._share = share
        for account in self._accounts.values():
            account.share(share)

    def status(self) -> dict[str, dict[str, Any]]:
        """Per account: `circuit`, `in_flight`, `limit`, `waiting`. Metrics ask from another thread, so from a copy."""
        return {name: account.status() for name, account in list(self._accounts.items())}

    async def aclose(self, timeout: float) -> None:
        """Send nothing new, give answers on the way `timeout` seconds, and answer every call that is left."""
        await asyncio.gather(*(account.aclose(timeout) for account in self._accounts.values()))

    def _account(self, name: str) -> Account:
        budget = Budget(self._max_in_flight, self._max_requests_per_second, self._clock)
        budget.share(self._share)
        return Account(
            name,
            Tokens(name, lambda: self._credentials[name], self._client, self._clock, self._random),
            self._client,
            Circuit(self._clock, self._random),
            budget,
            self._clock,
            self._random,
        )


def _unknown_account(call: Call, name: str) -> Answer:
    # A poll cannot be refused: its operation exists, and the credentials may come back.
    verdict = Verdict.REFUSED if call.kind is CallKind.CREATE else Verdict.NOT_RUN
    return Answer(verdict, message=f"no credentials for account {name[:100]}", cause="unknown_account")
