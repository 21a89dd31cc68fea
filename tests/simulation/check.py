"""The contract's promises, held against what readers see and what the API did. Knows nothing of the worker's code."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID

import orjson

from tests.simulation.api import Execution
from tests.simulation.check_terminals import on_terminals
from tests.simulation.check_times import in_time
from tests.simulation.evidence import Evidence, Life, Outcome
from tests.simulation.script import Kind

POLL_RECORDS = 5
"""How many records a worker is given at once: so many may come over the limit of a backlog."""
_NEVER_RUN = {"rejected", "expired", "invalid_request"}
_ENDS = {"completed": "COMPLETED", "terminal_failed": "FAILED", "terminal_timeout": "TIMEOUT"}


def violations(evidence: Evidence) -> list[str]:
    """Every promise that was broken, in words."""
    lives = evidence.lives()
    found = [f"invented: {each}" for each in {o.value["message_id"] for o in evidence.outcomes} - lives.keys()]
    for id_, of_id in lives.items():
        executions = [each for each in evidence.executions if each.key == id_]
        if len(executions) > len(of_id):
            found.append(f"executed {len(executions)} times: {id_}")
        for life, end in zip(of_id, [*(each.sent.at for each in of_id[1:]), evidence.ended_at], strict=True):
            partial = life.sent.partition in evidence.upgraded
            own = [each for each in executions if life.sent.at <= each.began <= end]
            found += _of_one(life, own, executions, partial)
    found += _identities(evidence)
    found += _dead_letters(evidence)
    found += on_terminals(evidence, lives)
    found += in_time(evidence, lives)
    found += _ledger(evidence)
    found += _newer(evidence, lives)
    return found


def _of_one(
    life: Life, executions: Sequence[Execution], all_of_key: Sequence[Execution], partial: bool
) -> Iterator[str]:
    id_ = life.sent.message_id
    told = [outcome.value["status"] for outcome in life.outcomes]
    if not told and not partial:
        yield f"lost: {id_} has no final outcome"
        return
    if told not in (["created", "completed"], ["created", "failed"], ["failed"]):
        if not (partial and told in ([], ["created"])):
            yield f"outcomes of {id_}: {told}"
        return
    end = life.outcomes[-1].end or ""
    if (end == "invalid_request") != (life.sent.data["operation"] == "explode"):
        yield f"{id_}, {life.sent.kind.value}, ended {end}"
    if executions and end in _NEVER_RUN:
        yield f"{id_} ended {end}, and it ran"
    if end in _ENDS and (told[0] != "created" or _ENDS[end] not in {each.result for each in all_of_key}):
        yield f"{id_} ended {end}, and the API says {[each.result for each in all_of_key] or 'nothing'}"
    if end in _NEVER_RUN and told[0] == "created":
        yield f"{id_} was created and then {end}"
    for outcome in life.outcomes:
        yield from _content(life, outcome, all_of_key)


def _content(life: Life, outcome: Outcome, executions: Sequence[Execution]) -> Iterator[str]:
    value, sent = outcome.value, life.sent
    said = (value["message_id"], value["idempotency_key"], value["terminal_id"], value["operation"])
    if said != (sent.message_id, sent.message_id, sent.terminal, sent.data["operation"]):
        yield f"an outcome of {sent.message_id} says {said}"
    if outcome.key != sent.terminal.encode() or outcome.headers["ce_causationid"] != (sent.message_id or "").encode():
        yield f"an outcome of {sent.message_id} has another's key or cause"
    if value["status"] == "created" and value["operation_id"] not in {each.id for each in executions}:
        yield f"{sent.message_id} was created as an operation that the API does not know"
    if value["status"] == "completed" and value["result"] != {"ran": sent.message_id}:
        yield f"{sent.message_id} completed with the result of another"
    if datetime.fromisoformat(value["occurred_at"]).tzinfo is None:
        yield f"an outcome of {sent.message_id} has no time"


def _identities(evidence: Evidence) -> Iterator[str]:
    """One event has one `ce_id`, for ever, and no other event has it."""
    by_event: dict[tuple[str, bytes], set[bytes]] = {}
    for outcome in evidence.outcomes:
        event = str(outcome.value["message_id"]), outcome.headers["ce_type"] or b""
        by_event.setdefault(event, set()).add(outcome.headers["ce_id"] or b"")
    ids = [id_ for of_event in by_event.values() for id_ in of_event]
    if len(set(ids)) != len(by_event) or len(ids) != len(by_event):
        yield "events and their ids do not match"
    if any(UUID(id_.decode()).version != 5 for id_ in ids):
        yield "an event has another id than a version 5 UUID"


def _dead_letters(evidence: Evidence) -> Iterator[str]:
    """One for each record that could not be taken; its reason from what came before under the same message ID."""
    first: dict[str, bytes] = {}
    expected: Counter[tuple[int, int, str, bytes]] = Counter()
    for offset, sent in evidence.read:
        value, reason = orjson.dumps(sent.data), ""
        known = first.get(sent.message_id or "") if sent.kind is not Kind.LATE else None
        if known not in (None, value):
            reason = "message_id_reused"
        elif known is None and (sent.kind is Kind.ANONYMOUS or sent.data["operation"] == "explode"):
            reason = "invalid_request"
        if sent.message_id:
            first.setdefault(sent.message_id, value)
        if reason:
            expected[sent.partition, offset, reason, value] += 1
    found: Counter[tuple[int, int, str, bytes]] = Counter()
    for stored in evidence.dead_letters:
        headers = {name: (value or b"").decode() for name, value in stored.headers}
        place = int(headers["dead-letter-partition"]), int(headers["dead-letter-offset"])
        found[(*place, headers["dead-letter-reason"], stored.value or b"")] += 1
    for letter, count in (expected - found).items():
        if letter[0] not in evidence.upgraded:
            yield f"{count} dead letter(s) missing: {letter[:3]}"
    for letter, count in (found - expected).items():
        if evidence.script.transactions or letter not in expected:
            yield f"{count} dead letter(s) too many: {letter[:3]}"


def _ledger(evidence: Evidence) -> Iterator[str]:
    """It is empty of unfinished requests at the end, and never held more than the limit allows."""
    limit = evidence.script.settings["worker_backlog_limit"] + POLL_RECORDS - 1
    unfinished: dict[int, set[str]] = {}
    # By commit, which counts as a whole: within one, new entries come before those that it ends.
    for (partition, _), commit in groupby(evidence.ledger, lambda change: (change.partition, change.decided_at)):
        held = unfinished.setdefault(partition, set())
        for change in commit:
            if change.state in (None, "finished"):
                held.discard(change.key)
            else:
                held.add(change.key)
        if len(held) > limit:
            yield f"partition {partition} holds {len(held)} requests, over its limit"
    for partition, held in unfinished.items():
        if partition not in evidence.upgraded:
            yield from (f"the ledger still holds {key}" for key in sorted(held))


def _newer(evidence: Evidence, lives: Mapping[str, Sequence[Life]]) -> Iterator[str]:
    """What a newer version has taken is refused, and nothing is written for it any more."""
    for partition, since in evidence.upgraded.items():
        own = {sent.message_id for _, sent in evidence.sent if sent.partition == partition}
        left = any(life.sent.partition == partition and not life.end for of_id in lives.values() for life in of_id)
        if left and partition not in evidence.halted:
            yield f"partition {partition} belongs to a newer version, and nobody said so"
        if any(change.partition == partition and change.decided_at > since for change in evidence.ledger):
            yield f"the ledger of partition {partition} was written after a newer version had taken it"
        if any(o.decided_at > since and o.value["message_id"] in own for o in evidence.outcomes):
            yield f"outcomes of partition {partition} came after a newer version had taken it"
