"""A world, and a client of it, in virtual time."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kilonova.database.flavors import seed_flavors
from tests.simulation.world import Client, World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Two fake hosts and all sub-services, on SQLite and the local bus."""
    world = World(tmp_path)
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    yield world
    await world.stop()


@pytest.fixture
async def client(world: World) -> Client:
    """The world's Compute API."""
    return Client(world)
