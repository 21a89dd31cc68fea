"""What one request costs the worker, and how long it takes: real Kafka, the simulator, one worker process.

    python -m tests.benchmarks.lifecycle [requests]

CPU is the worker's own (user and system), for a full lifecycle: create, one poll, two outcomes, exactly once; not
traced, and with every request sampled and its five spans sent to a collector. Latency is measured apart, one request at
a time on an idle worker, from sending the request's record to reading its `created` under `read_committed`; the
simulator answers at once. The machine is shared: compare figures of one run only.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer
from confluent_kafka import Message as KafkaMessage

from tests.benchmarks.load import cpu, reader
from tests.benchmarks.peers.load import warm
from tests.support.requests import request
from tests.support.spans import SpanSink
from tests.support.system import System
from tests.support.topics import create_topics
from worker.demo.broker import KafkaBroker
from worker.demo.process import WorkerProcess

_IDLE_REQUESTS = 60
_TIMEOUT = 180.0


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with KafkaBroker() as broker, tempfile.TemporaryDirectory() as folder, SpanSink() as collector:
        warm(broker.bootstrap)
        system = System(broker.bootstrap, Path(folder))
        try:
            create_topics(system.bootstrap, system.topics)
            worker = _start(system, OTEL_SDK_DISABLED="true")
            system.simulator.change({"completion_min": 0.3, "completion_max": 0.3, "busy": True})
            print(f"lifecycles                   {count}")
            _say_cost(system, worker, count, "not traced")
            ordered = sorted(_idle_latencies(system))
            print(f"idle, to `created`           p50 {statistics.median(ordered) * 1e3:.1f} ms")
            print(f"                             p90 {ordered[int(len(ordered) * 0.9)] * 1e3:.1f} ms")
            worker.stop()
            traced = _start(system, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_TRACES_SAMPLER="always_on")
            _say_cost(system, traced, count, "all sampled")
            traced.stop()
            print(f"spans sent                   {len(collector.spans)}")
        finally:
            system.close()


def _start(system: System, **environment: str) -> WorkerProcess:
    return system.start_ready_worker(
        WORKER_LOG_LEVEL="WARNING",
        WORKER_POLL_INITIAL_DELAY="1s",
        WORKER_POLL_MAX_DELAY="2s",
        WORKER_BACKLOG_LIMIT="100000",
        DINTERO_MAX_IN_FLIGHT="64",
        **environment,
    )


def _say_cost(system: System, worker: WorkerProcess, count: int, how: str) -> None:
    _throughput(system, worker, 500)  # warm: connections, token, caches
    seconds, used, calls = _throughput(system, worker, count)
    print(f"worker CPU each, {how:11s} {used / count * 1e6:.0f} us, {count / seconds:.0f} a second")
    print(f"API calls each               {calls / count:.2f}")


def _throughput(system: System, worker: WorkerProcess, count: int) -> tuple[float, float, int]:
    """Seconds, CPU seconds of the worker and calls of the API for that many requests, each of its own terminal."""
    requests = [request(f"P11223351-B{number}") for number in range(count)]
    outcomes = reader(system)
    calls = system.simulator.get("/_simulator")["requests"]
    pid = worker.get("/status")["worker"]["pid"]
    began, used = time.monotonic(), cpu(pid)
    system.send(requests)
    finals = 0
    while finals < count:
        assert time.monotonic() - began < _TIMEOUT, f"{finals} of {count} finished in {_TIMEOUT:.0f} s"
        for outcome in outcomes.consume(2_000, 0.1):
            finals += b'"status":"created"' not in (outcome.value() or b"")
    seconds, used = time.monotonic() - began, cpu(pid) - used
    outcomes.close()
    return seconds, used, system.simulator.get("/_simulator")["requests"] - calls


def _idle_latencies(system: System) -> list[float]:
    outcomes, producer = reader(system), Producer({"bootstrap.servers": system.bootstrap, "linger.ms": 0})
    latencies = []
    for number in range(_IDLE_REQUESTS):
        asked = request(f"P11223351-L{number}")
        began = time.monotonic()
        producer.produce(system.topics.requests, key=asked.key, value=asked.value, headers=list(asked.headers))
        producer.poll(0)
        while not any(outcome.key() == asked.key for outcome in _created(outcomes)):
            assert time.monotonic() - began < _TIMEOUT, "no `created`"
        latencies.append(time.monotonic() - began)
    producer.flush(10)
    outcomes.close()
    return latencies


def _created(outcomes: Consumer) -> list[KafkaMessage]:
    return [outcome for outcome in outcomes.consume(1, 1.0) if b'"status":"created"' in (outcome.value() or b"")]


if __name__ == "__main__":
    main()
