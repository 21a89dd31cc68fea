"""A short attack on the workers, the API and the links. The long ones, on brokers too: see the README."""

from pathlib import Path

import pytest

from tests.chaos.arena import BROKER_PASSWORD, Arena
from tests.chaos.cluster import Cluster
from tests.chaos.network import Network
from tests.chaos.plan import FAULTS, plan
from tests.chaos.run import run

_SEED = 32
_SECONDS = 20.0
# Not the broker's own end: a single node that is killed can forget its transaction markers (see the README). Nor what
# only a long time-out ends: a connection that is open at one end.
_FAULTS = ("kill", "pause", "scale", "net-cut", "net-delay", "api", "token")


def test_a_seed_always_means_the_same_attack() -> None:
    assert plan(_SEED, _SECONDS, FAULTS) == plan(_SEED, _SECONDS, FAULTS)
    assert plan(_SEED, _SECONDS, FAULTS) != plan(_SEED + 1, _SECONDS, FAULTS)


@pytest.mark.kafka
@pytest.mark.usefixtures("kafka")  # where there can be no broker, it says so: skips or fails
def test_every_promise_is_kept_while_workers_links_and_the_api_fail(tmp_path: Path) -> None:
    assert {planned.kind for planned in plan(_SEED, _SECONDS, _FAULTS)} == set(_FAULTS)
    with Network() as network, Cluster(network, nodes=1, password=BROKER_PASSWORD, seed=_SEED) as cluster:
        arena = Arena(cluster, network, tmp_path, seed=_SEED)
        try:
            arena.prepare(partitions=4)
            report = run(arena, seed=_SEED, seconds=_SECONDS, requests=200, faults=_FAULTS, workers=2, patience=90.0)
        finally:
            arena.close()
    assert not report.violations, str(report)
