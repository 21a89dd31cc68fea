"""Whether a transport leaks: many calls with all that can befall them, and what stays in memory meanwhile.

    python -m tests.benchmarks.soak [calls]    # 500,000, and 60,000 over the fallback

One call in ten is cancelled on its way, if it is not faster; the simulator cuts one in twenty, and leaves one in five
hundred without an answer until the timeout. Memory, file descriptors and asyncio tasks are taken ten times, and once
the transport is closed. Exit code 1 when they grew after the first fifth.
"""

import asyncio
import gc
import os
import random
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import httpx
import uvloop

from tests.benchmarks.transports import IN_FLIGHT, bearer_of, poll_over, run, simulator
from worker.dintero.client import OPERATIONS
from worker.dintero.transport import build_transport

_FAULTS = ("--cut-rate", "0.05", "--hang-rate", "0.002")
_TARGET = f"{OPERATIONS}?operation_id=none"
_CANCELLED = 0.1
_CANCELLED_WITHIN = 0.01
_SAMPLES = 10
# MiB, over the first fifth: 20 bytes lost by each later call would show.
_MORE_MEMORY = 8.0
_MORE_FILES = IN_FLIGHT
_COUNTS: dict[Literal["asyncio", "httpx"], int] = {"asyncio": 500_000, "httpx": 60_000}


class Sample(NamedTuple):
    calls: int
    mebibytes: float
    files: int
    tasks: int

    def __str__(self) -> str:
        return f"{self.calls:>10,}  {self.mebibytes:8.1f}  {self.files:5}  {self.tasks:5}"


async def main() -> int:
    flat = True
    for name, count in _COUNTS.items():
        async with simulator(*_FAULTS) as (url, _):
            flat &= await _soak(name, int(sys.argv[1]) if len(sys.argv) > 1 else count, url)
    return 0 if flat else 1


async def _soak(name: Literal["asyncio", "httpx"], count: int, url: str) -> bool:
    bearer = await _patient_bearer(url)
    before = _sample(0)
    transport = build_transport(name, request_timeout=2.0)
    ends: Counter[str] = Counter()

    async def call() -> bytes:
        patience = random.random() * _CANCELLED_WITHIN if random.random() < _CANCELLED else None
        try:
            async with asyncio.timeout(patience):
                await poll_over(transport, url + _TARGET, bearer)
            ends["answered"] += 1
        except httpx.TransportError as error:
            ends[type(error).__name__] += 1
        except TimeoutError:
            ends["cancelled"] += 1
        return b""

    print(f"{name}\n{'calls':>10}  {'MiB':>8}  {'files':>5}  {'tasks':>5}\n{before}")
    samples = []
    for number in range(_SAMPLES):
        await run(call, count // _SAMPLES)
        samples.append(_sample((number + 1) * count // _SAMPLES))
        print(samples[-1], flush=True)
    await transport.aclose()
    closed = _sample(count)
    print(f"{closed}  closed; {dict(ends)}")
    early, late = samples[: _SAMPLES // 5], samples[_SAMPLES // 5 :]
    return (
        max(sample.mebibytes for sample in late) <= max(sample.mebibytes for sample in early) + _MORE_MEMORY
        and max(sample.files for sample in late) <= max(sample.files for sample in early) + _MORE_FILES
        and closed.files <= before.files
        and {sample.tasks for sample in (*samples, closed)} == {before.tasks}
    )


async def _patient_bearer(url: str) -> str:
    while True:
        with suppress(httpx.TransportError):
            return await bearer_of(url)


def _sample(calls: int) -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    mebibytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Sample(calls, mebibytes, len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks()))


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
