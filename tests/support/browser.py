"""A real browser for one test: headless Chromium, told what to do over a pipe by its DevTools protocol."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import orjson

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE = 30.0
_MOST_BYTES = 2**25  # of one message: a screenshot is some MB
# What the browser complains of: mistakes of the script, refused loads, breaches of the policy.
_COMPLAINTS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")


class Browser:
    """One page of it. `complaints` gathers all that its console says."""

    def __init__(self, commands: asyncio.StreamWriter, answers: asyncio.StreamReader) -> None:
        self.complaints: list[dict[str, Any]] = []
        self._commands = commands
        self._answers = answers
        self._numbers = count(1)
        self._session: str | None = None

    async def open(self, url: str) -> None:
        """In a page of its own."""
        target = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self._call(f"{domain}.enable")
        await self._call("Page.navigate", url=url)

    async def look(self, width: int, height: int, scheme: str) -> None:
        """Be a screen of this size whose user likes this colour scheme."""
        await self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        await self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def evaluate(self, expression: str) -> Any:
        """The value of some JavaScript in the page."""
        given = await self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in given, given["exceptionDetails"]
        return given["result"].get("value")

    async def until(self, expression: str) -> Any:
        """The value of some JavaScript, once it is true."""
        async with asyncio.timeout(_PATIENCE):
            while not (value := await self.evaluate(expression)):  # noqa: ASYNC110 - its state, not an event of ours
                await asyncio.sleep(0.05)
        return value

    async def press(self, key: str, text: str = "") -> None:
        """A key, as from a keyboard."""
        await self._call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, text=text)
        await self._call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    async def screenshot(self) -> str:
        """All of the page as PNG, in base64."""
        shot = await self._call("Page.captureScreenshot", captureBeyondViewport=True)
        return str(shot["data"])

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(orjson.dumps(message) + b"\0")
        async with asyncio.timeout(_PATIENCE):
            await self._commands.drain()
            while True:
                told = orjson.loads((await self._answers.readuntil(b"\0"))[:-1])
                if told.get("id") == number:
                    assert "error" not in told, f"{method}: {told['error']}"
                    result: dict[str, Any] = told["result"]
                    return result
                if told.get("method") in _COMPLAINTS:
                    self.complaints.append(told["params"])


@contextlib.asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    """A browser that keeps its files in `folder`, and ends with the block."""
    (to_read, to_tell), (to_hear, to_answer) = os.pipe(), os.pipe()
    # The shell puts the pipes where Chromium looks for them.
    command = (
        f'exec "$0" "$@" 3<&{to_read} 4>&{to_answer} {to_read}<&- {to_answer}>&-',
        str(CHROMIUM),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
        *("--no-first-run", "--disable-background-networking", f"--user-data-dir={folder / 'profile'}", "about:blank"),
    )
    with (folder / "browser.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("/bin/bash", "-c", *command),
            pass_fds=(to_read, to_answer),
            env={**os.environ, "HOME": str(folder)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    os.close(to_read)
    os.close(to_answer)
    loop = asyncio.get_running_loop()
    answers = asyncio.StreamReader(limit=_MOST_BYTES)
    hearing, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(answers), os.fdopen(to_hear, "rb"))
    telling, flow = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(to_tell, "wb"))
    try:
        yield Browser(asyncio.StreamWriter(telling, flow, None, loop), answers)
    finally:
        telling.close()
        hearing.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
