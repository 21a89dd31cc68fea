"""The story of one request: what is told of it, and of nobody else."""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import example_messages, names
from schemas.example_messages import Example
from worker.cli import story as stories
from worker.cli.story import Story
from worker.kafka.reader import Reader

ID = "0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44"
TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def story(wanted: str = ID) -> Story:
    return Story(wanted, Reader(operations=names.OPERATIONS))


def record(example: Example, *more: tuple[str, bytes], **changes: Any) -> Any:
    headers = [(name, text.encode()) for name, text in example.headers.items()]
    value = orjson.dumps({**example.value, **changes})
    return raw(value, [*headers, *more], example.key.encode())


def raw(value: bytes | None, headers: Any = (), key: bytes | None = None) -> Any:
    place = {"topic": "terminal-operations.somewhere", "partition": 2, "offset": 7, "timestamp": 1_767_304_800_000}
    return SimpleNamespace(**place, key=key, value=value, headers=headers)


def test_all_four_topics_are_one_story() -> None:
    told = story()
    told.request(record(example_messages.REQUEST_BINARY, ("traceparent", TRACEPARENT)))
    told.ledger_record(record(example_messages.LEDGER_ENTRY))
    told.outcome(record(example_messages.CREATED))
    told.outcome(record(example_messages.FAILED))
    told.outcome(record(example_messages.RESOLVED))
    told.ledger_record(record(example_messages.LEDGER_FINISHED))
    assert [event.what for event in sorted(told.events)] == [
        *("requested", "created", "pending", "failed", "finished", "resolved")
    ]
    facts = dict(told.facts())
    assert facts["message ID"] == facts["idempotency key"] == ID
    assert facts["terminal"] == example_messages.FAILED.key
    assert facts["trace ID"] == "0af7651916cd43dd8448eb211c80319c"
    assert facts["now"] == "resolved, completed, says night shift: the receipt of batch 42 is there"
    assert "terminal_failed: the terminal reported a failure" in [event.told for event in told.events]


@pytest.mark.parametrize("wanted", ["order-4711", "5e8deabe-1f7c-5be5-a21d-6a10b02b0cf0"])
def test_a_request_is_found_by_its_message_id_and_by_its_key(wanted: str) -> None:
    outcome = {"message_id": "order-4711", "idempotency_key": "5e8deabe-1f7c-5be5-a21d-6a10b02b0cf0"}
    told = story(wanted.upper() if wanted[0] == "5" else wanted)
    told.outcome(record(example_messages.COMPLETED, **outcome))
    assert dict(told.facts())["now"] == "completed"


def test_two_sources_with_one_message_id_are_both_told() -> None:
    told = story("order-1")
    for source in (b"/a", b"/b"):
        headers = [
            (name, text) for name, text in record(example_messages.REQUEST_BINARY).headers if name[:6] != "ce_sou"
        ]
        fresh = [header for header in headers if header[0] != "ce_id"]
        value = orjson.dumps(example_messages.REQUEST_BINARY.value)
        told.request(raw(value, [*fresh, ("ce_id", b"order-1"), ("ce_source", source)]))
    assert len(str(dict(told.facts())["idempotency key"]).split(", ")) == 2


def test_a_dead_letter_is_told_with_why() -> None:
    told = story()
    told.dead_letter(record(example_messages.DEAD_LETTER))
    (event,) = told.events
    assert event.what == "dead letter"
    assert event.told.startswith("invalid_request: operation: expected one of")


def test_a_forgotten_request_is_told_as_such() -> None:
    told = story()
    told.ledger_record(raw(None, key=ID.encode()))
    assert told.events == []
    told.ledger_record(record(example_messages.LEDGER_FINISHED))
    assert dict(told.facts())["now"] == "finished; its outcome is not on the topic"
    told.ledger_record(raw(None, key=ID.encode()))
    assert [event.what for event in told.events] == ["finished", "forgotten"]
    assert "not in the worker's memory" in str(dict(told.facts())["now"])


def test_what_is_of_other_requests_is_not_told() -> None:
    told = story("another")
    told.request(record(example_messages.REQUEST_BINARY))
    told.dead_letter(record(example_messages.DEAD_LETTER))
    told.ledger_record(record(example_messages.LEDGER_ENTRY))
    told.outcome(record(example_messages.COMPLETED))
    assert told.events == []


def test_an_event_of_a_later_version_is_told_as_unreadable() -> None:
    told = story()
    headers = [("ce_type", b"terminal.operation.completed.v2")]
    told.outcome(raw(orjson.dumps({"message_id": ID, "idempotency_key": ID}), headers))
    assert [(event.what, event.told) for event in told.events] == [
        ("unreadable", "of type terminal.operation.completed.v2")
    ]


def test_a_request_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories, "_MOST", 3)
    told = story()
    for _ in range(5):
        told.request(record(example_messages.REQUEST_BINARY))
    assert (len(told.events), told.left_out) == (3, 2)


@given(
    st.none() | st.binary(max_size=30) | st.just(orjson.dumps({"message_id": ID, "idempotency_key": [ID]})),
    st.lists(
        st.tuples(st.sampled_from(["ce_type", "ce_id", "dead-letter-time"]), st.none() | st.binary(max_size=9)),
        max_size=4,
    ),
    st.none() | st.just(b"position") | st.just(ID.encode()) | st.binary(max_size=5),
)
def test_any_record_is_taken(value: bytes | None, headers: Any, key: bytes | None) -> None:
    told = story()
    for take in (told.request, told.dead_letter, told.ledger_record, told.outcome):
        take(raw(value, headers, key))
    assert dict(told.facts())["now"]
