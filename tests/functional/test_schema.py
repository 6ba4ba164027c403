"""The migrations make exactly the tables of ``database/tables.py``, on every database system, whoever comes first."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from kilonova.database.connection import Database, DatabaseSettings, open_database
from kilonova.database.schema import ensure_schema, head
from kilonova.database.tables import metadata
from kilonova.model.clock import SystemClock, system_random
from kilonova.model.errors import Misconfigured
from tests.backing_fixtures import fresh_database

SYSTEMS = [
    "sqlite",
    pytest.param("mariadb", marks=pytest.mark.distributed),
    pytest.param("postgresql", marks=pytest.mark.distributed),
]


@pytest.fixture(params=SYSTEMS)
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A fresh, empty database."""
    async with fresh_database(request, tmp_path) as url:
        yield url


def opened(url: str) -> Database:
    return open_database(DatabaseSettings(url=url), SystemClock(), system_random())


def differences(connection: Any) -> list[Any]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_migrations_make_the_tables(url: str) -> None:
    database = opened(url)
    assert await ensure_schema(database)
    assert not await ensure_schema(database)
    assert await database.run(differences) == []
    await database.close()


async def test_several_processes_may_come_at_once(url: str) -> None:
    databases = [opened(url) for _ in range(3)]
    if "sqlite" in url:
        await ensure_schema(databases[0])  # SQLite is one process's own
    await asyncio.gather(*(ensure_schema(database) for database in databases))
    assert await databases[0].run(differences) == []
    for database in databases:
        await database.close()


async def test_a_newer_schema_is_refused(url: str) -> None:
    database = opened(url)
    await ensure_schema(database)
    await database.run(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(Misconfigured, match=f"9999, newer than this one \\({head()}\\)"):
        await ensure_schema(database)
    await database.close()
