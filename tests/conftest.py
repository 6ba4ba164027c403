"""Fixtures of private servers, and which event loop a test runs on."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from kilonova.simulation.virtual_time import VirtualLoop

pytest_plugins = ["tests.backing_fixtures", "tests.clouds", "tests.guests"]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What lies in ``tests/simulation`` runs in virtual time: it jumps, nothing sleeps, every run is the same."""
    if "simulation" in item.path.parts:
        return {"virtual": VirtualLoop}
    return {"real": asyncio.SelectorEventLoop}
