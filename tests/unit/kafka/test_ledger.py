"""The ledger's records: what is written is what is read back, and nothing else is taken for a ledger."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.commit import Commit, Ended, Position
from worker.domain.entry import Entry, State
from worker.domain.request import Request
from worker.kafka import ledger
from worker.kafka.ledger import POSITION_KEY, LedgerRecord, LedgerRefusedError, Replay

GROUP, TOPIC = "the group", "the topic"
KEY = "0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44"

# Whatever the wire can accept: UTF-8, so no lone surrogates; integers of 64 bits.
_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
_time = st.integers(0, 253_402_300_799_999)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_requests = st.builds(
    Request,
    message_id=_text,
    key=st.uuids().map(str),
    fingerprint=st.binary(min_size=16, max_size=16).map(bytes.hex),
    terminal_id=_text,
    operation=_text,
    parameters=st.none() | st.dictionaries(_text, _json, max_size=3).map(orjson.dumps),
    expires_at=st.none() | _time,
    correlation_id=_text,
    requested_at=_time,
    offset=st.integers(0, 2**63 - 1),
    traceparent=st.none() | _text,
    tracestate=st.none() | _text,
    baggage=st.none() | _text,
)
_entries = st.builds(
    Entry,
    _requests,
    st.sampled_from([State.QUEUED, State.CREATING, State.PENDING]),
    creating_at=st.none() | _time,
    pending_at=st.none() | _time,
    operation_id=st.none() | _text,
)
_ended = st.builds(
    Ended, st.uuids().map(str), st.binary(min_size=16, max_size=16).map(bytes.hex), _text, finished_at=_time
)
_offset = st.integers(0, 2**63 - 1)
_positions = st.builds(Position, _offset, st.none() | _offset, st.none() | st.integers(-1, 2**62), _time, st.none())


def encoded(commit: Commit, group: str = GROUP, topic: str = TOPIC) -> list[LedgerRecord]:
    return ledger.encode(commit, group=group, topic=topic)


def replayed(records: list[LedgerRecord]) -> Replay:
    replay = Replay(group=GROUP, topic=TOPIC)
    for key, value in records:
        replay.add(key, value)
    assert replay.records == len(records)
    for _ in replay.decode():
        pass
    return replay


def found(replay: Replay) -> tuple[Position | None, list[Entry], int]:
    """The position, the entries, and how many finished requests are known."""
    return replay.position, replay.entries, len(replay.finished)


def request(number: int = 0) -> Request:
    return Request(
        f"m-{number}", f"{KEY[:-2]}{number:02}", "ab" * 16, "P1-T1", "end_of_day", None, None, "c", 1, number
    )


def kept(entry: Entry) -> tuple[Any, ...]:
    """What of an entry the ledger promises to keep."""
    return entry.request, entry.state, entry.creating_at, entry.pending_at, entry.operation_id


@given(
    _positions,
    st.lists(_entries, max_size=4, unique_by=lambda entry: entry.request.key),
    st.lists(_ended, max_size=4, unique_by=lambda ended: ended.key),
)
def test_what_a_commit_writes_is_what_a_restore_reads(
    position: Position, entries: list[Entry], ended: list[Ended]
) -> None:
    commit = Commit(position, entries=entries, ended=ended)
    read = replayed(encoded(commit))
    assert (read.position, len(read.finished)) == (position, len(ended))
    assert [kept(entry) for entry in read.entries] == [kept(entry) for entry in entries]
    for end in ended:
        assert read.finished.fingerprint(end.key, end.finished_at) == end.fingerprint
        assert read.finished.fingerprint(end.key, end.finished_at + 1) is None, "it finished then, and not later"


def test_what_lives_in_memory_only_starts_afresh() -> None:
    entry = Entry(request(), State.CREATING, creating_at=5, possibly_run=True, must_ask=True, asked=7, due_at=9)
    (read,) = replayed(encoded(Commit(Position(1), entries=[entry]))).entries
    assert (read.possibly_run, read.must_ask, read.asked, read.due_at) == (False, False, 0, None)


def test_every_commit_writes_the_position_once_and_last() -> None:
    commit = Commit(Position(3), entries=[Entry(request(), State.QUEUED)], forgotten=[KEY])
    keys = [key for key, _ in encoded(commit)]
    assert keys.count(POSITION_KEY) == 1
    # Last: at-least-once cuts a large commit into batches, and a position ahead of its entries would lose them.
    assert keys[-1] == POSITION_KEY


def test_a_forgotten_key_is_a_tombstone_and_leaves_nothing() -> None:
    end = Ended(KEY, "ab" * 16, "m", 1)
    records = encoded(Commit(Position(1), ended=[end])) + encoded(Commit(Position(1), forgotten=[KEY]))
    assert (KEY.encode(), None) in records
    assert found(replayed(records)) == (Position(1), [], 0)


def test_a_tombstone_of_a_key_that_is_not_there_is_harmless() -> None:
    assert found(replayed([(KEY.encode(), None), *encoded(Commit(Position(1)))])) == (Position(1), [], 0)


def test_an_empty_ledger_has_no_position() -> None:
    assert found(replayed([])) == (None, [], 0)


def test_the_last_record_of_each_key_wins() -> None:
    entry = Entry(request(), State.QUEUED)
    records = encoded(Commit(Position(1), entries=[entry]))
    entry.become(State.CREATING)
    records += encoded(Commit(Position(2), entries=[entry]))
    end = Ended(entry.request.key, entry.request.fingerprint, "m-0", 7)
    read = replayed(records)
    assert (read.position, [each.state for each in read.entries]) == (Position(2), [State.CREATING])
    assert found(replayed(records + encoded(Commit(Position(3), ended=[end])))) == (Position(3), [], 1)


def test_what_is_read_is_in_the_order_of_the_last_records() -> None:
    # Pending entries are then in the order in which they became so, and finished ones in the order of their times.
    entries = [Entry(request(number), State.QUEUED) for number in range(3)]
    records = encoded(Commit(Position(3), entries=entries))
    for number in (1, 0):
        entries[number].become(State.CREATING)
        records += encoded(Commit(Position(3), entries=[entries[number]]))
    assert [entry.request.offset for entry in replayed(records).entries] == [2, 1, 0]


@pytest.mark.parametrize(("size", "count"), [(1_000_000, 1), (1_000, 1_000), (0, 10_000)])
def test_a_ledger_is_decoded_in_short_steps_whatever_the_size_of_its_records(size: int, count: int) -> None:
    parameters = orjson.dumps(["p" * size])
    replay = Replay(group=GROUP, topic=TOPIC)
    for number in range(count):
        entry = Entry(request()._replace(key=f"{KEY[:-5]}{number:05}", parameters=parameters), State.QUEUED)
        replay.add(*encoded(Commit(Position(1), entries=[entry]))[0])
    largest = max(map(len, replay._values.values()))
    left = [sum(map(len, replay._values.values()))]
    left += [sum(map(len, replay._values.values())) for _ in replay.decode()]
    assert len(replay.entries) == count
    # A step is over with the record that fills it; what has no record is no step.
    assert all(0 < before - after < 65_536 + largest for before, after in pairwise([*left, 0]) if before)


@given(st.permutations(range(6)))
def test_records_of_different_keys_may_come_in_any_order(order: list[int]) -> None:
    # Compaction keeps the newest record of each key, at its own place in the log.
    entries = [Entry(request(number), State.QUEUED) for number in range(5)]
    records = encoded(Commit(Position(5), entries=entries))
    read = replayed([records[place] for place in order])
    assert read.position == Position(5)
    assert {entry.request.offset for entry in read.entries} == set(range(5))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'"v"',
        b"7",
        b"{}",
        b'{"state": "queued"}',
        b'{"v": 1}',
        b'{"v": 1, "state": "finished"}',
        b'{"v": 1, "state": "finished", "fingerprint": "none", "finished_at": 1}',
        b'{"v": 1, "state": "finished", "fingerprint": "ab", "finished_at": "1"}',
        b'{"v": 1, "state": "queued"}',
        b'{"v": 1, "state": "lost"}',
        b'{"v": 1, "state": ["queued"]}',
    ],
)
@pytest.mark.parametrize("key", [KEY.encode(), POSITION_KEY])
def test_a_value_that_is_no_ledger_record_is_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(LedgerRefusedError, match="something else writes to it"):
        replayed([(key, value)])


@pytest.mark.parametrize("key", [b"", b"a terminal", b"\xff\xfe"])
def test_a_key_that_is_no_idempotency_key_is_refused(key: bytes) -> None:
    (_, value), _ = encoded(Commit(Position(1), ended=[Ended(KEY, "ab" * 16, "m", 1)]))
    with pytest.raises(LedgerRefusedError, match="something else writes to it"):
        replayed([(key, value)])


def test_a_record_without_a_key_is_refused() -> None:
    with pytest.raises(LedgerRefusedError, match="something else writes to it"):
        Replay(group=GROUP, topic=TOPIC).add(None, b"{}")


@pytest.mark.parametrize("version", [ledger.VERSION + 1, 0, "1", None])
@pytest.mark.parametrize("key", [KEY.encode(), POSITION_KEY])
def test_another_version_is_refused_and_named(key: bytes, version: object) -> None:
    with pytest.raises(LedgerRefusedError, match=f"version {version}"):
        replayed([(key, orjson.dumps({"v": version}))])


@pytest.mark.parametrize(("group", "topic"), [("another", TOPIC), (GROUP, "another")])
def test_the_ledger_of_another_group_or_topic_is_refused_with_the_way_out(group: str, topic: str) -> None:
    with pytest.raises(LedgerRefusedError, match=r"'another'.*KAFKA_STATE_TOPIC"):
        replayed(encoded(Commit(Position(1)), group, topic))


def test_names_in_the_ledger_never_change() -> None:
    # A ledger written by yesterday's worker must be read by today's.
    entry = Entry(request(1), State.PENDING, creating_at=1, pending_at=2, operation_id="op")
    records = dict(encoded(Commit(Position(9, 8, 7, 6, 1), entries=[entry], ended=[Ended(KEY, "cd" * 16, "m", 3)])))
    assert orjson.loads(records[entry.request.key.encode()] or b"") == {
        "v": 1,
        "state": "pending",
        "message_id": "m-1",
        "fingerprint": "ab" * 16,
        "terminal_id": "P1-T1",
        "operation": "end_of_day",
        "correlation_id": "c",
        "requested_at": 1,
        "offset": 1,
        "creating_at": 1,
        "pending_at": 2,
        "operation_id": "op",
    }
    assert orjson.loads(records[KEY.encode()] or b"") == {
        "v": 1,
        "state": "finished",
        "message_id": "m",
        "fingerprint": "cd" * 16,
        "finished_at": 3,
    }
    assert orjson.loads(records[POSITION_KEY] or b"") == {
        "v": 1,
        "group": GROUP,
        "topic": TOPIC,
        "offset": 9,
        "last_offset": 8,
        "last_timestamp": 7,
        "time": 6,
        "unfinished": 1,
    }
