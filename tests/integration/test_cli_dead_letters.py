"""`dead-letters` and `unconfirmed` on a real Kafka: what a person does about what the worker cannot."""

import getpass
import re

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition
from jsonschema import Draft202012Validator

import schemas
from schemas import names
from tests.support.command import Done, terminal_worker
from tests.support.records import Message, read_until
from tests.support.requests import request
from tests.support.system import System

pytestmark = pytest.mark.kafka

_TERMINAL = "P11223351-T0001"
_TIMEOUT = 60.0
_MEND = orjson.dumps([{"op": "replace", "path": "/operation", "value": "end_of_day"}]).decode()


def test_a_dead_letter_is_mended_and_replayed_twice_and_runs_once(system: System) -> None:
    system.start_ready_worker()
    system.send([request(_TERMINAL, message_id="order-1", operation="explode")])
    (letter,) = system.dead_letters(1)
    listed = _cli(system, "dead-letters", "list", "--reason", "invalid_request", "--since", "1h")
    assert re.search(r"^0:0 ", listed.out, re.MULTILINE), listed.out
    assert max(map(len, listed.out.splitlines())) <= 80
    assert _cli(system, "dead-letters", "list", "--reason", "message_id_reused").out == "no dead letters\n"
    shown = _cli(system, "dead-letters", "show", "0:0").out
    assert "expected one of" in shown
    assert '"operation": "explode"' in shown

    refused = _cli(system, "dead-letters", "replay", "0:0", "--yes")
    assert refused.code == 1
    assert "refused again (operation: expected one of" in refused.err
    dry = _cli(system, "dead-letters", "replay", "0:0", "--edit", _MEND, "--dry-run")
    assert dry.code == 0
    assert "1 would be sent" in dry.out
    assert _cli(system, "dead-letters", "replay", "0:0", "--edit", _MEND, typed="n\n").code == 1
    for _ in range(2):
        sent = _cli(system, "dead-letters", "replay", "0:0", "--edit", _MEND, "--yes")
        assert sent.code == 0, sent.err
    replay_id = sent.out.split(" as ")[1].split(":")[0]

    after = request(_TERMINAL)  # of the same terminal, so it ends after both replays were read
    system.send([after])
    outcomes = [each for each in system.outcomes_of([after]) if each.header("ce_causationid") == replay_id]
    assert [each.json()["status"] for each in outcomes] == ["created", "completed"]
    assert {each.header("ce_correlationid") for each in outcomes} == {"order-1"}
    assert system.executions()[replay_id] == 1
    (first, again) = [each for each in _requests(system) if each.header("ce_id") == replay_id]
    assert first == again
    assert first.header(names.DEAD_LETTER_REPLAYED_FROM) == f"{system.topics.dead_letters}/0/0"
    assert [name for name, _ in first.headers if name.startswith("dead-letter-")] == [names.DEAD_LETTER_REPLAYED_FROM]
    assert letter.key == first.key
    told = _cli(system, "explain", "order-1").out
    assert "dead letter" in told
    assert "failed, invalid_request" in told


def test_dead_letters_are_chosen_by_reason_and_source_and_all_of_them_or_none_is_sent(system: System) -> None:
    system.start_ready_worker()
    reused = [request(_TERMINAL, message_id="order-1"), request(_TERMINAL, message_id="order-1", operation="send_logs")]
    system.send([*reused, Message(b"k", b"no JSON", (("ce_id", b"order-2"),))])
    letters = system.dead_letters(2)
    assert {letter.header("dead-letter-reason") for letter in letters} == {"message_id_reused", "invalid_request"}
    refused = _cli(system, "dead-letters", "replay", "--since", "1h", "--yes")
    assert refused.code == 1
    assert "nothing was sent" in refused.err
    assert _written(system) == 3

    (source,) = [letter for letter in letters if letter.header("dead-letter-reason") == "message_id_reused"]
    place = f"{source.header('dead-letter-partition')}:{source.header('dead-letter-offset')}"
    for arguments in (("--reason", "message_id_reused"), ("--from", place)):
        assert _cli(system, "dead-letters", "replay", *arguments, "--yes").out.endswith(
            f"1 sent to {system.topics.requests}\n"
        )
    assert _written(system) == 5
    for wrong in (("replay",), ("replay", "0:0", "--since", "1h"), ("replay", "x"), ("replay", "0:0", "--edit", "{")):
        assert _cli(system, "dead-letters", *wrong).code == 2
    assert _cli(system, "dead-letters", "show", "0:99").code == 1


def test_an_unconfirmed_request_gets_a_persons_word_once(system: System) -> None:
    system.simulator.wait_until_ready()
    system.simulator.change({"completion_min": 600.0, "completion_max": 600.0})
    system.start_ready_worker(WORKER_COMPLETION_TIMEOUT="1s")
    sent = request(_TERMINAL, message_id="order-1", ce_correlationid="night")
    system.send([sent])
    outcomes = system.outcomes_of([sent])
    assert outcomes[-1].json()["error"]["reason"] == "unconfirmed"
    listed = _cli(system, "unconfirmed", "list").out
    assert re.search(rf"{_TERMINAL} +end_of_day +order-1 *$", listed, re.MULTILINE), listed

    unknown = _cli(system, "unconfirmed", "resolve", "order-2", "--as", "completed")
    assert unknown.code == 1
    assert "no unconfirmed outcome" in unknown.err
    long = _cli(system, "unconfirmed", "resolve", "order-1", "--as", "completed", "--note", "two\nlines")
    assert (long.code, long.err) == (2, "error: note: expected one line of 1 to 1024 characters\n")
    for _ in range(2):
        said = _cli(system, "unconfirmed", "resolve", "order-1", "--as", "completed", "--note", "the receipt is there")
        assert said.code == 0, said.err
    assert "already resolved as completed" in said.out
    assert _cli(system, "unconfirmed", "resolve", "order-1", "--as", "failed").code == 1
    assert _cli(system, "unconfirmed", "list").out == "nothing is unconfirmed\n"

    events = read_until(system.bootstrap, system.topics.outcomes, lambda found: len(found) >= 3, _TIMEOUT)
    (event,) = [each for each in events if each.header("ce_type") == names.RESOLVED]
    _assert_documented(event)
    resolved = schemas.Resolved.model_validate_json(event.value or b"")
    assert (resolved.resolution, resolved.resolved_by) == ("completed", getpass.getuser())
    assert (resolved.message_id, resolved.note) == ("order-1", "the receipt is there")
    assert event.key == outcomes[-1].key
    assert event.header("ce_correlationid") == "night"
    assert schemas.read_outcome(event.value, event.headers) is None
    told = _cli(system, "explain", "order-1").out
    assert re.search(r"^now +resolved, completed, says ", told, re.MULTILINE), told


def _assert_documented(event: Message) -> None:
    document = schemas.documents()[names.RESOLVED]
    Draft202012Validator(document, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(event.json())
    headers = {name: (value or b"").decode() for name, value in event.headers}
    assert schemas.ResolvedHeaders.model_validate(headers).ce_dataschema == document["$id"]


def _cli(system: System, *arguments: str, typed: str = "") -> Done:
    return terminal_worker(system.environment(), *arguments, typed=typed)


def _requests(system: System) -> list[Message]:
    """All that the topic holds."""
    count = _written(system)
    found = read_until(system.bootstrap, system.topics.requests, lambda found: len(found) >= count)
    assert len(found) == count
    return found


def _written(system: System) -> int:
    """Requests on the topic; nobody writes them in transactions, so each offset is one."""
    consumer = Consumer({"bootstrap.servers": system.bootstrap, "group.id": "looks"})
    try:
        topic = consumer.list_topics(system.topics.requests, timeout=_TIMEOUT).topics[system.topics.requests]
        places = [TopicPartition(system.topics.requests, partition) for partition in topic.partitions]
        return sum(consumer.get_watermark_offsets(place, timeout=_TIMEOUT)[1] for place in places)
    finally:
        consumer.close()
