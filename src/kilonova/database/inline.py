"""SQLite, answering in the event loop: one transaction at a time, or all that wait in one commit.

A commit waits for the disk, a hundredth to four thousandths of a second during which nothing else is answered. So
:class:`GroupedDatabase` gathers what is asked for in one turn of the event loop and commits it together, each transaction
in a savepoint of its own; nobody is told of a value, or of an error, before the commit is on the disk. The slower the disk,
the more wait, the larger the group. Decision 0062.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

from kilonova.database.direct import DirectConnection, Plans
from kilonova.database.transactions import DatabaseSettings, P, T, Transaction, is_fleeting
from kilonova.model.errors import Unavailable

_MOST_TOGETHER = 64
"""Transactions of one commit."""

_LONGEST = 0.01
"""Seconds after which a group takes in no more, so that the event loop sees to others."""

_PAGES_OF_LOG = 4000
"""Pages of 4 KiB after which the write-ahead log is carried over; each time costs several waits for the disk."""


class InlineDatabase:
    """SQLite in WAL mode over one connection, answering in the caller's own stack."""

    dialect = "sqlite"

    def __init__(self, url: URL, settings: DatabaseSettings) -> None:
        url = url.set(drivername="sqlite+pysqlite")
        if url.database and url.database != ":memory:":
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(
            url, poolclass=StaticPool, connect_args={"check_same_thread": False, "timeout": settings.connect_timeout}
        )
        self._plans = Plans(self._engine.dialect)
        self._durable = settings.durable
        self._connection: DirectConnection | None = None
        event.listen(self._engine, "connect", self._configure)
        # A read that turns into a write would fail when another process wrote in between; IMMEDIATE waits instead.
        self._begin = "BEGIN" if settings.snapshot else "BEGIN IMMEDIATE"

    def _configure(self, raw: Any, _record: object) -> None:
        raw.isolation_level = None  # we say BEGIN ourselves; sqlite3's own guess is wrong for us
        cursor = raw.cursor()
        for pragma in (
            "journal_mode=WAL",
            f"wal_autocheckpoint={_PAGES_OF_LOG}",
            f"synchronous={'FULL' if self._durable else 'NORMAL'}",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "cache_size=-32768",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def _connected(self) -> DirectConnection:
        if self._connection is None:
            self._connection = DirectConnection(self._engine, self._plans, self._begin)
        return self._connection

    async def run(self, transaction: Transaction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._alone(lambda connection: transaction(connection, *args, **kwargs))

    def _alone(self, work: Callable[[Connection], T]) -> T:
        try:
            connection = self._connected()
            with connection.begin():
                return work(connection)
        except OperationalError as error:
            raise Unavailable(f"The database file cannot be used now: {error.orig}") from error

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()


class _Asked:
    """A transaction that waits for its turn, and who waits for it."""

    __slots__ = ("answer", "fleeting", "work")

    def __init__(self, work: Callable[[Connection], Any], answer: asyncio.Future[Any], *, fleeting: bool) -> None:
        self.work = work
        self.answer = answer
        self.fleeting = fleeting

    def tell(self, value: Any, error: BaseException | None) -> None:
        """How it ended; nobody may be waiting any more."""
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(value)
        else:
            self.answer.set_exception(error)


class GroupedDatabase(InlineDatabase):
    """The same, where those that wait share a commit. One event loop at a time."""

    def __init__(self, url: URL, settings: DatabaseSettings) -> None:
        super().__init__(url, settings)
        self._waiting: list[_Asked] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._synchronous = self._durable

    async def run(self, transaction: Transaction[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._waiting = loop, []  # whoever waited in another loop is gone with it
        answer: asyncio.Future[T] = loop.create_future()

        def work(connection: Connection) -> T:
            return transaction(connection, *args, **kwargs)

        self._waiting.append(_Asked(work, answer, fleeting=is_fleeting(transaction)))
        if len(self._waiting) == 1:
            loop.call_soon(self._settle)
        return await answer

    def _settle(self) -> None:
        waiting = [one for one in self._waiting if not one.answer.done()]  # who was cancelled has asked for nothing
        asked, self._waiting = waiting[:_MOST_TOGETHER], waiting[_MOST_TOGETHER:]
        if not asked:
            return
        outcomes: list[tuple[Any, BaseException | None]] = []
        try:
            self._be_durable(not all(one.fleeting for one in asked))
            if len(asked) > 1:
                outcomes = self._together(asked)
        except OperationalError:
            outcomes = []  # the file, not one of them: then each finds out by itself
        if not outcomes:
            outcomes = [self._outcome(partial(self._alone, one.work)) for one in asked]
        self._waiting = asked[len(outcomes) :] + self._waiting
        if self._waiting and self._loop is not None:
            self._loop.call_soon(self._settle)
        for one, (value, error) in zip(asked, outcomes, strict=False):
            one.tell(value, error)

    def _together(self, asked: list[_Asked]) -> list[tuple[Any, BaseException | None]]:
        """The outcomes of as many as there is time for; at least of the first."""
        outcomes: list[tuple[Any, BaseException | None]] = []
        connection, clock = self._connected(), asked[0].answer.get_loop().time
        began = clock()
        with connection.begin():
            for one in asked:
                outcomes.append(self._outcome(partial(connection.apart, one.work), OperationalError))
                if clock() - began > _LONGEST:
                    break
        return outcomes

    @staticmethod
    def _outcome(work: Callable[[], Any], *fatal: type[Exception]) -> tuple[Any, BaseException | None]:
        """Its value or its error. Raises only what is ``fatal``: SQLite may have given up the whole transaction then."""
        try:
            return work(), None
        except fatal:
            raise
        except Exception as error:
            return None, error

    def _be_durable(self, wanted: bool) -> None:
        """Whether the next commit waits for the disk. What it writes is lost at most with the power, never half written."""
        wanted = wanted and self._durable
        if wanted != self._synchronous:
            self._connected().say(f"PRAGMA synchronous={'FULL' if wanted else 'NORMAL'}")
            self._synchronous = wanted
