"""Topics and rights as the manifests give them, held to the contract and tried on a real Kafka."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import admin
from confluent_kafka.cimpl import NewTopic

from schemas import names
from tests.deploy.manifests import Document, Manifests
from tests.deploy.tools import ROOT
from tests.support.records import read_until
from worker.demo.broker import BrokerUnavailableError, KafkaBroker
from worker.demo.process import SimulatorProcess, WorkerProcess, clean_environment, free_ports
from worker.kafka import topics as kafka_topics
from worker.settings import Settings

# Its names are exported without a word to type checkers.
kafka_admin: Any = admin
TOPICS = (names.REQUESTS_TOPIC, names.OUTCOMES_TOPIC, names.STATE_TOPIC, names.DEAD_LETTERS_TOPIC)
GROUP = Settings.model_fields["kafka_group_id"].default
RESOURCES = {
    "topic": kafka_admin.ResourceType.TOPIC,
    "group": kafka_admin.ResourceType.GROUP,
    "transactionalId": kafka_admin.ResourceType.TRANSACTIONAL_ID,
}
OPERATIONS = {
    "Read": kafka_admin.AclOperation.READ,
    "Write": kafka_admin.AclOperation.WRITE,
    "Describe": kafka_admin.AclOperation.DESCRIBE,
    "DescribeConfigs": kafka_admin.AclOperation.DESCRIBE_CONFIGS,
}
_TIMEOUT = 30.0
_PASSWORD = "correct horse"
_SIMULATED = ("--completion-min", "0.05", "--completion-max", "0.2")


def topic_config(topic: Document) -> dict[str, str]:
    return {name: str(value) for name, value in topic["spec"]["config"].items()}


def acls(user: Document) -> list[Any]:
    spec = user["spec"]
    assert (spec["authorization"]["type"], set(spec)) == ("simple", {"authentication", "authorization"})
    return [acl for acl in spec["authorization"]["acls"] if set(acl) == {"resource", "operations"}]


def rights(user: Document) -> set[tuple[str, str, str, str]]:
    return {
        (acl["resource"]["type"], acl["resource"].get("patternType", "literal"), acl["resource"]["name"], operation)
        for acl in acls(user)
        for operation in acl["operations"]
    }


def test_the_topics_are_those_that_the_command_would_make(production: Manifests) -> None:
    topics = {topic["metadata"]["name"]: topic for topic in production.of_kind("KafkaTopic")}
    assert set(topics) == set(TOPICS)
    for topic in topics.values():
        assert set(topic["spec"]) == {"partitions", "replicas", "config"}
        config = topic_config(topic)
        assert int(config.pop("min.insync.replicas")) == topic["spec"]["replicas"] - 1
    assert topics[names.STATE_TOPIC]["spec"]["partitions"] == topics[names.REQUESTS_TOPIC]["spec"]["partitions"]
    assert kafka_topics.STATE_CONFIG.items() <= topic_config(topics[names.STATE_TOPIC]).items()
    for name in (names.OUTCOMES_TOPIC, names.DEAD_LETTERS_TOPIC):
        assert kafka_topics._EVENTS_CONFIG.items() <= topic_config(topics[name]).items()


def test_each_user_has_the_rights_of_the_contract_and_no_other(production: Manifests) -> None:
    requests, outcomes, state, dead_letters = TOPICS
    per_resource = {
        ("topic", "literal", requests): {"Read", "Describe"},
        ("topic", "literal", state): {"Read", "Write", "Describe", "DescribeConfigs"},
        ("topic", "literal", outcomes): {"Write", "Describe", "DescribeConfigs"},
        ("topic", "literal", dead_letters): {"Write", "Describe", "DescribeConfigs"},
        ("group", "literal", GROUP): {"Read", "Describe"},
        ("transactionalId", "prefix", f"{GROUP}-{requests}-"): {"Write", "Describe"},
    }
    worker = {(*resource, operation) for resource, all_of in per_resource.items() for operation in all_of}
    assert rights(production.the("KafkaUser", "terminal-operations-worker")) == worker
    assert rights(production.the("KafkaUser", "terminal-operations-requester")) == {
        ("topic", "literal", requests, "Write"),
        ("topic", "literal", requests, "Describe"),
    }


class SecuredKafka:
    """A real broker that lets nobody do anything but what the manifests allow. Its plain listener is the operator's."""

    def __init__(self, broker: KafkaBroker) -> None:
        (port,) = free_ports(1)
        self.broker = broker
        self.secured = f"127.0.0.1:{port}"
        plain, controller = broker.bootstrap, broker.controller
        broker.properties |= {
            "listeners": f"PLAINTEXT://{plain},CONTROLLER://{controller},SASL_PLAINTEXT://{self.secured}",
            "advertised.listeners": f"PLAINTEXT://{plain},SASL_PLAINTEXT://{self.secured}",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT"
            ),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def apply(self, manifests: Manifests) -> None:
        """What Strimzi's operators would make: topics, users, rights."""
        client = kafka_admin.AdminClient({"bootstrap.servers": self.broker.bootstrap})
        made: list[Any] = []
        topics = []
        for topic in manifests.of_kind("KafkaTopic"):
            config = topic_config(topic) | {"min.insync.replicas": "1"}
            topics.append(NewTopic(topic["metadata"]["name"], topic["spec"]["partitions"], 1, config=config))
        made += client.create_topics(topics).values()
        information = kafka_admin.ScramCredentialInfo(kafka_admin.ScramMechanism.SCRAM_SHA_512, 4096)
        patterns = {
            "literal": kafka_admin.ResourcePatternType.LITERAL,
            "prefix": kafka_admin.ResourcePatternType.PREFIXED,
        }
        bindings = []
        for user in manifests.of_kind("KafkaUser"):
            name = user["metadata"]["name"]
            credentials = kafka_admin.UserScramCredentialUpsertion(name, information, _PASSWORD.encode())
            made += client.alter_user_scram_credentials([credentials]).values()
            for kind, pattern, resource, operation in rights(user):
                bindings.append(
                    kafka_admin.AclBinding(
                        RESOURCES[kind],
                        resource,
                        patterns[pattern],
                        f"User:{name}",
                        "*",
                        OPERATIONS[operation],
                        kafka_admin.AclPermissionType.ALLOW,
                    )
                )
        made += client.create_acls(bindings).values()
        for future in made:
            future.result(_TIMEOUT)

    def environment(self, manifests: Manifests, container: Document, password: Path) -> dict[str, str]:
        """A pod's own environment, but for where the brokers are and TLS."""
        given = manifests.environment(container)
        given.pop("KAFKA_SSL_CAFILE")
        return {
            **clean_environment(),
            **{name: value for name, value in given.items() if name.startswith(("KAFKA_", "DINTERO_", "WORKER_"))},
            "KAFKA_BOOTSTRAP_SERVERS": self.secured,
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_PASSWORD_FILE": str(password),
        }


@pytest.fixture
def secured(production: Manifests) -> Iterator[SecuredKafka]:
    broker = KafkaBroker()
    kafka = SecuredKafka(broker)
    try:
        broker.start()
    except BrokerUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"No Kafka in CI: {error}", pytrace=False)
        pytest.skip(str(error))
    try:
        kafka.apply(production)
        yield kafka
    finally:
        broker.stop()


@pytest.mark.kafka
def test_these_rights_are_enough_for_the_nightly_requests_to_be_sent_and_run_once(
    production: Manifests, secured: SecuredKafka, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text(_PASSWORD)
    _, worker = production.worker
    _, job = next((template, container) for template, container in production.pods if container["name"] == "request")
    (requests,) = (
        one["data"]["requests.jsonl"]
        for one in production.of_kind("ConfigMap")
        if one["metadata"]["name"].startswith("end-of-day")
    )
    (tmp_path / "requests.jsonl").write_text(requests)
    with SimulatorProcess(tmp_path / "simulator.log", *_SIMULATED) as simulator:
        environment = secured.environment(production, worker, password)
        environment |= {"DINTERO_BASE_URL": simulator.url, "DINTERO_CLIENT_SECRET_FILE": str(password)}
        with WorkerProcess(
            "worker", tmp_path / "worker.log", environment | {"WORKER_POLL_INITIAL_DELAY": "100ms"}
        ) as running:
            simulator.wait_until_ready()
            running.wait_until_ready()
            nightly = secured.environment(production, job, password)
            nightly["PATH"] = f"{ROOT / '.venv' / 'bin'}:{nightly['PATH']}"
            (script,) = job["args"]
            script = script.replace("/requests/", f"{tmp_path}/")
            for _ in range(2):
                done = subprocess.run(["sh", "-c", script], env=nightly, capture_output=True, text=True, timeout=60)  # noqa: PLW1510
                assert done.returncode == 0, done.stderr
            count = len(requests.splitlines())
            outcomes = read_until(secured.broker.bootstrap, names.OUTCOMES_TOPIC, lambda found: len(found) >= 2 * count)
            assert sorted(one.json()["status"] for one in outcomes) == ["completed"] * count + ["created"] * count
            assert list(simulator.get("/_simulator/executions").values()) == [1] * count
            running.terminate()
            assert running.wait() == 0
