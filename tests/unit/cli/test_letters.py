"""Dead letters: what is read of one, and the request that its replay becomes, in each shape a request can have."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import names
from worker.cli import json_patch
from worker.cli.letters import Letter, NotReplayableError, replayed
from worker.domain.outcome import DeadLetterReason
from worker.domain.request import Record, Request
from worker.kafka.dead_letter import encode_dead_letter
from worker.kafka.producer import Message
from worker.kafka.reader import Reader

READER = Reader(operations=names.OPERATIONS)
DATA = {"terminal_id": "P11223351-T0013", "operation": "end_of_day"}
BINARY = (("ce_specversion", b"1.0"), ("ce_id", b"old"), ("ce_source", b"/s"), ("ce_type", names.REQUESTED.encode()))
STRUCTURED = {"specversion": "1.0", "id": "old", "source": "/s", "type": names.REQUESTED, "data": DATA}
STRUCTURED_HEADERS = (("content-type", b"application/cloudevents+json"),)
SHAPES = {
    "binary": (orjson.dumps(DATA), BINARY),
    "structured": (orjson.dumps(STRUCTURED), STRUCTURED_HEADERS),
    "plain with a header": (orjson.dumps(DATA), (("message-id", b"old"),)),
    "plain with a member": (orjson.dumps({**DATA, "message_id": "old"}), ()),
}


def letter(value: bytes | None, headers: Any = (), *, offset: int = 7, max_bytes: int = 900_000) -> Letter:
    key, cut, added = encode_dead_letter(
        Record(41, 5, b"key", value, headers),
        DeadLetterReason.INVALID_REQUEST,
        "why",
        topic="requests",
        partition=3,
        now=1_000,
        max_bytes=max_bytes,
    )
    return Letter.of(
        SimpleNamespace(topic="dead", partition=0, offset=offset, timestamp=9, key=key, value=cut, headers=added)
    )


def replay(dead: Letter, *edits: dict[str, Any], topic: str = "requests") -> Message:
    patch = json_patch.parse(orjson.dumps(edits).decode())
    return replayed(dead, READER, topic=topic, id_header="message-id", edits=patch)


def read(message: Message) -> Request:
    request = READER.read(Record(0, 0, message.key, message.value, message.headers))
    assert isinstance(request, Request), request
    return request


def test_a_letter_tells_what_the_worker_wrote_and_gives_the_record_back() -> None:
    found = letter(b"value", (("own", b"1"), ("dead-letter-reason", b"of an earlier life")))
    assert (found.at, found.reason, found.message, found.source) == ("0:7", "invalid_request", "why", "3:41")
    assert found.time == "1970-01-01T00:00:01.000Z"
    assert found.original == Record(7, 9, b"key", b"value", [("own", b"1")])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_replay_is_the_same_request_with_an_id_of_its_own(shape: str) -> None:
    dead = letter(*SHAPES[shape])
    message = replay(dead)
    request = read(message)
    assert request.message_id == dead.replay_id == str(UUID(request.message_id))
    assert request.correlation_id == "old"
    assert (request.terminal_id, request.operation) == ("P11223351-T0013", "end_of_day")
    assert message.key == b"P11223351-T0013"
    marks = [(name, value) for name, value in message.headers if name.startswith("dead-letter-")]
    assert marks == [(names.DEAD_LETTER_REPLAYED_FROM, b"dead/0/7")]


def test_a_replay_has_the_same_id_each_time_and_another_letter_another() -> None:
    value, headers = SHAPES["binary"]
    assert replay(letter(value, headers)) == replay(letter(value, headers))
    assert letter(value, headers).replay_id != letter(value, headers, offset=8).replay_id


@pytest.mark.parametrize(("shape", "path"), [("binary", ""), ("structured", "/data"), ("plain with a header", "")])
def test_an_edit_changes_the_request_and_the_key_follows_the_terminal(shape: str, path: str) -> None:
    dead = letter(*SHAPES[shape])
    message = replay(dead, {"op": "replace", "path": f"{path}/terminal_id", "value": "P11223351-T0014"})
    assert read(message).terminal_id == "P11223351-T0014"
    assert message.key == b"P11223351-T0014"


def test_a_letter_without_a_message_id_gets_one_and_keeps_its_correlation() -> None:
    headers = tuple(header for header in BINARY if header[0] != "ce_id")
    request = read(replay(letter(orjson.dumps(DATA), (*headers, ("ce_correlationid", b"night")))))
    assert request.correlation_id == "night"


def test_a_message_id_that_stood_twice_is_replaced_by_one() -> None:
    dead = letter(orjson.dumps(DATA), (*BINARY, ("ce_id", b"other")))
    assert read(replay(dead)).message_id == dead.replay_id


@pytest.mark.parametrize(
    ("dead", "why"),
    [
        (letter(orjson.dumps({**DATA, "operation": "explode"}), BINARY), "operation: expected one of"),
        (letter(b"x" * 2000, BINARY, max_bytes=1000), "cut to fit"),
        (letter(b"{", BINARY), "JSON"),
        (letter(None, BINARY), "null"),
        (letter(b"[", STRUCTURED_HEADERS), "no JSON"),
    ],
)
def test_what_would_come_back_is_not_replayed(dead: Letter, why: str) -> None:
    with pytest.raises(NotReplayableError, match=why):
        replay(dead)


def test_a_letter_of_two_shapes_is_not_replayed_under_its_old_id() -> None:
    shapes = (("content-type", b"application/json"), ("content-type", b"application/cloudevents+json"))
    dead = letter(orjson.dumps({**STRUCTURED, **DATA}), (*shapes, *BINARY))
    with pytest.raises(NotReplayableError, match="contradict"):
        replay(dead)


def test_a_letter_of_another_requests_topic_is_not_replayed() -> None:
    with pytest.raises(NotReplayableError, match="'requests'"):
        replay(letter(*SHAPES["binary"]), topic="others")


@given(
    st.none() | st.binary(max_size=60),
    st.lists(
        st.tuples(
            st.sampled_from(["ce_id", "ce_type", "message-id", "content-type", "dead-letter-offset", "\x1b"]),
            st.none() | st.binary(max_size=20) | st.just(b"application/cloudevents+json"),
        ),
        max_size=6,
    ),
)
def test_any_letter_can_be_shown_and_is_replayed_with_its_new_id_or_not_at_all(value: Any, headers: Any) -> None:
    record = SimpleNamespace(topic="dead", partition=0, offset=7, timestamp=-1, key=None, value=value, headers=headers)
    dead = Letter.of(record)
    assert dead.message.isprintable()
    try:
        message = replay(dead, topic=dead.source_topic)
    except NotReplayableError:
        return
    assert read(message).message_id == dead.replay_id
