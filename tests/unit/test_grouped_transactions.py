"""Transactions that share a commit on SQLite: each as if it were alone, none told before it is kept."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import Connection, make_url

from kilonova.database import inline
from kilonova.database.inline import GroupedDatabase
from kilonova.database.transactions import DatabaseSettings, fleeting
from kilonova.model.errors import Conflict, Unavailable

numbers = sa.Table("numbers", sa.MetaData(), sa.Column("number", sa.Integer, primary_key=True))
INSERT = numbers.insert()


class Counting(GroupedDatabase):
    """Counts what it says to SQLite to begin and end, and what it settles with the disk."""

    def __init__(self, url: str) -> None:
        super().__init__(make_url(url), DatabaseSettings(url=url))
        self.said: list[str] = []

    def begin_saying(self) -> None:
        """From now on."""
        self._connected().connection.dbapi_connection.set_trace_callback(self._heard)  # type: ignore[union-attr]

    def _heard(self, words: str) -> None:
        if words.split()[0] in ("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA"):
            self.said.append(words)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Counting]:
    database = Counting(f"sqlite:///{tmp_path}/numbers.db")
    await database.run(numbers.create)
    database.begin_saying()
    yield database
    await database.close()


def put(connection: Connection, number: int) -> int:
    connection.execute(INSERT, {"number": number})
    return number


def put_and_refuse(connection: Connection, number: int) -> None:
    put(connection, number)
    raise Conflict(f"{number} is refused")


def there(connection: Connection) -> list[int]:
    return list(connection.execute(sa.select(numbers.c.number).order_by(numbers.c.number)).scalars())


async def test_those_that_wait_share_a_commit(database: Counting) -> None:
    assert await asyncio.gather(*(database.run(put, number) for number in range(10))) == list(range(10))
    assert database.said == ["BEGIN IMMEDIATE", "COMMIT"]


async def test_one_alone_needs_no_savepoint(database: Counting) -> None:
    await database.run(put, 1)
    assert database.said == ["BEGIN IMMEDIATE", "COMMIT"]


async def test_a_group_is_bounded(database: Counting) -> None:
    await asyncio.gather(*(database.run(put, number) for number in range(200)))
    assert database.said == ["BEGIN IMMEDIATE", "COMMIT"] * 4
    assert await database.run(there) == list(range(200))


async def test_what_takes_long_ends_the_group(database: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "_LONGEST", -1.0)
    assert await asyncio.gather(*(database.run(put, number) for number in range(4))) == [0, 1, 2, 3]
    assert database.said == ["BEGIN IMMEDIATE", "COMMIT"] * 4


async def test_an_error_undoes_its_own_only(database: Counting) -> None:
    asked = [database.run(put, 1), database.run(put_and_refuse, 2), database.run(put, 1), database.run(put, 3)]
    first, refused, doubled, last = await asyncio.gather(*asked, return_exceptions=True)
    assert (first, last) == (1, 3)
    assert isinstance(refused, Conflict)
    assert isinstance(doubled, sa.exc.IntegrityError)
    assert await database.run(there) == [1, 3]


async def test_later_ones_of_a_group_see_earlier_ones(database: Counting) -> None:
    _, seen = await asyncio.gather(database.run(put, 1), database.run(there))
    assert seen == [1]


async def test_who_gave_up_waiting_has_asked_for_nothing(database: Counting) -> None:
    waiting = asyncio.create_task(database.run(put, 1))
    other = asyncio.create_task(database.run(put, 2))
    asyncio.get_running_loop().call_soon(waiting.cancel)
    assert await other == 2
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert 2 in await database.run(there)


async def test_only_what_must_last_waits_for_the_disk(database: Counting) -> None:
    beat = fleeting(partial(put))
    await database.run(beat, 1)
    await database.run(beat, 2)
    assert database.said == ["PRAGMA synchronous=NORMAL", *["BEGIN IMMEDIATE", "COMMIT"] * 2]
    database.said.clear()
    await asyncio.gather(database.run(beat, 3), database.run(put, 4))
    assert database.said == ["PRAGMA synchronous=FULL", "BEGIN IMMEDIATE", "COMMIT"]


async def test_a_file_that_cannot_be_used_fails_each_of_them(database: Counting) -> None:
    with sqlite3.connect(database._engine.url.database or "") as other:
        database._connected().say("PRAGMA busy_timeout=1")
        other.execute("BEGIN IMMEDIATE")
        failed = await asyncio.gather(database.run(put, 1), database.run(put, 2), return_exceptions=True)
        assert [type(error) for error in failed] == [Unavailable, Unavailable]
        other.execute("ROLLBACK")
    assert await asyncio.gather(database.run(put, 1), database.run(put, 2)) == [1, 2]


async def test_a_full_disk_in_the_middle_fails_only_what_needs_more(database: Counting) -> None:
    """SQLite gives up the whole transaction then; those that fit are done again, each by itself."""

    def fill(connection: Connection) -> None:
        raise sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    done = await asyncio.gather(
        database.run(put, 1), database.run(fill), database.run(put, 2), return_exceptions=True
    )
    assert [type(one) if isinstance(one, Exception) else one for one in done] == [1, Unavailable, 2]
    assert await database.run(there) == [1, 2]


def test_another_loop_begins_anew(tmp_path: Path) -> None:
    database = Counting(f"sqlite:///{tmp_path}/numbers.db")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(database.run(numbers.create))
    left_behind = loop.create_task(database.run(put, 1))
    loop.call_soon(loop.stop)  # it asks in the turn that is the last
    loop.run_forever()
    left_behind.get_coro().close()
    loop.close()

    async def again() -> Any:
        await database.run(put, 2)
        return await database.run(there)

    assert asyncio.run(again()) == [2]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_a_group_is_as_one_after_the_other(wanted: list[tuple[int, bool]]) -> None:
    expected: list[Any] = []
    kept: set[int] = set()
    for number, refused in wanted:
        expected.append("doubled" if number in kept else "refused" if refused else number)
        if expected[-1] == number:
            kept.add(number)

    async def run() -> tuple[list[Any], list[int]]:
        database = GroupedDatabase(make_url("sqlite://"), DatabaseSettings(url="sqlite://"))
        await database.run(numbers.create)
        kinds: dict[bool, Callable[..., Any]] = {True: put_and_refuse, False: put}
        asked = (database.run(kinds[refused], number) for number, refused in wanted)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        left = await database.run(there)
        await database.close()
        return answers, left

    answers, left = asyncio.run(run())
    names: dict[type, str] = {sa.exc.IntegrityError: "doubled", Conflict: "refused"}
    assert [names.get(type(answer), answer) for answer in answers] == expected
    assert left == sorted(kept)
