"""The requests of a transaction: packed by hand, and byte for byte what aiokafka's own structures make of them."""

from io import BytesIO
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.produce import ProduceRequest_v7
from aiokafka.protocol.transaction import (
    AddPartitionsToTxnRequest_v0,
    EndTxnRequest_v0,
    InitProducerIdRequest_v0,
)

from worker.kafka.wire import AddPartitions, Begun, EndTransaction, Identity, InitProducerId, Produce, Request

ID = Identity("gruppe-über-0", 2**40, 7)
PLACES = [TopicPartition("state", 3), TopicPartition("outcomes", 0), TopicPartition("outcomes", 11)]
GROUPED = [("state", [3]), ("outcomes", [0, 11])]
BATCHES = dict(zip(PLACES, (b"one", b"", b"three" * 100), strict=True))

SAME: list[tuple[Request, Any]] = [
    (InitProducerId("gruppe-über-0", 15_000), InitProducerIdRequest_v0("gruppe-über-0", 15_000)),
    (AddPartitions(ID, PLACES), AddPartitionsToTxnRequest_v0(*ID, GROUPED)),
    (
        Produce(ID, BATCHES, 10_000),
        ProduceRequest_v7(
            "gruppe-über-0", -1, 10_000, [("state", [(3, b"one")]), ("outcomes", [(0, b""), (11, b"three" * 100)])]
        ),
    ),
    (EndTransaction(ID), EndTxnRequest_v0(*ID, True)),
]


def name(case: Any) -> str:
    return type(case).__name__


@pytest.mark.parametrize(("ours", "theirs"), SAME, ids=name)
def test_a_request_is_on_the_wire_as_aiokafka_would_write_it(ours: Request, theirs: Any) -> None:
    assert (ours.API_KEY, ours.API_VERSION) == (theirs.API_KEY, theirs.API_VERSION)
    assert ours.encode() == theirs.encode()
    headers = (each.build_request_header(correlation_id=2**31 - 1, client_id="a client") for each in (ours, theirs))
    assert len({header.encode() for header in headers}) == 1


ANSWERS: list[tuple[type[Request], Any, Any]] = [
    (InitProducerId, (100, 51, -1, -1), Begun(51, -1, -1)),
    (InitProducerId, (0, 0, 2**40, 7), Begun(0, 2**40, 7)),
    (
        AddPartitions,
        (100, [("state", [(3, 0)]), ("outcomes", [(0, 29), (11, 55)])]),
        dict(zip(PLACES, (0, 29, 55), strict=True)),
    ),
    (AddPartitions, (0, []), {}),
    (
        Produce,
        ([("state", [(3, 0, 2**40, -1, 0)]), ("outcomes", [(0, 6, -1, -1, -1), (11, -1, -1, -1, -1)])], 100),
        dict(zip(PLACES, (0, 6, -1), strict=True)),
    ),
    (EndTransaction, (100, 47), 47),
]


@pytest.mark.parametrize(("request_type", "fields", "read"), ANSWERS)
def test_an_answer_is_read_as_far_as_it_is_wanted(request_type: type[Request], fields: Any, read: Any) -> None:
    theirs = next(theirs for ours, theirs in SAME if type(ours) is request_type)
    answer = BytesIO((2**31 - 1).to_bytes(4, "big") + theirs.RESPONSE_TYPE(*fields).encode())
    assert SAME[0][0].parse_response_header(answer).correlation_id == 2**31 - 1
    assert request_type.RESPONSE_TYPE.decode(answer) == read


@pytest.mark.parametrize("versions", [{}, {0: (8, 12)}, {0: (0, 6)}])
def test_a_broker_that_does_not_know_the_version_is_not_asked(versions: dict[int, tuple[int, int]]) -> None:
    with pytest.raises(IncompatibleBrokerVersion, match="Produce of version 7"):
        Produce(ID, BATCHES, 0).prepare(versions)
    request = Produce(ID, BATCHES, 0)
    assert request.prepare({0: (3, 12)}) is request
