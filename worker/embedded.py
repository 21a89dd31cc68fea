"""The worker inside a program of your own: `from worker import Worker, load_settings`."""

import asyncio
from types import TracebackType
from typing import Any, Self

from worker.runtime import Runtime
from worker.settings import Settings, SettingsError
from worker.view import WorkerView


class StartError(Exception):
    """The worker could not start, and nothing of it is left: a line for each reason. Never holds a secret."""


class Worker:
    """One worker as a guest of the running event loop: `async with` starts and stops it.

    It serves no HTTP and leaves signals, logging, the event loop and the garbage collector to the program. Several
    can run in one program, as members of one group or of several.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runtime: Runtime | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, timeout: float = 30.0) -> None:
        """Returns when the brokers answer and the topics are fit; partitions are taken up after that, see `ready`.

        Raises StartError: for credentials that cannot be read, unfit topics, and brokers silent for `timeout` seconds.
        A worker is started once.
        """
        if self._runtime is not None:
            raise StartError("this worker was started before: make another")
        try:
            self._runtime = runtime = Runtime(self._settings)
        except SettingsError as error:
            raise StartError(str(error)) from None
        self._task = task = asyncio.create_task(_run(runtime), name="worker")
        verified = asyncio.create_task(runtime.verified.wait())
        started = False
        try:
            await asyncio.wait([task, verified], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            started = runtime.verified.is_set()
        finally:
            verified.cancel()
            if not started:  # also cancelled as it succeeded: nobody has a worker to stop
                _, why = runtime.view.ready()
                runtime.stop()
                await asyncio.wait([task])
        if not started:
            raise StartError(str(task.exception() or f"{why}, for {timeout:g} s")) from task.exception()

    async def wait(self) -> None:
        """Returns when the worker has stopped. Brokers or an API that fail do not end it; raises what did."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Takes nothing more in, settles and commits what is in flight, leaves the group. Harmless twice.

        Within the shutdown timeout of the settings, and up to 20 s more while brokers or a collector hang. Cancelled,
        it waits for no more answers. Raises what had ended the worker before.
        """
        if self._runtime is None or self._task is None:
            return
        self._runtime.stop()
        try:
            await self.wait()
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise

    @property
    def ready(self) -> bool:
        """Whether it is a member of its group and works on every partition it has been given."""
        return self._runtime is not None and self._runtime.view.ready()[0]

    def status(self) -> dict[str, Any]:
        """What `/status` shows: `worker`, `partitions` and `accounts`. Answers at once, from memory."""
        return self._view.status()

    def metrics(self) -> bytes:
        """What `/metrics` shows, as Prometheus text. Answers at once, from memory."""
        return self._view.metrics()

    @property
    def _view(self) -> WorkerView:
        if self._runtime is None:
            raise RuntimeError("the worker was not started")
        return self._runtime.view


async def _run(runtime: Runtime) -> None:
    try:
        await runtime.run()
    finally:
        await runtime.aclose()
