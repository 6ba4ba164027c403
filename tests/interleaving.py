"""Two transactions at the same moment: the first stands at a chosen point, with what it has read and locked, while the second
comes; it goes on when the second is done, or waits for it. For the databases that do not serialise transactions.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.util import await_only

from kilonova.database.connection import Database
from kilonova.database.flavors import seed_flavors
from kilonova.database.schema import ensure_schema
from kilonova.model.clock import SystemClock
from kilonova.network import EmbeddedNetworks, NetworkSettings
from tests.backing_fixtures import fresh_database
from tests.simulation.world import World

_WAITING = {
    "mysql": "SELECT variable_value > 0 FROM information_schema.global_status "
    "WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'",
    "postgresql": "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
    "AND datname = current_database()",
}


class Stop:
    """The point at which the first transaction stands: where it comes to a function, or has just left it."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: Any, name: str, *, behind: bool = False) -> None:
        self._reached = asyncio.Event()
        self._on = asyncio.Event()
        function: Callable[..., Any] = getattr(owner, name)

        def stopping(*args: Any, **kwargs: Any) -> Any:
            if not behind:
                self._stand()
            value = function(*args, **kwargs)
            if behind:
                self._stand()
            return value

        patch.setattr(owner, name, stopping)

    def _stand(self) -> None:
        """The first that comes here; a transaction is one greenlet, so it can wait where it could not await."""
        if not self._reached.is_set():
            self._reached.set()
            await_only(self._on.wait())

    async def overtaken(
        self, database: Database, first: Coroutine[Any, Any, Any], second: Coroutine[Any, Any, Any]
    ) -> list[Any]:
        """What becomes of the two, values or exceptions."""
        one = asyncio.create_task(first)
        await self._either(one, self._reached.wait())
        assert self._reached.is_set(), f"the first one never came to the point: {one}"
        two = asyncio.create_task(second)
        try:
            async with asyncio.timeout(10):
                while not two.done() and not await database.run(_anybody_waits, database.dialect):
                    await asyncio.sleep(0.05)
        finally:
            self._on.set()
        return await asyncio.gather(one, two, return_exceptions=True)

    async def _either(self, one: asyncio.Task[Any], reached: Awaitable[Any]) -> None:
        there = asyncio.ensure_future(reached)
        await asyncio.wait({one, there}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        there.cancel()


def _anybody_waits(connection: Connection, dialect: str) -> bool:
    return bool(connection.execute(sa.text(_WAITING[dialect])).scalar())


class Still(World):
    """A cloud of which nothing runs by itself: its services answer when a test asks them. Ports are in the same database."""

    networks: EmbeddedNetworks

    def make_networks(self) -> EmbeddedNetworks:
        return EmbeddedNetworks(self.database, self.clock, self.ids, NetworkSettings())


@asynccontextmanager
async def still_world(request: pytest.FixtureRequest, directory: Path, **options: object) -> AsyncIterator[Still]:
    """One on a fresh database of the system that is the asking fixture's parameter."""
    async with fresh_database(request, directory) as url:
        world = Still(directory, clock=SystemClock(), database={"url": url}, **options)
        await ensure_schema(world.database)
        await world.database.run(seed_flavors, world.clock.now())
        await world.networks.bootstrap("p0")
        await world.bus.start()
        yield world
        await world.bus.close()
        await world.database.close()
