"""The broker under all these tests: what the chaos tests ask of it."""

import pytest

from tests.support.records import Message, produce, read_until
from tests.support.topics import create_topics, named_topics
from worker.demo.broker import KafkaBroker

pytestmark = pytest.mark.kafka


def test_a_killed_broker_comes_back_on_its_address_with_its_records(kafka: KafkaBroker) -> None:
    sent = [Message(b"P11223351-T0001", b"\xff not text", (("a", b"\x00"), ("a", None))), Message(None, None)]
    topics = named_topics()
    create_topics(kafka.bootstrap, topics, partitions=1)
    produce(kafka.bootstrap, topics.requests, sent)
    kafka.kill()
    kafka.restart()
    assert read_until(kafka.bootstrap, topics.requests, lambda found: len(found) == 2) == sent
