"""How long an event loop is held by one callback, in CPU time of its thread: a busy machine lengthens nothing."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class LoopWatch:
    """The longest callback so far, in seconds, and what it was."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.what = ""

    def note(self, seconds: float, handle: asyncio.Handle) -> None:
        if seconds > self.longest:
            self.longest, self.what = seconds, repr(handle)


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopWatch]:
    """Watches every callback of asyncio's own loop, tasks' steps among them. uvloop runs them out of sight.

    What there was before is kept from the garbage collector, as the worker does: a test run has far more than it.
    """
    watch = LoopWatch()
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
