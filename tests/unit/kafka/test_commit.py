from collections.abc import Sequence
from typing import Any
from unittest.mock import create_autospec

import orjson
import pytest

from worker.domain.commit import Commit, Position
from worker.kafka.commit import LedgerCommitter
from worker.kafka.connection import Topics
from worker.kafka.producer import Message, PlainProducer, Producer, TransactionalProducer
from worker.telemetry.metrics import Metrics
from worker.telemetry.tracing import Tracing


@pytest.mark.parametrize(("kind", "told"), [(TransactionalProducer, 3), (PlainProducer, None)])
async def test_only_a_write_that_cannot_be_cut_says_what_stands_beside_its_position(
    kind: type[Producer], told: int | None
) -> None:
    written: list[dict[str, Any]] = []

    class Recording(kind):  # type: ignore[misc, valid-type]
        def __init__(self) -> None: ...

        async def write(self, events: Sequence[Message], ledger: Sequence[Message]) -> None:
            written.extend(orjson.loads(message.value or b"") for message in ledger)

    committer = LedgerCommitter(
        0,
        producer=Recording(),
        topics=Topics("requests", "outcomes", "state", "dead-letters"),
        group="group",
        source="/source",
        tracing=Tracing(),
        metrics=create_autospec(Metrics),
    )
    await committer.commit(Commit(Position(7, unfinished=3)))
    (position,) = written
    assert (position["offset"], position.get("unfinished")) == (7, told)
