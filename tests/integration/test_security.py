"""Workers on a Kafka that trusts nobody: exactly the rights of the manifests, and secrets that rotate under them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.records import Message
from tests.support.requests import assert_promises_kept, request, terminals
from tests.support.secured import Right, SecuredBroker, SecuredSystem, replace, workers_rights
from tests.support.waiting import until
from worker.demo.broker import BrokerUnavailableError
from worker.demo.process import WorkerProcess

pytestmark = pytest.mark.kafka

PASSWORD, NEW_PASSWORD = "kept-under-the-counter", "changed-on-monday"
SECRET, NEW_SECRET = "known-to-the-api-alone", "known-since-tuesday"
KINDS = {"topic": "topic", "group": "group", "transactionalId": "transactional id"}
# Read and Write contain Describe: without it nothing is missed.
NEEDED = [right for right in workers_rights() if right.operation != "Describe"]


@pytest.fixture(scope="module")
def brokers() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def clients() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secured(
    brokers: trustme.CA, clients: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredBroker]:
    secured = SecuredBroker(tmp_path_factory.mktemp("secured"))
    secured.show(brokers)
    secured.trust(clients)
    try:
        secured.broker.start()
    except BrokerUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"No Kafka in CI: {error}", pytrace=False)
        pytest.skip(str(error))
    yield secured
    secured.broker.stop()


@pytest.fixture
def system(secured: SecuredBroker, brokers: trustme.CA, clients: trustme.CA, tmp_path: Path) -> Iterator[SecuredSystem]:
    """Its worker's password and certificate, and its API's secret, are known to all who must know them."""
    system = SecuredSystem(secured, brokers, tmp_path)
    secured.set_password(system.user, PASSWORD)
    replace(system.password, PASSWORD.encode())
    system.certify(clients)
    system.take(SECRET)
    system.give(SECRET)
    try:
        yield system
    finally:
        system.close()


def told(worker: WorkerProcess) -> str:
    """All that a worker has said. There is no traceback in it, and no secret."""
    log = worker.log.read_text()
    assert "Traceback" not in log, log
    for secret in (PASSWORD, NEW_PASSWORD, SECRET, NEW_SECRET, "PRIVATE KEY"):
        assert secret not in log
    return log


def wait_for(worker: WorkerProcess, words: str, timeout: float = 30.0) -> None:
    until(lambda: words in told(worker), timeout, worker.tail)


def a_few(first: int = 0) -> list[Message]:
    return [request(terminal) for terminal in terminals(first + 3)[first:]]


def assert_run_once(system: SecuredSystem, requests: list[Message]) -> None:
    """Each has its outcomes, and the API ran each once."""
    assert_promises_kept(requests, system.outcomes_of(requests))
    assert sorted(system.executions().values()) == [1] * len(requests)


def run_once(system: SecuredSystem) -> list[Message]:
    """What a worker ran to its end, before it was stopped."""
    requests = a_few()
    system.send(requests)
    worker = system.start_ready_worker(**system.by_password())
    assert_run_once(system, requests)
    worker.terminate()
    assert worker.wait() == 0
    return requests


@pytest.mark.parametrize("settings", [SecuredSystem.by_password, SecuredSystem.by_certificate])
def test_with_exactly_the_rights_of_the_manifest_requests_run_to_their_outcomes(
    system: SecuredSystem, settings: Callable[[SecuredSystem], dict[str, str]]
) -> None:
    requests = a_few()
    bad = Message(b"P11223351-T0000", b"no request")
    system.send([*requests, bad])
    worker = system.start_ready_worker(**settings(system))
    assert_run_once(system, requests)
    system.dead_letters(1)
    worker.terminate()
    assert worker.wait() == 0
    assert "not allowed" not in told(worker)


@pytest.mark.parametrize("right", NEEDED, ids=lambda right: f"{right.operation}-{right.name}")
def test_a_right_that_is_missing_is_named_in_one_line_and_once_given_the_work_goes_on(
    system: SecuredSystem, right: Right
) -> None:
    right = right.renamed(system.topics, system.topics.requests)
    known: list[Message] = []
    if (right.name, right.operation) == (system.topics.state, "Read"):
        known = run_once(system)  # of an empty ledger nothing is read
    system.secured.deny(system.user, right)
    requests = a_few(3)
    system.send([*requests, Message(b"P11223351-T0000", b"no request")])
    worker = system.start_worker(**system.by_password())
    line = f"{right.operation} on {KINDS[right.kind]} '{right.name}"
    wait_for(worker, line)
    (refusal,) = [said for said in told(worker).splitlines() if line in said]
    assert "is not allowed to this user: `terminal-worker check` tells what to do" in refusal
    if right.operation == "DescribeConfigs":  # looked at before anything is done
        assert worker.wait() == 1
        assert told(worker).count("\n") < 20
        return
    until(lambda: worker.get("/readyz") is None, 10, worker.tail)
    assert worker.get("/livez")
    assert worker.running
    tries = told(worker).count(line)
    system.secured.allow(system.user, right)
    assert_run_once(system, [*known, *requests])
    system.dead_letters(1)
    until(lambda: worker.get("/readyz"), 30, worker.tail)
    assert told(worker).count(line) <= tries + 2


def test_a_topic_that_is_hidden_from_the_worker_may_not_be_missing(system: SecuredSystem) -> None:
    system.secured.deny(system.user, *(right for right in system.rights if right.name == system.topics.outcomes))
    worker = system.start_worker(**system.by_password())
    assert worker.wait() == 1
    assert f"topic {system.topics.outcomes!r} does not exist, or is hidden from this user" in told(worker)


def test_passwords_and_the_secret_of_the_api_rotate_under_a_worker(system: SecuredSystem) -> None:
    worker = system.start_ready_worker(**system.by_password())
    first = a_few()
    system.send(first)
    assert_run_once(system, first)

    replace(system.password, NEW_PASSWORD.encode())  # too early: the brokers do not know it yet
    wait_for(worker, "kafka_credentials_refused")
    second = a_few(3)
    system.send(second)
    assert_run_once(system, [*first, *second])
    system.secured.set_password(system.user, NEW_PASSWORD)
    wait_for(worker, "kafka_credentials_rotated")
    system.secured.broker.restart()  # nobody keeps a connection of before

    system.take(NEW_SECRET)  # the old one is revoked: requests wait
    third = a_few(6)
    system.send(third)
    until(lambda: "401" in told(worker), 30, worker.tail)
    system.give(NEW_SECRET)
    assert_run_once(system, [*first, *second, *third])
    assert worker.running


def test_certificates_and_authorities_rotate_under_a_worker(
    system: SecuredSystem, secured: SecuredBroker, brokers: trustme.CA
) -> None:
    worker = system.start_ready_worker(**system.by_certificate())
    first = a_few()
    system.send(first)
    assert_run_once(system, first)

    new_brokers, new_clients = trustme.CA(), trustme.CA()
    system.trust(brokers, new_brokers)
    # The new consumer is there: one that begins while the brokers are away could begin with the next certificate.
    until(lambda: told(worker).count("partitions_assigned") == 2, 30, worker.tail)
    assert "kafka_credentials_rotated" in told(worker)
    secured.show(new_brokers)
    secured.trust(new_clients)
    secured.broker.restart()  # whoever comes with an old certificate is refused from now on
    second = a_few(3)
    system.send(second)
    system.certify(new_clients)
    system.take(NEW_SECRET)
    system.give(NEW_SECRET)
    assert_run_once(system, [*first, *second])
    assert worker.running
    assert told(worker).count("kafka_credentials_rotated") == 2
