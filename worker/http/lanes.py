"""The terminals that wait longest, over all partitions of a worker, for `/status`."""

import time
from collections.abc import Mapping
from typing import Any

from worker.domain.partition import Partition

MOST = 20


def oldest_lanes(partitions: Mapping[int, Partition]) -> list[dict[str, Any]]:
    """Up to `MOST` lanes, those first whose heads were begun first."""
    lanes = [(number, *lane) for number, partition in partitions.items() for lane in partition.lanes.oldest(MOST)]
    lanes.sort(key=lambda lane: lane[1].begun_at)
    now = time.time()
    return [
        {
            "partition": number,
            "terminal_id": head.request.terminal_id,
            "state": head.state.value,
            "operation": head.request.operation,
            "message_id": head.request.message_id,
            "age_s": max(0.0, round(now - head.begun_at / 1000, 1)),
            "behind": behind,
        }
        for number, head, behind in lanes[:MOST]
    ]
