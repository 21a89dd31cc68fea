"""The contract's promises, held against what readers see and what the API did. Knows nothing of the worker's code."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import orjson

from tests.simulation.api import Execution
from tests.simulation.broker import Stored
from tests.simulation.script import SKEW, Kind, Sent

PROOF_AGE = 5.0
"""Half a session timeout: nobody sends a create this long after another has ended its request."""
_NEVER_RUN = {"rejected", "expired", "invalid_request"}
_ENDS = {"completed": "COMPLETED", "terminal_failed": "FAILED", "terminal_timeout": "TIMEOUT"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """An outcome as a `read_committed` reader has it."""

    value: Mapping[str, Any]
    headers: Mapping[str, bytes | None]
    key: bytes | None
    decided_at: float

    @property
    def end(self) -> str | None:
        """`completed` or the reason of the failure; None for `created`."""
        status = self.value["status"]
        if status == "failed":
            return str(self.value["error"]["reason"])
        return None if status == "created" else str(status)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is left of a history when it is over."""

    sent: Sequence[tuple[int, Sent]]
    """With the offset of each."""
    outcomes: Sequence[Outcome]
    """Those of one key in their order."""
    dead_letters: Sequence[Stored]
    executions: Sequence[Execution]
    creates: Sequence[tuple[float, str, str]]
    unfinished: Sequence[str]
    """What the ledger still holds."""
    create_timeout: float
    idempotency_window: float


def violations(evidence: Evidence) -> list[str]:
    """Every promise that was broken, in words."""
    by_id: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in evidence.outcomes:
        by_id[outcome.value["message_id"]].append(outcome)
    firsts = {sent.message_id: sent for _, sent in reversed(evidence.sent) if sent.message_id}
    ends = {id_: end for id_, outcomes in by_id.items() for outcome in outcomes if (end := outcome.end)}
    found = [f"invented: {id_}" for id_ in by_id if id_ not in firsts]
    found += [f"lost: {id_} has no final outcome" for id_ in firsts if id_ not in ends]
    for id_, sent in firsts.items():
        found += _of_one(sent, by_id[id_], [each for each in evidence.executions if each.key == id_])
    found += _dead_letters(evidence)
    found += _on_terminals(evidence, ends, firsts)
    found += _in_time(evidence, by_id, firsts)
    found += [f"the ledger still holds {key}" for key in evidence.unfinished]
    return found


def _of_one(sent: Sent, outcomes: Sequence[Outcome], executions: Sequence[Execution]) -> Iterator[str]:
    id_ = sent.message_id
    told = [outcome.value["status"] for outcome in outcomes]
    if told not in (["created", "completed"], ["created", "failed"], ["failed"]):
        yield f"outcomes of {id_}: {told}"
        return
    end = outcomes[-1].end or ""
    if len(executions) > 1:
        yield f"executed {len(executions)} times: {id_}"
    if (end == "invalid_request") != (sent.kind is Kind.INVALID):
        yield f"{id_}, {sent.kind.value}, ended {end}"
    if executions and end in _NEVER_RUN:
        yield f"{id_} ended {end}, and it ran"
    if end in _ENDS and (told[0] != "created" or not executions or executions[0].result != _ENDS[end]):
        yield f"{id_} ended {end}, and the API says {[each.result for each in executions] or 'nothing'}"
    if end == "expired" and told[0] == "created":
        yield f"{id_} was created and then expired"
    for outcome in outcomes:
        yield from _content(sent, outcome, executions)


def _content(sent: Sent, outcome: Outcome, executions: Sequence[Execution]) -> Iterator[str]:
    value = outcome.value
    said = (value["message_id"], value["idempotency_key"], value["terminal_id"], value["operation"])
    if said != (sent.message_id, sent.message_id, sent.terminal, sent.data["operation"]):
        yield f"an outcome of {sent.message_id} says {said}"
    if outcome.key != sent.terminal.encode() or outcome.headers["ce_causationid"] != (sent.message_id or "").encode():
        yield f"an outcome of {sent.message_id} has another's key or cause"
    if value["status"] == "created" and value["operation_id"] not in {each.id for each in executions}:
        yield f"{sent.message_id} was created as an operation that the API does not know"
    if value["status"] == "completed" and value["result"] != {"ran": sent.message_id}:
        yield f"{sent.message_id} completed with the result of another"
    _ = datetime.fromisoformat(value["occurred_at"])


def _dead_letters(evidence: Evidence) -> Iterator[str]:
    reasons = {Kind.REUSED: "message_id_reused", Kind.INVALID: "invalid_request", Kind.ANONYMOUS: "invalid_request"}
    expected = Counter(
        (sent.partition, offset, reasons[sent.kind], orjson.dumps(sent.data))
        for offset, sent in evidence.sent
        if sent.kind in reasons
    )
    found: Counter[tuple[int, int, str, bytes]] = Counter()
    for stored in evidence.dead_letters:
        headers = {name: (value or b"").decode() for name, value in stored.headers}
        place = int(headers["dead-letter-partition"]), int(headers["dead-letter-offset"])
        found[(*place, headers["dead-letter-reason"], stored.value or b"")] += 1
    for letter, count in (expected - found).items():
        yield f"{count} dead letter(s) missing: {letter[:3]}"
    for letter, count in (found - expected).items():
        yield f"{count} dead letter(s) too many: {letter[:3]}"


def _on_terminals(evidence: Evidence, ends: Mapping[str, str], firsts: Mapping[str, Sent]) -> Iterator[str]:
    """Never two at once, and in the order of the requests. What ended `unconfirmed` may run when it likes."""
    offsets = {sent.message_id: offset for offset, sent in reversed(evidence.sent)}
    by_terminal: dict[str, list[Execution]] = defaultdict(list)
    for execution in evidence.executions:
        if execution.key not in firsts:
            yield f"the API ran {execution.key}, which nobody requested"
        elif ends.get(execution.key) != "unconfirmed":
            by_terminal[execution.terminal].append(execution)
    for terminal, executions in by_terminal.items():
        for earlier, later in pairwise(executions):
            if later.began < earlier.ends:
                yield f"two at once on {terminal}: {earlier.key} and {later.key}"
            if offsets[later.key] < offsets[earlier.key]:
                yield f"out of order on {terminal}: {earlier.key} before {later.key}"


def _in_time(evidence: Evidence, by_id: Mapping[str, Sequence[Outcome]], firsts: Mapping[str, Sent]) -> Iterator[str]:
    """No create too late, nothing expired too early, as far as clocks agree."""
    ended = {id_: outcome for id_, outcomes in by_id.items() for outcome in outcomes if outcome.end}
    first_at: dict[str, float] = {}
    for at, key, process in evidence.creates:
        since = at - first_at.setdefault(key, at)
        expires_at = firsts[key].expires_at if key in firsts else None
        if expires_at is not None and at > expires_at + SKEW:
            yield f"{process} sent a create of {key} {at - expires_at:.1f} s after it had expired"
        if since > evidence.idempotency_window + 2 * SKEW:
            yield f"{process} sent a create of {key} {since:.1f} s after the first, when the key may be forgotten"
        # Whoever sends has proved, half a session timeout ago at most, that nobody else owned the request.
        if key in ended and at > ended[key].decided_at + PROOF_AGE:
            yield f"{process} sent a create of {key} {at - ended[key].decided_at:.1f} s after its end"
    for id_, outcome in ended.items():
        sent = firsts.get(id_)
        if outcome.end == "expired" and sent:
            longest = min(evidence.create_timeout, evidence.idempotency_window)
            due = min(sent.at + longest, sent.expires_at or float("inf"))
            if outcome.decided_at < due - 2 * SKEW:
                yield f"{id_} expired {due - outcome.decided_at:.1f} s early"
