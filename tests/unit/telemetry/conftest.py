import threading
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_exporter_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The worker leaves the thread of a dead collector to the process's end. Here it would disturb other tests."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.daemon:
            thread.join(10)
