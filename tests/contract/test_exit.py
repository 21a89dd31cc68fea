"""A process that ends right after its last call ends well, though pyreqwest's thread outlives its client."""

import asyncio
import sys
from collections import Counter

from tests.contract.scripted import response, scripted

TIMES = 20
# As the worker does, on uvloop: asyncio's own loop lets go of the GIL while that thread wakes it up, and in one of ten
# times such a process then ended before the thread was through, by an abort.
PROGRAM = """
import sys
import httpx, uvloop
from worker.dintero.transport import build_transport

async def main():
    transport = build_transport("pyreqwest", request_timeout=60)
    request = httpx.Request("GET", sys.argv[1], stream=httpx.ByteStream(b""))
    assert (await transport.handle_async_request(request)).status_code == 200
    await transport.aclose()

uvloop.run(main())
"""


async def test_a_process_ends_well_right_after_its_last_call() -> None:
    async with scripted(response(200, b"{}", "Connection: close")) as server:
        codes: Counter[int | None] = Counter()

        async def some() -> None:
            for _ in range(TIMES // 2):
                process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, server.url)
                codes[await process.wait()] += 1

        await asyncio.gather(some(), some())
    assert codes == {0: TIMES}
