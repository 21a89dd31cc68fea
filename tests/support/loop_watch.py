"""How long an event loop is held by one callback, in CPU time of its thread: a busy machine lengthens nothing."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

_TRIES = 5


class LoopWatch:
    """The longest callback so far, in seconds, and what it was."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.what = ""

    def note(self, seconds: float, handle: asyncio.Handle) -> None:
        if seconds > self.longest:
            self.longest, self.what = seconds, repr(handle)


def held_nowhere(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[AbstractContextManager[LoopWatch]]:
    """For a `for`: gives a watch to work under, and another one while a callback took `seconds`. Fails after the fifth.

    What the work itself holds up, it holds up each time. What a busy machine adds, with its caches cold or its own
    clock stopped, comes and goes.
    """
    for _ in range(_TRIES):
        watch = LoopWatch()
        yield watched(monkeypatch, watch)
        if 0 < watch.longest < seconds:
            return
    pytest.fail(f"{watch.longest * 1000:.0f} ms: {watch.what}")


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, watch: LoopWatch) -> Iterator[LoopWatch]:
    """Watches every callback of asyncio's own loop, tasks' steps among them. uvloop runs them out of sight.

    What there was before is kept from the garbage collector, as the worker does: a test run has far more than it.
    """
    run = asyncio.Handle._run

    def timed(self: asyncio.Handle) -> Any:
        began = time.thread_time()
        run(self)
        watch.note(time.thread_time() - began, self)

    gc.collect()
    gc.freeze()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.Handle, "_run", timed)
            yield watch
    finally:
        gc.unfreeze()
