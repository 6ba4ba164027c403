"""A database that loses connections: SQLite in memory, between two stretches of network.

``Storage`` is the one database of a world (and, emptied, of the next: its schema and compiled statements are kept).
``SimulatedDatabase`` is a process's way to it. What goes wrong: it cannot be reached, it refuses, it takes its
time, or the connection is lost after the commit, so that nobody knows the outcome.
"""

import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection, make_url

from kilonova.database.inline import InlineDatabase
from kilonova.database.tables import metadata
from kilonova.database.transactions import Database, DatabaseSettings, P, T, Transaction
from kilonova.model.errors import KilonovaError, Unavailable
from kilonova.simulation.loop import Process, SimulatedClock, SimulatedLoop
from kilonova.simulation.trace import Trace
from kilonova.simulation.weather import Weather


class Storage:
    """SQLite in memory."""

    def __init__(self) -> None:
        self.inner = InlineDatabase(make_url("sqlite://"), DatabaseSettings(url="sqlite://", durable=False))
        self._kept = sqlite3.connect(":memory:")
        self._empty = True

    async def prepare(self, fill: Callable[[Connection], None]) -> None:
        """Schema and content that every world begins with: made once, then only brought back."""
        if self._empty:
            await self.inner.run(metadata.create_all)
            await self.inner.run(fill)
            self._raw().backup(self._kept)
            self._empty = False
        else:
            self._kept.backup(self._raw())

    def look(self, question: Callable[[Connection], T]) -> T:
        """A read that is no part of the world: it takes no time and never fails."""
        connection = self.inner._connection
        assert connection is not None
        with connection.begin():
            return question(connection)

    def _raw(self) -> Any:
        connection = self.inner._connection
        assert connection is not None
        return connection.connection.driver_connection


class Roads:
    """Whether the database can be reached: by anybody, and by whom not."""

    def __init__(self) -> None:
        self.up = True
        self.cut: set[str] = set()

    def open_to(self, process: str) -> bool:
        """Whether this process reaches it."""
        return self.up and process not in self.cut


class SimulatedDatabase(Database):
    """A process's connection pool."""

    dialect = "sqlite"

    def __init__(
        self,
        storage: Storage,
        roads: Roads,
        loop: SimulatedLoop,
        process: Process,
        clock: SimulatedClock,
        weather: Weather,
        trace: Trace,
    ) -> None:
        self._inner = storage.inner
        self._roads = roads
        self._loop = loop
        self._process = process
        self._clock = clock
        self._weather = weather
        self._trace = trace

    async def run(self, transaction: Transaction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        weather, name = self._weather, getattr(transaction, "__name__", "transaction")
        await self._clock.sleep(weather.latency())
        if not self._roads.open_to(self._process.name):
            await self._clock.sleep(weather.source.random())
            self._note(name, "unreachable")
            raise Unavailable("the database cannot be reached")
        if weather.strikes("db.refused"):
            self._note(name, "refused")
            raise Unavailable("the database refused the statement")
        if weather.strikes("db.slow"):
            await self._clock.sleep(weather.source.expovariate(0.5))
        value = await self._commit(transaction, name, *args, **kwargs)
        await self._clock.sleep(weather.latency())
        if weather.strikes("db.answer-slow"):
            await self._clock.sleep(weather.source.expovariate(0.5))
        if weather.strikes("db.answer-lost"):
            self._note(name, "answer lost")
            raise Unavailable("the connection to the database was lost during the commit")
        return value

    async def _commit(self, transaction: Transaction[P, T], name: str, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            value = await self._inner.run(transaction, *args, **kwargs)
        except KilonovaError as error:
            self._note(name, f"{type(error).__name__}: {error.message}")
            raise
        except Exception as error:
            self._note(name, type(error).__name__)
            raise
        self._note(name, "committed")
        return value

    def _note(self, name: str, outcome: str) -> None:
        self._trace.add(self._loop.time(), self._process.name, f"db {outcome}", name)

    async def close(self) -> None:
        """The storage outlives it."""
