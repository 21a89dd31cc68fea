"""In the place of what a test does not look at: metrics, or the API of an engine whose commits are looked at."""

from collections.abc import Callable


class Unmeasured:
    """Has every method, and none does anything."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None
