"""What one call costs over each transport, and what the simulator's answer costs.

    python -m tests.benchmarks.transports

CPU of this process, all of its threads, for a poll that finds one operation: 50 in flight, uvloop, HTTP on loopback,
medians of several turns each. The transports take turns, as the machine is shared. The simulator's CPU is that of its
own process, for polls and for creates.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
import orjson
import uvloop
from pyreqwest.client import Client, ClientBuilder

from tests.benchmarks.load import cpu
from worker.dintero.client import OPERATIONS
from worker.dintero.transport import Transport, build_transport

IN_FLIGHT = 50
_CALLS = 1_000
_SLOW = ("our fallback", "httpx.AsyncClient")
"""Of these fewer: while they took their turn, the server would close the others' idle connections."""
_TURNS = 7
_ACCOUNT = "P11223351"
_BODY = orjson.dumps({"terminal_id": f"{_ACCOUNT}-T0013", "operation": "end_of_day"})

Call = Callable[[], Awaitable[bytes]]


async def main() -> None:
    async with simulator() as (url, pid):
        bearer = await bearer_of(url)
        headers = {"Authorization": bearer, "Content-Type": "application/json"}
        async with httpx.AsyncClient() as client:
            created = await client.post(url + OPERATIONS, content=_BODY, headers=headers)
            target = f"{OPERATIONS}?operation_id={created.json()['id']}"
            ours = build_transport("asyncio", request_timeout=30)
            stock = build_transport("httpx", request_timeout=30)
            alone = ClientBuilder().build()
            parsed = httpx.URL(url + target)
            calls: dict[str, Call] = {
                "pyreqwest alone": lambda: _alone(alone, url + target, bearer),
                "our transport": lambda: poll_over(ours, url + target, bearer),
                "the same as httpx's": lambda: _as_httpx(ours, parsed, bearer),
                "our fallback": lambda: poll_over(stock, url + target, bearer),
                "httpx.AsyncClient": lambda: _stock(client, url + target, bearer),
            }
            costs: dict[str, list[float]] = {name: [] for name in calls}
            for turn in range(_TURNS + 1):
                for name, call in calls.items():
                    count = _CALLS // 5 if name in _SLOW else _CALLS
                    began = time.process_time()
                    await run(call, count)
                    if turn:  # the first warms up
                        costs[name].append((time.process_time() - began) / count)
            _print(costs)
            print(f"simulator, a poll       {await _served(pid, calls['our transport']):8.0f} a second of its CPU")
            print(f"simulator, a create     {await _served(pid, lambda: _create(ours, url, bearer)):8.0f}")
            await ours.aclose()
            await stock.aclose()
            await alone.close()


def _print(costs: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(each) for name, each in costs.items()}
    for name, median in medians.items():
        print(f"{name:<22}  {median * 1e6:8.0f} us a call, {median / medians['our transport']:5.1f} times ours")


async def run(call: Call, count: int) -> None:
    """So many calls, `IN_FLIGHT` at once."""
    left = iter(range(count))

    async def some() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(some() for _ in range(IN_FLIGHT)))


async def _served(pid: int, call: Call) -> float:
    """Requests for each second of the simulator's CPU."""
    await run(call, _CALLS)
    began = cpu(pid)
    await run(call, 10 * _CALLS)
    return 10 * _CALLS / (cpu(pid) - began)


async def poll_over(transport: Transport, url: str, bearer: str) -> bytes:
    return (await transport.send("GET", url, [("Authorization", bearer)], b"")).body


async def _as_httpx(transport: Transport, url: httpx.URL, bearer: str) -> bytes:
    request = httpx.Request("GET", url, headers=httpx.Headers({"Authorization": bearer}), stream=httpx.ByteStream(b""))
    return await (await transport.handle_async_request(request)).aread()


async def _create(transport: Transport, url: str, bearer: str) -> bytes:
    key = str(uuid4())
    body = orjson.dumps({"terminal_id": f"{_ACCOUNT}-{key}", "operation": "end_of_day"})
    headers = [("Authorization", bearer), ("Idempotency-Key", key)]
    return (await transport.send("POST", url + OPERATIONS, headers, body)).body


async def _stock(client: httpx.AsyncClient, url: str, bearer: str) -> bytes:
    return (await client.get(url, headers={"Authorization": bearer})).content


async def _alone(client: Client, url: str, bearer: str) -> bytes:
    response = await client.get(url).header("Authorization", bearer).build().send()
    return bytes(await response.bytes())


async def bearer_of(url: str) -> str:
    asked = {"grant_type": "client_credentials", "audience": f"https://api.dintero.com/v1/accounts/{_ACCOUNT}"}
    async with httpx.AsyncClient(auth=("client", "secret")) as client:
        answer = await client.post(f"{url}/v1/accounts/{_ACCOUNT}/auth/token", json=asked)
    return f"Bearer {answer.json()['access_token']}"


@asynccontextmanager
async def simulator(*flags: str) -> AsyncIterator[tuple[str, int]]:
    """The simulator in a process of its own: its address and process id."""
    command = (sys.executable, "-m", "worker", "simulate", "--port", "0", *flags)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            first = (await process.stdout.readline()).decode()
        yield first.split()[-1], process.pid
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    uvloop.run(main())
