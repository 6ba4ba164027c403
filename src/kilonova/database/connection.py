"""One way to run a transaction, on three database systems.

A transaction is a *plain function* from a connection to a value (``database/servers.py`` and its neighbours
hold them). It is given to :meth:`Database.run`, which begins, calls it, commits, and calls it again if the
database says that it lost a race (deadlock, serialization failure, a key that was taken since it looked, dropped
connection before the commit). So nothing can be awaited inside a transaction, and any transaction can be repeated.

SQLite answers inline (``database/inline.py``): a statement costs microseconds, a thread hop would cost more, and the
simulator stays deterministic. MariaDB/MySQL and PostgreSQL answer through asyncio drivers.

Fails with ``Unavailable`` when the database cannot be reached or does not answer in time; after a lost
connection *during commit* the outcome is unknown, which every caller must be able to bear (it asks again).
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.engine.url import URL, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.util import greenlet_spawn

from kilonova.database.direct import DirectConnection, Plans
from kilonova.database.inline import GroupedDatabase, InlineDatabase
from kilonova.database.transactions import Database, DatabaseSettings, P, T, Transaction
from kilonova.model.clock import Clock, Random
from kilonova.model.errors import Misconfigured, Unavailable

__all__ = ["Database", "DatabaseSettings", "NetworkDatabase", "P", "T", "Transaction", "open_database"]


def open_database(settings: DatabaseSettings, clock: Clock, rng: Random) -> Database:
    """The database behind ``settings.url``. Connects lazily."""
    try:
        url = make_url(settings.url)
        backend = url.get_backend_name()
    except Exception:
        raise Misconfigured(
            "database.url is not a database URL; try sqlite:////var/lib/kilonova/kilonova.db"
        ) from None
    if backend == "sqlite":
        return InlineDatabase(url, settings) if settings.snapshot else GroupedDatabase(url, settings)
    if backend in ("mysql", "mariadb", "postgresql"):
        return NetworkDatabase(url, settings, clock, rng)
    raise Misconfigured(f"database.url names {backend!r}; sqlite, mysql, mariadb and postgresql are served")


class NetworkDatabase:
    """MariaDB/MySQL (asyncmy) or PostgreSQL (asyncpg), pooled."""

    def __init__(self, url: URL, settings: DatabaseSettings, clock: Clock, rng: Random) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine

        self.dialect = "postgresql" if url.get_backend_name() == "postgresql" else "mysql"
        driver = {"postgresql": "postgresql+asyncpg", "mysql": "mysql+asyncmy"}[self.dialect]
        self._where = f"{url.host}:{url.port or 'default port'}"
        self._settings = settings
        self._clock = clock
        self._rng = rng
        arguments: dict[str, Any] = (
            {"timeout": settings.connect_timeout, "command_timeout": settings.statement_timeout}
            if self.dialect == "postgresql"
            else {"connect_timeout": int(settings.connect_timeout) or 1, "charset": "utf8mb4"}
        )
        self._engine = create_async_engine(
            url.set(drivername=driver),
            pool_size=settings.pool_size,
            max_overflow=0,
            pool_timeout=settings.statement_timeout,
            pool_recycle=1800,
            pool_reset_on_return=None,  # run() always ends its transaction; another ROLLBACK is a round trip for nothing
            isolation_level="REPEATABLE READ" if settings.snapshot else "READ COMMITTED",
            connect_args=arguments,
        )
        self._plans = Plans(self._engine.dialect)

    async def run(self, transaction: Transaction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(1, self._settings.attempts + 1):
            once = _Once(self._begun)
            try:
                async with asyncio.timeout(self._settings.statement_timeout):
                    return await greenlet_spawn(partial(once.run, transaction, *args, **kwargs))
            except (DBAPIError, OSError, TimeoutError) as error:
                # A key that was free when the transaction looked, and taken when it wrote: now it sees who has it. Once only,
                # as a transaction that takes a key without looking would never end.
                taken = isinstance(error, IntegrityError) and attempt == 1
                again = taken or _is_race(error) or (not once.committing and _is_lost(error))
                if not again and not _is_connectivity(error):
                    raise
                if not again or attempt == self._settings.attempts:
                    raise Unavailable(f"The database at {self._where} does not answer: {_short(error)}") from error
                await self._clock.sleep(self._rng.uniform(0.5, 1.0) * 0.02 * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        with DirectConnection(self._engine.sync_engine, self._plans) as connection, connection.begin():
            yield connection

    async def close(self) -> None:
        await self._engine.dispose()


class _Once:
    """One try at a transaction. It is one greenlet from connection to commit: with the engine's own asyncio wrappers it was five
    and a task, which cost more than a statement.

    ``committing``: from then on a lost connection may hide a success. The caller asks; we must not do it twice.
    """

    def __init__(self, begun: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._begun = begun
        self.committing = False

    def run(self, transaction: Transaction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._begun() as connection:
            value = transaction(connection, *args, **kwargs)
            self.committing = True
        return value


# 1205/1213: InnoDB lock wait and deadlock; 1020: record changed since read (MariaDB 11.6+ snapshot isolation);
# 1305: a deadlock took the whole transaction, and SQLAlchemy finds its savepoint gone when it goes back to it;
# 40001/40P01: PostgreSQL serialization failure and deadlock.
_MYSQL_RACES = {1020, 1205, 1213, 1305}
_POSTGRES_RACES = {"40001", "40P01"}
# A server that is going down, has crashed, is not up yet (57P0x) or takes no more connections (53300) is away.
_POSTGRES_AWAY = {"57P01", "57P02", "57P03", "53300"}


def _is_lost(error: BaseException) -> bool:
    """Whether the connection broke: before the commit nothing has happened, during it nobody knows."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return isinstance(error, ConnectionError)
    return error.connection_invalidated


def _is_race(error: BaseException) -> bool:
    """Whether the database gave the transaction up for another: it surely did not happen and may be tried again."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return False
    if _sqlstate(error) in _POSTGRES_RACES:
        return True
    arguments: tuple[object, ...] = getattr(error.orig, "args", ())
    return bool(arguments) and arguments[0] in _MYSQL_RACES


def _is_connectivity(error: BaseException) -> bool:
    if not isinstance(error, DBAPIError):
        return True  # OSError and TimeoutError, by the caller's except clause
    return error.connection_invalidated or isinstance(error, OperationalError) or _sqlstate(error) in _POSTGRES_AWAY


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


def _short(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).splitlines()[0][:200] if str(cause) else type(cause).__name__
