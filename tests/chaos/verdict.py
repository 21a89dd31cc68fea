"""Whether the promises were kept: from the topics, by another client, and from the API's own book."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.load import REFUSED_TERMINAL
from tests.support.records import Message
from tests.support.requests import FINAL

_RAN = {"completed", "terminal_failed", "terminal_timeout"}
_CERTAINLY_NOT_RUN = {"rejected", "expired"}


@dataclass(slots=True)
class Verdict:
    """`finals` counts message IDs by how they ended; a promise broken is one line of `violations`."""

    finals: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def check(self, kept: bool, promise: str, of: object) -> None:
        if not kept:
            self.violations.append(f"{promise}: {of}")


def judge(
    requests: Sequence[Message],
    outcomes: Sequence[Message],
    executions: Mapping[str, int],
    counters: Mapping[str, Any],
) -> Verdict:
    """`requests` as the topic has them, repeats included; `executions` in the order of their first run."""
    verdict = Verdict()
    asked = {message.header("ce_id") or "": message for message in requests}
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for outcome in outcomes:
        value = outcome.json()
        told[value["message_id"]].append(value)
    for message_id, values in told.items():
        verdict.check(message_id in asked, "an outcome that nobody asked for", values)
    for message_id, message in asked.items():
        _judge_one(verdict, message_id, message, told.get(message_id, []), executions.get(message_id, 0))
    _judge_api(verdict, requests, asked, executions, counters)
    return verdict


def _judge_one(verdict: Verdict, message_id: str, asked: Message, values: list[dict[str, Any]], runs: int) -> None:
    statuses = [value["status"] for value in values]
    finals = [value for value in values if value["status"] in FINAL]
    verdict.check(len(finals) > 0, "lost", message_id)
    verdict.check(len(finals) < 2, "ended twice", (message_id, statuses))
    verdict.check(statuses.count("created") < 2, "created twice", (message_id, statuses))
    verdict.check(statuses[-1:] != ["created"], "created after the end", (message_id, statuses))
    for final in finals[:1]:
        how = final["error"]["reason"] if final["status"] == "failed" else "completed"
        verdict.finals[how] += 1
        verdict.check(how not in _RAN or statuses[0] == "created", "ended before created", (message_id, statuses))
        verdict.check(how not in _RAN or runs > 0, f"{how}, and never run", message_id)
        if how in _CERTAINLY_NOT_RUN:
            verdict.check(runs == 0 and "created" not in statuses, f"{how}, and yet it ran", (message_id, statuses))
        # Only what may not be asked again can end in doubt within hours: all else must be cleared up.
        may_doubt = final["terminal_id"] == REFUSED_TERMINAL or "expires_at" in asked.json()
        verdict.check(how != "unconfirmed" or may_doubt, "left unconfirmed", (message_id, final))
        verdict.check(how != "rejected" or final["terminal_id"] == REFUSED_TERMINAL, "rejected", (message_id, final))
        verdict.check(how != "invalid_request", "taken for invalid", (message_id, final))


def _judge_api(
    verdict: Verdict,
    requests: Sequence[Message],
    asked: Mapping[str, Message],
    executions: Mapping[str, int],
    counters: Mapping[str, Any],
) -> None:
    for key, runs in executions.items():
        verdict.check(key in asked, "run, and nobody asked", key)
        verdict.check(runs == 1, f"run {runs} times", key)
    verdict.check(counters["overlaps"] == 0, "operations overlapped on a terminal", counters["overlaps"])
    wanted: dict[bytes | None, list[str]] = defaultdict(list)
    for message in requests:
        lane, message_id = wanted[message.key], message.header("ce_id") or ""
        if message_id in executions and message_id not in lane:
            lane.append(message_id)
    ran: dict[bytes | None, list[str]] = defaultdict(list)
    for key in executions:
        if key in asked:
            ran[asked[key].key].append(key)
    for terminal, order in wanted.items():
        verdict.check(ran[terminal] == order, "run in another order than asked", (terminal, ran[terminal], order))
