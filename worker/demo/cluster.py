"""Where the demo runs: the user's own brokers, or one broker started for it; and the topics on it."""

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import uuid4

from confluent_kafka.admin import AdminClient

from worker import settings
from worker.demo.broker import Broker, BrokerUnavailableError, EmbeddedBroker, KafkaBroker
from worker.demo.process import ProcessFailedError, clean_environment
from worker.demo.view import View

_PARTITIONS = 8
_TOPICS_TIMEOUT = 60.0
_BROKER_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """How to reach the broker: for the worker, by its environment, and for the second client."""

    environment: dict[str, str] = field(repr=False)  # these may hold a password
    client: dict[str, str] = field(repr=False)


def find(view: View, owned: ExitStack) -> Cluster:
    """The user's own brokers; else a real one of ours; else, saying why, the embedded one."""
    if "KAFKA_BOOTSTRAP_SERVERS" in os.environ:
        return _of_the_user(view)
    broker: Broker = KafkaBroker()
    try:
        view.say("Starting a real Apache Kafka. The first time, Maven fetches it.")
        broker.start()
    except BrokerUnavailableError as error:
        view.say(str(error))
        view.say("So: an embedded broker. No transactions: WORKER_DELIVERY=at_least_once.")
        broker = EmbeddedBroker()
        broker.start()
    owned.callback(broker.stop)
    delivery = "exactly_once" if broker.transactions else "at_least_once"
    environment = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap, "WORKER_DELIVERY": delivery}
    return Cluster({**clean_environment(), **environment}, {"bootstrap.servers": broker.bootstrap, "log_level": "0"})


def _of_the_user(view: View) -> Cluster:
    """As the environment says: every setting of Kafka goes to the worker, its topics and group excepted."""
    connection = settings.load(os.environ, api=False).connection
    view.say(f"Using the Kafka of KAFKA_BOOTSTRAP_SERVERS: {connection.bootstrap_servers}")
    given = {
        name: value for name, value in os.environ.items() if name.startswith("KAFKA_") or name == "WORKER_DELIVERY"
    }
    password = connection.sasl_password
    client = {
        "bootstrap.servers": connection.bootstrap_servers,
        "log_level": "0",
        "security.protocol": connection.security_protocol,
        "sasl.mechanism": connection.sasl_mechanism,
        "sasl.username": connection.sasl_username,
        "sasl.password": None if password is None else password.get_secret_value(),
        "ssl.ca.location": connection.ssl_cafile,
        "ssl.certificate.location": connection.ssl_certfile,
        "ssl.key.location": connection.ssl_keyfile,
    }
    return Cluster({**clean_environment(), **given}, {name: value for name, value in client.items() if value})


def create_topics(cluster: Cluster, owned: ExitStack) -> dict[str, str]:
    """Topics for this run alone, made by `terminal-worker topics create` and deleted at the end. Settings by name."""
    prefix = f"terminal-operations-demo-{uuid4().hex[:8]}"
    topics = {
        "KAFKA_REQUESTS_TOPIC": f"{prefix}.requests",
        "KAFKA_OUTCOMES_TOPIC": f"{prefix}.outcomes",
        "KAFKA_STATE_TOPIC": f"{prefix}.state",
        "KAFKA_DEAD_LETTERS_TOPIC": f"{prefix}.dead-letters",
    }
    admin = AdminClient({**cluster.client})
    copies = min(3, len(admin.list_topics(timeout=_BROKER_TIMEOUT).brokers))
    command = [sys.executable, "-m", "worker", "topics", "create"]
    command += ["--partitions", str(_PARTITIONS), "--replication-factor", str(copies)]
    environment = {**cluster.environment, **topics}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_TOPICS_TIMEOUT, check=False
    )
    if done.returncode != 0:
        raise ProcessFailedError(f"`topics create` ended with code {done.returncode}: {done.stderr[-1000:].strip()}")
    owned.callback(_delete, admin, list(topics.values()))
    return {**topics, "KAFKA_GROUP_ID": prefix}


def _delete(admin: AdminClient, topics: list[str]) -> None:
    for deleted in admin.delete_topics(topics, operation_timeout=_BROKER_TIMEOUT).values():
        # Nothing depends on it: a broker that keeps them keeps four small topics.
        deleted.exception(_BROKER_TIMEOUT)
