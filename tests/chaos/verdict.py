"""Whether the promises were kept: from the topics, by another client, and from the API's own book."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.load import REFUSED_TERMINAL
from tests.support.records import Message
from tests.support.requests import FINAL

_RAN = {"completed", "terminal_failed", "terminal_timeout"}
_CERTAINLY_NOT_RUN = {"rejected", "expired"}


@dataclass(slots=True)
class Book:
    """What the API says that it did: the keys in the order of their first run, and how often two met on a terminal."""

    executions: Mapping[str, int]
    overlaps: int


@dataclass(slots=True)
class Verdict:
    """`finals` counts message IDs by how they ended. A promise broken is one line of `violations`.

    Or of `excused`, when it is about a message ID that is `damaged`: the broker itself lost what it had promised.
    """

    damaged: Set[str] = frozenset()
    finals: Counter[str] = field(default_factory=Counter)
    unconfirmed: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)

    def check(self, kept: bool, promise: str, message_id: str, told: object = "") -> None:
        if not kept:
            lines = self.excused if message_id in self.damaged else self.violations
            lines.append(f"{promise}: {message_id} {told}".rstrip())


def judge(
    requests: Sequence[Message], outcomes: Sequence[Message], book: Book, damaged: Set[str] = frozenset()
) -> Verdict:
    """`requests` as the topic has them, repeats included; `outcomes` in their order for each message ID."""
    verdict = Verdict(damaged)
    asked = {message.header("ce_id") or "": message for message in requests}
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for outcome in outcomes:
        value = outcome.json()
        told[value["message_id"]].append(value)
    for message_id in told:
        verdict.check(message_id in asked, "an outcome that nobody asked for", message_id)
    for message_id, message in asked.items():
        _judge_one(verdict, message_id, message, told.get(message_id, []), book.executions.get(message_id, 0))
    for key, runs in book.executions.items():
        verdict.check(key in asked, "run, and nobody asked", key)
        verdict.check(runs == 1, f"run {runs} times", key)
    _judge_order(verdict, requests, asked, book)
    _judge_overlaps(verdict, book)
    return verdict


def _judge_one(verdict: Verdict, message_id: str, asked: Message, values: list[dict[str, Any]], runs: int) -> None:
    def check(kept: bool, promise: str, shown: object = "") -> None:
        verdict.check(kept, promise, message_id, shown)

    statuses = [value["status"] for value in values]
    finals = [value for value in values if value["status"] in FINAL]
    check(len(finals) > 0, "lost", statuses)
    check(len(finals) < 2, "ended twice", statuses)
    check(statuses.count("created") < 2, "created twice", statuses)
    check(statuses[-1:] != ["created"] or not finals, "created after the end", statuses)
    for final in finals[:1]:
        how = final["error"]["reason"] if final["status"] == "failed" else "completed"
        verdict.finals[how] += 1
        check(how not in _RAN or statuses[0] == "created", "ended before created", statuses)
        check(how not in _RAN or runs > 0, f"{how}, and never run")
        if how in _CERTAINLY_NOT_RUN:
            check(runs == 0 and "created" not in statuses, f"{how}, and yet it ran", statuses)
        if how == "unconfirmed":
            verdict.unconfirmed.add(message_id)
        # Only what may not be asked again can end in doubt within hours: all else must be cleared up.
        may_doubt = final["terminal_id"] == REFUSED_TERMINAL or "expires_at" in asked.json()
        check(how != "unconfirmed" or may_doubt, "left unconfirmed", final)
        check(how != "rejected" or final["terminal_id"] == REFUSED_TERMINAL, "rejected", final)
        check(how != "invalid_request", "taken for invalid", final)


def _judge_order(verdict: Verdict, requests: Sequence[Message], asked: Mapping[str, Message], book: Book) -> None:
    """Operations of a terminal start in the order of its requests. One in doubt may start late: nobody waits for it."""
    wanted: dict[bytes | None, list[str]] = defaultdict(list)
    ran: dict[bytes | None, list[str]] = defaultdict(list)
    for message_id in dict.fromkeys(message.header("ce_id") or "" for message in requests):
        if message_id in book.executions:
            wanted[asked[message_id].key].append(message_id)
    for key in book.executions:
        if key in asked:
            ran[asked[key].key].append(key)
    for terminal, order in wanted.items():
        line = f"run in another order than asked on {terminal!r}: {ran[terminal]} instead of {order}"
        if not _alike(order, ran[terminal], verdict.unconfirmed | verdict.damaged):
            verdict.violations.append(line)
        elif not _alike(order, ran[terminal], verdict.unconfirmed):
            verdict.excused.append(line)


def _alike(order: Sequence[str], other: Sequence[str], without: Set[str]) -> bool:
    return [key for key in order if key not in without] == [key for key in other if key not in without]


def _judge_overlaps(verdict: Verdict, book: Book) -> None:
    """Never two at once on a terminal. Nobody waits for one in doubt: it can meet the one before and the one after."""

    def possible(keys: Set[str]) -> int:
        return 2 * len(keys & set(book.executions))

    line = f"operations overlapped on a terminal: {book.overlaps}"
    if book.overlaps > possible(verdict.unconfirmed | verdict.damaged):
        verdict.violations.append(line)
    elif book.overlaps > possible(verdict.unconfirmed):
        verdict.excused.append(line)
