"""A real Apache Kafka for the whole session, and for each test a system of its own on it."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.system import System
from tests.support.topics import create_topics
from worker.demo.broker import BrokerUnavailableError, KafkaBroker

# What tests ask for on loopback must not go by way of the proxy of the machine they run on.
for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)

# A machine that stands still for a moment has found no bug.
settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

_SYSTEM = pytest.StashKey[System]()


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """A real broker. Where it cannot run, tests skip on a laptop and fail in CI."""
    try:
        broker = KafkaBroker()
        broker.start()
    except BrokerUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"No Kafka in CI: {error}", pytrace=False)
        pytest.skip(str(error))
    yield broker
    broker.stop()


@pytest.fixture
def bare_system(kafka: KafkaBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[System]:
    """A system whose topics do not exist."""
    system = System(kafka.bootstrap, tmp_path)
    request.node.stash[_SYSTEM] = system
    try:
        yield system
    finally:
        system.close()


@pytest.fixture
def system(bare_system: System) -> System:
    """A system with its four topics; requests and state have four partitions."""
    create_topics(bare_system.bootstrap, bare_system.topics)
    return bare_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the last words of its processes."""
    report = yield
    system = item.stash.get(_SYSTEM, None)
    if report.failed and system is not None:
        report.sections += [(f"log of {process.name}", process.tail()) for process in system.processes]
    return report
