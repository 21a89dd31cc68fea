"""What is asked of the workers under attack, and the record of it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from confluent_kafka import Message as KafkaMessage
from confluent_kafka import Producer

from tests.support.records import Message
from tests.support.requests import request, terminals

REFUSED_TERMINAL = "P11223351-T9999"
_REPEATED = 0.05
_EXPIRING = 0.1
_TO_REFUSED = 0.02
# Few, so that each has others waiting behind the one at work.
_MOST_TERMINALS = 60

Delivered = Callable[[str, int], None]
"""Told the message ID of a record that the brokers have, and its partition."""


@dataclass(slots=True)
class Sent:
    """How many records were asked to be sent, and what became of that."""

    records: int = 0
    delivered: int = 0


class Load:
    """Sends a number of requests evenly over a time, some of them twice, as a producer that retries does."""

    def __init__(
        self, bootstrap: str, topic: str, *, count: int, seconds: float, seed: int, delivered: Delivered
    ) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,  # the order of a terminal's requests survives the broker's crashes
                "message.timeout.ms": 120_000,
                "log_level": 0,
            }
        )
        self._topic = topic
        self._count = count
        self._seconds = seconds
        self._delivered = delivered
        self._chance = random.Random(seed)
        self._terminals = terminals(min(_MOST_TERMINALS, max(1, count // 15)))
        self._made: list[Message] = []
        self.sent = Sent()

    def step(self, now: float) -> None:
        """Send what is due, `now` seconds after the start."""
        due = min(self._count, int(self._count * now / self._seconds))
        while len(self._made) < due:
            made = self._make()
            self._made.append(made)
            self._send(made)
            if self._chance.random() < _REPEATED:
                self._send(self._chance.choice(self._made))
        self._producer.poll(0)

    def finish(self, timeout: float) -> None:
        """Send the rest, and wait until the broker has all."""
        self.step(self._seconds)
        self._producer.flush(timeout)

    def _make(self) -> Message:
        chance = self._chance.random()
        terminal = REFUSED_TERMINAL if chance < _TO_REFUSED else self._chance.choice(self._terminals)
        message_id = str(UUID(int=self._chance.getrandbits(128), version=4))
        made = request(terminal, message_id=message_id)
        if chance > 1 - _EXPIRING:
            expires_at = datetime.now(UTC) + timedelta(seconds=self._chance.uniform(1, 20))
            return Message(made.key, orjson.dumps({**made.json(), "expires_at": expires_at.isoformat()}), made.headers)
        return made

    def _send(self, message: Message) -> None:
        def delivered(error: Any, record: KafkaMessage) -> None:
            if error is None:
                self.sent.delivered += 1
                self._delivered(message.header("ce_id") or "", record.partition() or 0)

        self.sent.records += 1
        self._producer.produce(
            self._topic, key=message.key, value=message.value, headers=list(message.headers), on_delivery=delivered
        )
