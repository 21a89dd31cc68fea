"""The demo, as a user runs it."""

import subprocess
import sys

import pytest
from confluent_kafka.admin import AdminClient

from worker.demo.broker import KafkaBroker
from worker.demo.load import Kind, kinds, load
from worker.demo.process import clean_environment

_TIMEOUT = 300


@pytest.mark.kafka
def test_the_demo_keeps_every_promise_within_80_columns_and_leaves_nothing(kafka: KafkaBroker) -> None:
    environment = {**clean_environment(), "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap, "NO_COLOR": "1", "COLUMNS": "80"}
    command = [sys.executable, "-m", "worker", "demo"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "kill -9" in done.stdout
    assert "Every promise was kept." in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    topics = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics
    assert not [name for name in topics if "demo" in name]


def test_the_demo_sends_some_of_everything() -> None:
    records = load(600, 60)
    assert len(records) == 600
    assert set(kinds(records)) == set(Kind)
    assert len({record.key for record in records}) == 60


def test_what_the_demo_sends_twice_was_sent_before_for_the_same_terminal() -> None:
    records = load(600, 60)
    repeats = [place for place, record in enumerate(records) if record.kind in {Kind.DUPLICATE, Kind.REUSED}]
    for place in repeats:
        (first,) = [earlier for earlier in records[:place] if earlier.headers == records[place].headers][:1]
        assert first.key == records[place].key
        assert (first.value == records[place].value) == (records[place].kind is Kind.DUPLICATE)
