"""The CloudEvents SDK at the other end: its requests are read by the worker, and the worker's outcomes by it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.bindings.kafka import KafkaMessage
from cloudevents.core.v1.event import CloudEvent

import schemas
from schemas import example_messages, names
from schemas.example_messages import Example
from worker.domain.request import Record, Request
from worker.kafka.reader import Reader

ID = "0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44"
DATA = {"terminal_id": "P11223351-T0013", "operation": "end_of_day", "parameters": {"operator_id": "night"}}


def event(**attributes: Any) -> CloudEvent:
    usual = {"specversion": "1.0", "id": ID, "source": "/shop", "type": names.REQUESTED}
    return CloudEvent(attributes={**usual, "datacontenttype": names.JSON, **attributes}, data=DATA)


def read(message: KafkaMessage) -> Request:
    key = message.key.encode() if isinstance(message.key, str) else message.key
    assert isinstance(message.value, bytes)
    record = Record(0, 0, key, message.value, list(message.headers.items()))
    request = Reader(operations=names.OPERATIONS).read(record)
    assert isinstance(request, Request), request
    return request


@pytest.mark.parametrize("written", [kafka.to_binary_event, kafka.to_structured_event])
def test_a_request_of_the_sdk_is_read_with_all_it_says(written: Any) -> None:
    request = read(written(event(correlationid="night", time=datetime(2026, 1, 1, tzinfo=UTC), subject="any")))
    assert (request.message_id, request.key, request.correlation_id) == (ID, ID, "night")
    assert (request.terminal_id, request.operation) == ("P11223351-T0013", "end_of_day")
    assert request.parameters == b'{"operator_id":"night"}'


def test_both_modes_of_the_sdk_are_the_same_request() -> None:
    binary, structured = read(kafka.to_binary_event(event())), read(kafka.to_structured_event(event()))
    assert binary == structured


def test_a_partition_key_of_the_sdk_is_the_key_of_the_record() -> None:
    message = kafka.to_binary_event(event(partitionkey="P11223351-T0013"))
    assert message.key in ("P11223351-T0013", b"P11223351-T0013")
    assert read(message).terminal_id == "P11223351-T0013"


@pytest.mark.parametrize(
    "example", [example_messages.CREATED, example_messages.COMPLETED, example_messages.FAILED], ids=lambda e: e.key
)
def test_an_outcome_is_read_by_the_sdk_with_all_it_says(example: Example) -> None:
    headers = {name: text.encode() for name, text in example.headers.items()}
    value = json.dumps(example.value).encode()
    found = kafka.from_kafka_event(KafkaMessage(headers=headers, key=example.key.encode(), value=value))
    assert found.get_id() == example.headers[names.CE_ID]
    assert found.get_type() == example.headers[names.CE_TYPE]
    assert found.get_source() == example.headers[names.CE_SOURCE]
    assert found.get_subject() == example.value["terminal_id"]
    assert found.get_dataschema() == example.headers[names.CE_DATASCHEMA]
    assert found.get_time() == datetime.fromisoformat(example.headers[names.CE_TIME])
    assert found.get_extension("causationid") == example.value["message_id"]
    assert found.get_extension("correlationid") == example.value["message_id"]
    assert found.get_data() == example.value


def test_a_request_built_here_is_an_event_to_the_sdk() -> None:
    built = schemas.build_request(schemas.RequestData.model_validate(DATA), message_id=ID, source="/shop")
    found = kafka.from_kafka_event(KafkaMessage(headers=dict(built["headers"]), key=built["key"], value=built["value"]))
    assert (found.get_id(), found.get_source(), found.get_type()) == (ID, "/shop", names.REQUESTED)
    assert found.get_data() == DATA
