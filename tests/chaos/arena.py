"""The system under attack: workers that reach brokers and API only over links, with secrets that must show nowhere."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.chaos.cluster import USER, Cluster
from tests.chaos.network import Network
from tests.support.system import System

CLIENT_SECRET = "api-Pa55-b0d1e6c7"
BROKER_PASSWORD = "sasl-Pa55-4f2a9c3e"
SECRETS = re.compile(rf"{CLIENT_SECRET}|{BROKER_PASSWORD}|simulated\.[0-9a-f]{{32}}".encode())
"""What is to be kept, tokens of the simulated API included."""

TOKEN_LIFETIME = 8
"""Seconds: short, so that a refused renewal is felt."""

_TOPICS_TIMEOUT = 60.0
_SETTINGS = {
    "WORKER_SHUTDOWN_TIMEOUT": "5s",
    "DINTERO_REQUEST_TIMEOUT": "3s",
    "DINTERO_CLIENT_SECRET": CLIENT_SECRET,
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_MECHANISM": "PLAIN",
    "KAFKA_SASL_USERNAME": USER,
    "KAFKA_SASL_PASSWORD": BROKER_PASSWORD,
    "OTEL_SDK_DISABLED": "true",
}
_API = {
    "completion_min": 0.1,
    "completion_max": 1.0,
    "fail_rate": 0.03,
    "timeout_rate": 0.03,
    "token_lifetime": TOKEN_LIFETIME,
}


class Arena(System):
    """The cluster must run. `api` is the link to the API."""

    def __init__(self, cluster: Cluster, network: Network, folder: Path, *, seed: int) -> None:
        super().__init__(cluster.bootstrap, folder)
        self.folder = folder
        self.cluster = cluster
        self.api = network.link(urlsplit(self.simulator.url).port or 0, seed)

    def prepare(self, partitions: int) -> None:
        """The API as it is on a good day, and the topics, made as a user makes them."""
        self.simulator.wait_until_ready()
        self.simulator.change(_API)
        command = [sys.executable, "-m", "worker", "topics", "create", "--partitions", str(partitions)]
        command += ["--replication-factor", str(self.cluster.copies)]
        made = subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, timeout=_TOPICS_TIMEOUT, check=False
        )
        assert made.returncode == 0, made.stderr

    def environment(self, **settings: str) -> dict[str, str]:
        ways = {
            "KAFKA_BOOTSTRAP_SERVERS": self.cluster.workers_bootstrap,
            "DINTERO_BASE_URL": f"http://127.0.0.1:{self.api.port}",
        }
        return super().environment(**{**_SETTINGS, **ways, **settings})
