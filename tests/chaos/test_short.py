"""A short attack on the workers and the API. The long ones, on the broker too, are run by hand: see the README."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.plan import FAULTS, plan
from tests.chaos.run import run
from tests.support.system import System
from tests.support.topics import create_topics
from worker.demo.broker import KafkaBroker

_SEED = 118
_SECONDS = 20.0
# Not the broker's own end: a single node that is killed can forget its transaction markers (see the README).
_FAULTS = ("kill", "pause", "scale", "api")


@pytest.fixture
def own_broker(kafka: KafkaBroker) -> Iterator[KafkaBroker]:
    """The session's broker is not ours to kill. Depending on it skips or fails where there can be none."""
    with KafkaBroker() as broker:
        yield broker


def test_a_seed_always_means_the_same_attack() -> None:
    assert plan(_SEED, _SECONDS, FAULTS) == plan(_SEED, _SECONDS, FAULTS)
    assert plan(_SEED, _SECONDS, FAULTS) != plan(_SEED + 1, _SECONDS, FAULTS)


@pytest.mark.kafka
def test_every_promise_is_kept_while_workers_and_the_api_fail(own_broker: KafkaBroker, tmp_path: Path) -> None:
    assert {planned.kind for planned in plan(_SEED, _SECONDS, _FAULTS)} == set(_FAULTS)
    system = System(own_broker.bootstrap, tmp_path)
    try:
        create_topics(system.bootstrap, system.topics, partitions=4)
        report = run(
            system, own_broker, seed=_SEED, seconds=_SECONDS, requests=200, faults=_FAULTS, workers=2, patience=90.0
        )
    finally:
        system.close()
    assert not report.violations, str(report)
