"""What happens when: no create too late, nothing given up too early, and nobody waits for another's trouble."""

from collections.abc import Iterator, Mapping, Sequence

from tests.simulation.evidence import Evidence, Life
from tests.simulation.script import SKEW

PROOF_AGE = 5.0
"""Half a session timeout: nobody sends a create this long after another has ended its request."""
_LONGEST_STOP = 25.0
"""The shutdown timeout of 5 s, and what closing may take after it."""
_STOP_AT_ONCE = 0.5
_HEALTHY = "P1"


def in_time(evidence: Evidence, lives: Mapping[str, Sequence[Life]]) -> Iterator[str]:
    """As far as clocks agree."""
    yield from _creates(evidence, lives)
    for of_id in lives.values():
        for life in of_id:
            yield from _ends(evidence, life)
    yield from _stops(evidence)
    if evidence.script.calm and not evidence.script.temper.busy:
        yield from _prompt(evidence, lives)


def _creates(evidence: Evidence, lives: Mapping[str, Sequence[Life]]) -> Iterator[str]:
    first_at: dict[tuple[str, int], float] = {}
    window = evidence.script.settings["dintero_idempotency_window"]
    for at, key, process in evidence.creates:
        started = [life for life in lives.get(key, ()) if life.sent.at <= at]
        if not started:
            yield f"{process} sent a create of {key}, which nobody requested"
            continue
        life = started[-1]
        since = at - first_at.setdefault((key, len(started)), at)
        expires_at = life.sent.expires_at
        if expires_at is not None and at > expires_at + SKEW:
            yield f"{process} sent a create of {key} {at - expires_at:.1f} s after it had expired"
        if since > window + 2 * SKEW:
            yield f"{process} sent a create of {key} {since:.1f} s after the first, when the key may be forgotten"
        # Whoever sends has proved, half a session timeout ago at most, that nobody else owned the request. Without
        # transactions nobody can: a zombie's last write takes the ledger back, and its key is asked with again.
        if evidence.script.transactions and life.end and at > life.end.decided_at + PROOF_AGE:
            yield f"{process} sent a create of {key} {at - life.end.decided_at:.1f} s after its end"
        upgraded_at = evidence.upgraded.get(life.sent.partition, at)
        if at > upgraded_at + PROOF_AGE:
            yield f"{process} sent a create of {key} {at - upgraded_at:.1f} s after a newer version had taken it"


def _ends(evidence: Evidence, life: Life) -> Iterator[str]:
    outcome, settings = life.end, evidence.script.settings
    if outcome is None:
        return
    if outcome.end == "expired":
        longest = min(settings["worker_create_timeout"], settings["dintero_idempotency_window"])
        due = min(life.sent.at + longest, life.sent.expires_at or float("inf"))
        if outcome.decided_at < due - 2 * SKEW:
            yield f"{life.sent.message_id} expired {due - outcome.decided_at:.1f} s early"
    if outcome.end == "unconfirmed" and len(life.outcomes) == 2:
        due = life.outcomes[0].occurred_at + settings["worker_completion_timeout"] - 2 * SKEW
        if outcome.decided_at < due or evidence.polled.get(life.sent.message_id or "", 0.0) < due:
            yield f"{life.sent.message_id} was given up without a poll that was answered after its time"


def _stops(evidence: Evidence) -> Iterator[str]:
    for stop in evidence.stops:
        if stop.disturbed:
            continue
        until = stop.ended_at or evidence.ended_at
        if until - stop.asked_at > _LONGEST_STOP:
            yield f"{stop.process} was asked to stop, and still ran after {until - stop.asked_at:.1f} s"
        late = [at for at, _, process in evidence.creates if process == stop.process]
        if late and late[-1] > stop.asked_at + _STOP_AT_ONCE:
            yield f"{stop.process} sent a create {late[-1] - stop.asked_at:.1f} s after it was asked to stop"


def _prompt(evidence: Evidence, lives: Mapping[str, Sequence[Life]]) -> Iterator[str]:
    """Where nothing fails but an account, each request of another is through when those before it and it may be."""
    each_at_most = evidence.script.temper.slowest + 8.0
    for life in (life for of_id in lives.values() for life in of_id if life.end):
        sent = life.sent
        before = sum(other.terminal == sent.terminal for offset, other in evidence.sent if offset <= life.offset)
        took = life.end.decided_at - sent.at if life.end else 0.0
        if sent.terminal.startswith(_HEALTHY) and took > before * each_at_most:
            yield f"{sent.message_id} waited {took:.1f} s, though nothing was wrong with its account"
