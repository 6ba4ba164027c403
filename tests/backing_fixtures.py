"""Private backing servers for a whole test session: started when first asked for, gone when it ends."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from kilonova.backing.mariadb import MariaDB
from kilonova.backing.postgresql import PostgreSQL
from kilonova.backing.rabbitmq import RabbitMQ
from kilonova.backing.server import PrivateServer

Server = TypeVar("Server", bound=PrivateServer)


@asynccontextmanager
async def fresh_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of an empty database of the system that is the asking fixture's parameter; removed afterwards."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'fresh.db'}"
        return
    server = request.getfixturevalue(f"{request.param}_server")
    name = f"fresh_{tmp_path.name.replace('-', '_')[-40:]}".lower()
    yield await asyncio.to_thread(server.create_database, name)
    await asyncio.to_thread(server.drop_database, name)


@pytest.fixture(scope="session")
def backing_directory() -> Iterator[Path]:
    """A directory that the servers' own accounts may enter; pytest's own temporary directories are closed to them."""
    directory = Path(tempfile.mkdtemp(prefix="kilonova-backing-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="session")
def rabbitmq_server(backing_directory: Path) -> Iterator[RabbitMQ]:
    """One RabbitMQ; tests keep apart by queue names."""
    yield from _running(RabbitMQ(backing_directory / "rabbitmq", durable=False))


@pytest.fixture(scope="session")
def mariadb_server(backing_directory: Path) -> Iterator[MariaDB]:
    """One MariaDB; a test takes a fresh database with ``create_database``."""
    yield from _running(MariaDB(backing_directory / "mariadb", durable=False))


@pytest.fixture(scope="session")
def postgresql_server(backing_directory: Path) -> Iterator[PostgreSQL]:
    """One PostgreSQL; a test takes a fresh database with ``create_database``."""
    yield from _running(PostgreSQL(backing_directory / "postgresql", durable=False))
