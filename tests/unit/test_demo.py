"""What the demo makes of what it reads."""

import orjson

from worker.demo.watch import Counts


def _letter(offset: int) -> dict[str, bytes]:
    where = {"dead-letter-topic": b"requests", "dead-letter-partition": b"3", "dead-letter-offset": b"%d" % offset}
    return {**where, "dead-letter-reason": b"invalid_request"}


def _outcome(counts: Counts, event_id: bytes, status: str) -> None:
    outcome = {"status": status, "message_id": "m-1", "requested_at": "2026-11-23T12:00:00.000Z"}
    counts.outcome({"ce_id": event_id}, orjson.dumps(outcome))


def test_what_comes_twice_counts_once_and_is_told() -> None:
    counts = Counts()
    for offset in (1, 2, 1):
        counts.dead_letter(_letter(offset))
    for event_id, status in ((b"a", "created"), (b"b", "completed"), (b"a", "created")):
        _outcome(counts, event_id, status)
    assert (counts.dead_letters, counts.finals, counts.repeats) == ({"invalid_request": 2}, 1, 2)
    assert counts.broken_orders == 0


def test_a_second_final_outcome_is_a_broken_order() -> None:
    counts = Counts()
    for event_id, status in ((b"a", "created"), (b"b", "completed"), (b"c", "completed")):
        _outcome(counts, event_id, status)
    assert counts.broken_orders == 1
