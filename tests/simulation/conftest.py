"""A world, and a client of it, in virtual time."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.simulation.world import Client, World, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Two fake hosts and all sub-services, on SQLite and the local bus."""
    async with opened(tmp_path) as (world, _):
        yield world


@pytest.fixture
async def client(world: World) -> Client:
    """The world's Compute API."""
    return Client(world)
