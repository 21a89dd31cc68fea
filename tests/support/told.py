"""What a worker tells of itself: the events of its log, and what the kernel counts for it."""

from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from worker.demo.process import WorkerProcess


def events(worker: WorkerProcess, *names: str) -> list[dict[str, Any]]:
    """The events of these names that it has logged, in their order."""
    lines = worker.log.read_bytes().splitlines()
    told = (orjson.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}"))
    return [event for event in told if event["event"] in names]


def seconds_to_restore(worker: WorkerProcess) -> dict[int, float]:
    """For each partition it has restored, the time since the assignment of partitions before that."""
    assigned_at, found = 0.0, {}
    for event in events(worker, "partitions_assigned", "partition_restored"):
        at = datetime.fromisoformat(event["timestamp"]).timestamp()
        if event["event"] == "partitions_assigned":
            assigned_at = at
        else:
            found[event["partition"]] = at - assigned_at
    return found


def memory_mib(worker: WorkerProcess, field: str = "VmHWM") -> float:
    """Its memory as /proc/pid/status has it: by default the most it has ever used."""
    pid = worker.get("/status")["worker"]["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024
