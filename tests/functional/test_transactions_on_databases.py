"""Transactions on the networked databases: bounded in time, given up cleanly; a step's lease and its ports in one of them."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import checks
from kilonova.database.connection import Database, DatabaseSettings, open_database
from kilonova.database.flavors import seed_flavors
from kilonova.model.clock import SystemClock
from kilonova.model.errors import Unavailable
from kilonova.network import EmbeddedNetworks, NetworkSettings
from tests.backing_fixtures import fresh_database
from tests.interleaving import Stop
from tests.simulation.world import Client, World

pytestmark = pytest.mark.distributed

_SLEEP = {"mysql": "SELECT sleep(8)", "postgresql": "SELECT pg_sleep(8)"}


class Networked(World):
    """A world with the embedded network service, whose ports are in the same database."""

    def make_networks(self) -> Any:
        return EmbeddedNetworks(self.database, self.clock, self.ids, NetworkSettings())


@pytest.fixture(params=["mariadb", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A fresh database of that system."""
    async with fresh_database(request, tmp_path) as url:
        yield url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """One connection, and little patience."""
    settings = DatabaseSettings(url=url, pool_size=1, statement_timeout=0.5)
    database = open_database(settings, SystemClock(), random.Random(1))
    await database.run(_make)
    yield database
    await database.close()


def _make(connection: Connection) -> None:
    connection.execute(sa.text("CREATE TABLE kept (number INTEGER)"))


def _count(connection: Connection) -> int:
    return int(connection.execute(sa.text("SELECT count(*) FROM kept")).scalar_one())


def _write_and_hang(connection: Connection, dialect: str) -> None:
    connection.execute(sa.text("INSERT INTO kept VALUES (1)"))
    connection.execute(sa.text(_SLEEP[dialect]))


async def test_a_statement_that_hangs_is_given_up(database: Database) -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await database.run(_write_and_hang, database.dialect)
    assert asyncio.get_running_loop().time() - began < 4
    assert await database.run(_count) == 0  # over a new connection: nothing of it was kept


async def test_a_caller_that_is_cancelled_leaves_nothing(database: Database) -> None:
    hanging = asyncio.create_task(database.run(_write_and_hang, database.dialect))
    await asyncio.sleep(0.2)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert await database.run(_count) == 0


async def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(sa.text("INSERT INTO kept VALUES (1)"))
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        await database.run(fail)
    assert await database.run(_count) == 0


async def test_a_key_that_is_taken_between_look_and_write_is_seen(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find it free; the second waits for the first at the key, and looks again."""
    database = open_database(DatabaseSettings(url=url), SystemClock(), random.Random(1))
    await database.run(
        lambda connection: connection.execute(sa.text("CREATE TABLE kept (number INTEGER PRIMARY KEY)"))
    )

    def keep(connection: Connection) -> str:
        if _count(connection):
            return "it is there"
        connection.execute(sa.text("INSERT INTO kept VALUES (1)"))
        kept.mark()
        return "kept"

    kept = SimpleNamespace(mark=lambda: None)
    stop = Stop(monkeypatch, kept, "mark")
    assert await stop.overtaken(database, database.run(keep), database.run(keep)) == ["kept", "it is there"]
    with pytest.raises(sa.exc.IntegrityError):
        await database.run(lambda connection: connection.execute(sa.text("INSERT INTO kept VALUES (1)")))
    await database.close()


async def test_many_builds_and_deletes_leave_no_port(url: str, tmp_path: Path) -> None:
    """Leases with ports, deletes and releases lock the same rows; whoever loses is repeated."""
    world = Networked(tmp_path, clock=SystemClock(), database={"url": url})
    await world.start()
    try:
        await world.database.run(seed_flavors, world.clock.now())
        await world.networks.bootstrap("p0")
        client = Client(world)
        ids = await asyncio.gather(*(client.boot(f"s{number}") for number in range(10)))
        deleted = await asyncio.gather(*(client("DELETE", f"/servers/{server_id}") for server_id in ids[:5]))
        assert {answer.status_code for answer in deleted} == {204}
        addresses = set()
        for server_id in ids[5:]:
            shown = await client.until(server_id, "ACTIVE")
            addresses |= {entry["addr"] for entry in shown["addresses"]["private"]}
        assert len(addresses) == 5
        for server_id in ids[5:]:
            assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
        for server_id in ids:
            await client.until_gone(server_id)
        assert await world.database.run(checks.check, world.clock.now(), 0) == []
        for server_id in ids:
            assert await world.networks.ports_of(server_id) == []
    finally:
        await world.stop()
