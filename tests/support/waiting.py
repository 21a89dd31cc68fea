"""Waiting for a condition rather than for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

_Found = TypeVar("_Found")
_POLL = 0.05


def until(look: Callable[[], _Found | None], timeout: float, shown: Callable[[], str] = str) -> _Found:
    """What `look` finds, once it is true. Fails after `timeout` seconds with what is `shown` then."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {shown()}"
        time.sleep(_POLL)
    return found
