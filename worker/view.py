"""What a worker tells of itself: to probes, to people, and to those who scrape it."""

import os
import socket
import time
from typing import Any

from worker import __version__
from worker.dintero.api import Api
from worker.domain.partition import Partition
from worker.http.lanes import oldest_lanes
from worker.kafka.group import Group
from worker.settings import Settings
from worker.supervisor import Supervisor, SupervisorState
from worker.telemetry.metrics import AccountFigures, Metrics, PartitionFigures
from worker.telemetry.recent import Recent


class WorkerView:
    """Every answer is from memory, at once. The metrics' gauges are read through it too."""

    def __init__(self, settings: Settings, *, group: Group, api: Api, metrics: Metrics, recent: Recent) -> None:
        self._settings = settings
        self._group = group
        self._api = api
        self._metrics = metrics
        self._recent = recent
        self._started = time.monotonic()
        metrics.observe(self._partition_figures, self._account_figures)

    def ready(self) -> tuple[bool, str]:
        if not self._group.joined:
            return False, f"not a member of the group: {self._group.error or 'joining'}"
        for number, supervisor in sorted(self._group.supervisors.items()):
            if supervisor.state is not SupervisorState.RUNNING:
                return False, f"partition {number} is {supervisor.state.value}: {supervisor.error or 'restoring'}"
        return True, "ready"

    def metrics(self) -> bytes:
        return self._metrics.render()

    def status(self) -> dict[str, Any]:
        ready, reason = self.ready()
        return {
            "worker": {
                "version": __version__,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "uptime_s": round(time.monotonic() - self._started, 1),
                "group": self._settings.kafka_group_id,
                "topic": self._settings.kafka_requests_topic,
                "delivery": self._settings.worker_delivery,
                "joined": self._group.joined,
                "error": self._group.error,
                "ready": ready,
                "reason": reason,
            },
            "partitions": [self._partition_status(number) for number in sorted(self._group.supervisors)],
            "accounts": self._api.status(),
            "outcomes": self._recent.outcomes(),
            "oldest_lanes": oldest_lanes(
                {n: held.engine.partition for n, held in self._group.supervisors.items() if held.engine}
            ),
            "last_failures": self._recent.failures(),
        }

    def _partition_status(self, number: int) -> dict[str, Any]:
        supervisor = self._group.supervisors[number]
        status: dict[str, Any] = {"partition": number, "state": supervisor.state.value, "error": supervisor.error}
        engine = supervisor.engine
        if engine:
            partition = engine.partition
            status |= {
                "offset": partition.committed_position.offset,
                "lag": self._group.lag(number),
                "backlog": partition.backlog,
                "paused": partition.full,
                "lanes": len(partition.lanes),
                "queued": partition.queued,
                "creating": partition.creating,
                "pending": partition.pending,
                "oldest_pending_age_s": _oldest_pending_age(partition),
                "finished_remembered": partition.remembered,
            }
        return status

    # Both are read by the metrics exporter, possibly from another thread: from copies, in one step each.

    def _partition_figures(self) -> list[PartitionFigures]:
        return [self._figures(number, one) for number, one in list(self._group.supervisors.items())]

    def _figures(self, number: int, supervisor: Supervisor) -> PartitionFigures:
        engine = supervisor.engine
        if engine is None:
            return PartitionFigures(number, supervisor.state.value)
        partition = engine.partition
        return PartitionFigures(
            number,
            supervisor.state.value,
            backlog=partition.backlog,
            pending=partition.pending,
            queued=partition.queued,
            paused=partition.full,
            lag=self._group.lag(number),
            oldest_pending_age=_oldest_pending_age(partition) or 0.0,
        )

    def _account_figures(self) -> list[AccountFigures]:
        return [
            AccountFigures(account, told["circuit"] != "closed", told["in_flight"], told["limit"], told["waiting"])
            for account, told in self._api.status().items()
        ]


def _oldest_pending_age(partition: Partition) -> float | None:
    since = partition.oldest_pending_at
    return None if since is None else max(0.0, round(time.time() - since / 1000, 1))
