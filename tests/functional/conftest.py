"""The network service as its users have it; a module that means another cloud by that name has a fixture of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.functional.neighbours import Neighbours, start
from tests.functional.network_api import Networking, networking, second_project


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Neighbours]:
    """Identity, image and network services over one database."""
    neighbours = await start(tmp_path)
    yield neighbours
    await neighbours.close()


@pytest.fixture
async def demo(cloud: Neighbours) -> AsyncIterator[Networking]:
    """The project ``demo``, as its member."""
    async with networking(cloud) as client:
        yield client


@pytest.fixture
async def admin(cloud: Neighbours) -> AsyncIterator[Networking]:
    """An administrator."""
    async with networking(cloud, "admin") as client:
        yield client


@pytest.fixture
async def other(cloud: Neighbours) -> AsyncIterator[Networking]:
    """A second project, as its member."""
    await second_project(cloud)
    async with networking(cloud, "other") as client:
        yield client
