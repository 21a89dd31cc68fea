"""An API that is away for a while: nothing fails, nothing runs twice, and no worker needs a restart."""

import time

import pytest

from tests.support.requests import assert_promises_kept, finals, message_ids, request, terminals
from tests.support.system import System

pytestmark = pytest.mark.kafka

OUTAGE = 10.0


def test_an_outage_under_load_fails_no_request_and_needs_no_restart(system: System) -> None:
    sent = [request(terminal) for terminal in terminals(100) for _ in range(6)]
    worker = system.start_ready_worker()
    system.send(sent[:200])
    system.outcomes_of(sent[:20])
    system.simulator.change({"down": True})
    before = system.counters()["requests"]
    system.send(sent[200:400])
    time.sleep(OUTAGE)
    asked = system.counters()["requests"] - before
    assert worker.get("/readyz") is not None
    system.simulator.change({"down": False})
    system.send(sent[400:])
    outcomes = system.outcomes_of(sent, timeout=60 + OUTAGE)
    assert_promises_kept(sent, outcomes)
    assert {final["status"] for final in finals(outcomes).values()} == {"completed"}
    assert system.executions() == dict.fromkeys(message_ids(sent), 1)
    assert worker.running
    # What was on its way when it began, then a probe at a time.
    assert asked < 64 + OUTAGE
