"""When a networked database's transaction is run again: only if it surely did not happen."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from kilonova.database.connection import DatabaseSettings, NetworkDatabase
from kilonova.model.clock import SystemClock
from kilonova.model.errors import Unavailable


class Breaking:
    """An engine whose connection breaks ``at`` the statement or the commit, once."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.runs = 0

    @contextmanager
    def begin(self) -> Iterator[Any]:
        yield self
        self._break("commit")

    def work(self) -> str:
        self.runs += 1
        self._break("statement")
        return "done"

    def _break(self, where: str) -> None:
        if self.at == where:
            self.at = ""
            raise OperationalError("COMMIT", {}, ConnectionResetError("gone"), connection_invalidated=True)


def database(engine: Breaking) -> NetworkDatabase:
    url = "postgresql://nobody@127.0.0.1/none"
    made = NetworkDatabase(make_url(url), DatabaseSettings(url=url), SystemClock(), random.Random(1))
    made._begun = engine.begin  # type: ignore[method-assign]
    return made


async def test_a_connection_lost_before_the_commit_is_bridged() -> None:
    engine = Breaking("statement")
    assert await database(engine).run(Breaking.work) == "done"  # type: ignore[arg-type]
    assert engine.runs == 2


async def test_a_connection_lost_during_the_commit_is_not_repeated() -> None:
    engine = Breaking("commit")
    with pytest.raises(Unavailable):
        await database(engine).run(Breaking.work)  # type: ignore[arg-type]
    assert engine.runs == 1


class NotUpYet(Exception):
    """What PostgreSQL says while it recovers from a crash, as its driver passes it on."""

    sqlstate = "57P03"


class Starting(Breaking):
    """An engine whose server refuses every connection for now."""

    @contextmanager
    def begin(self) -> Iterator[Any]:
        self.runs += 1
        raise DBAPIError("", {}, NotUpYet("the database system is not yet accepting connections"))
        yield self


async def test_a_server_that_is_only_just_starting_is_away() -> None:
    """Found by chaos: it was taken for a bug of ours, and ended the sweep of the nova-conductor that heard it."""
    engine = Starting("")
    with pytest.raises(Unavailable, match="not yet accepting"):
        await database(engine).run(lambda connection: "done")
    assert engine.runs == 1
