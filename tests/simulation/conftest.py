"""What every test of histories runs in."""

from collections.abc import Iterator

import pytest

from tests.simulation.run import spare_the_collector


@pytest.fixture
def spared_collector() -> Iterator[None]:
    with spare_the_collector():
        yield
