"""The group of the tests of membership and steering."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.kafka.support import World


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    # What would settle does, on a machine that stands still for a while too.
    monkeypatch.setattr("worker.kafka.group._SETTLE", 60.0)
    world = World()
    monkeypatch.setattr(world.group, "_new_consumer", lambda: world.consumer)
    yield world
    world.group.stop()
    if world.group._patience:
        world.group._patience.cancel()
