"""The brokers: one, or three that hold everything three times. Workers reach them over links, with a password."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.chaos.network import Link, Network
from worker.demo.broker import BrokerUnavailableError, KafkaBroker
from worker.demo.process import free_ports

USER = "worker"


class Cluster:
    """`bootstrap` is the direct way, for those who look on; `workers_bootstrap` leads over `links`, one a broker."""

    def __init__(self, network: Network, *, nodes: int, password: str, seed: int) -> None:
        self.brokers = [KafkaBroker() for _ in range(nodes)]
        self.links: list[Link] = []
        voters = ",".join(f"{number}@{broker.controller}" for number, broker in enumerate(self.brokers, 1))
        for number, broker in enumerate(self.brokers, 1):
            (port,) = free_ports(1)
            link = network.link(port, seed + number)
            self.links.append(link)
            broker.properties |= {"node.id": str(number), "controller.quorum.voters": voters}
            broker.properties |= _listeners(broker, port, link.port) | _password(password) | _copies(nodes)
        self.bootstrap = ",".join(broker.bootstrap for broker in self.brokers)
        self.workers_bootstrap = ",".join(f"127.0.0.1:{link.port}" for link in self.links)
        self._admin: AdminClient | None = None

    @property
    def copies(self) -> int:
        return len(self.brokers)

    @property
    def logs(self) -> Sequence[Path]:
        return [broker.log for broker in self.brokers]

    def whole(self) -> bool:
        """Every copy of every partition is in sync, and each has a leader."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        try:
            topics = self._admin.list_topics(timeout=1.0).topics.values()
        except KafkaException:
            return False
        partitions = [partition for topic in topics for partition in topic.partitions.values()]
        return all(p.leader >= 0 and len(p.isrs) == len(p.replicas) == self.copies for p in partitions)

    def keep(self, folder: Path) -> None:
        """Copies what each broker has on disk."""
        for number, broker in enumerate(self.brokers, 1):
            shutil.copytree(broker.folder, folder / f"broker-{number}", dirs_exist_ok=True)

    def __enter__(self) -> Self:
        # At the same time: a node answers nobody before a majority is there.
        try:
            with ThreadPoolExecutor() as starters:
                list(starters.map(KafkaBroker.start, self.brokers))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for broker in self.brokers:
            # Asked to end, the last ones would wait for a majority that has left.
            with suppress(BrokerUnavailableError):
                broker.kill()
            broker.stop()


def _listeners(broker: KafkaBroker, port: int, link_port: int) -> dict[str, str]:
    direct = f"PLAINTEXT://{broker.bootstrap}"
    return {
        "listeners": f"{direct},CONTROLLER://{broker.controller},WORKERS://127.0.0.1:{port}",
        "advertised.listeners": f"{direct},WORKERS://127.0.0.1:{link_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,WORKERS:SASL_PLAINTEXT",
    }


def _password(password: str) -> dict[str, str]:
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    return {
        "listener.name.workers.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.workers.plain.sasl.jaas.config": f'{module} required user_{USER}="{password}";',
    }


def _copies(nodes: int) -> dict[str, str]:
    """What is acknowledged survives the loss of any one of three."""
    copies, in_sync = str(nodes), str(nodes // 2 + 1)
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": copies,
        # Leaders go back soon to the broker that came back: one more way for them to move.
        "leader.imbalance.check.interval.seconds": "10",
    }
