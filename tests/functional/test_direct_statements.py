"""A statement executed by its plan says and does what SQLAlchemy would have it say and do, on every database system."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import Connection, make_url

from kilonova.database.connection import Database, DatabaseSettings, open_database
from kilonova.database.direct import Rows
from kilonova.database.inline import InlineDatabase
from kilonova.database.types import Json
from kilonova.model.clock import SystemClock
from tests.backing_fixtures import fresh_database

things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=False, default=7),
    sa.Column("good", sa.Boolean, nullable=False, default=False),
    sa.Column("facts", Json, nullable=False, default=dict),
    sa.Column("note", sa.Text),
)
_t = things.c
INSERT = things.insert()
BY_NAME = sa.select(things).where(_t.name == sa.bindparam("of_name"))
UPDATE = things.update().where(_t.name == sa.bindparam("of_name"))
GROW = UPDATE.values(size=_t.size + sa.bindparam("by", type_=sa.BigInteger))
DELETE = things.delete().where(_t.name == sa.bindparam("of_name"))
WITHIN = sa.select(_t.name).where(_t.name.in_(sa.bindparam("these", expanding=True))).order_by(_t.name)
FIXED = sa.select(_t.name).where(_t.name.in_(["a", "b"]), _t.size > 1).order_by(_t.name)
MIXED = WITHIN.where(_t.size.in_([1, 7]))
SUMS = sa.select(_t.good, sa.func.sum(_t.size).label("size"), sa.func.count()).group_by(_t.good).order_by(_t.good)
SOME = sa.select(_t.name).order_by(_t.name).limit(sa.bindparam("most", type_=sa.Integer))
OFTEN = 5
"""From its fourth execution on, a statement has a plan."""


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("mariadb", marks=pytest.mark.distributed),
        pytest.param("postgresql", marks=pytest.mark.distributed),
    ]
)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A fresh database of that system, with the table of things."""
    async with fresh_database(request, tmp_path) as url:
        database = open_database(DatabaseSettings(url=url, statement_timeout=5), SystemClock(), random.Random(1))
        await database.run(things.create)
        yield database
        await database.close()


def often(connection: Connection, statement: Any, values: Any = None) -> Any:
    """What a statement brings that has been executed often: by its plan, compared with what it brought at first."""
    said: list[Any] = []
    for _ in range(OFTEN):
        result = connection.execute(statement, values)
        said.append([tuple(row) for row in result.all()])
    assert isinstance(result, Rows), "it is still executed by SQLAlchemy"
    assert said == [said[0]] * OFTEN
    assert [[type(value) for value in row] for row in said[-1]] == [[type(value) for value in row] for row in said[0]]
    return said[-1]


async def test_what_was_inserted_is_found(database: Database) -> None:
    rows = [{"name": name, "facts": {"n": [1, None]}, "note": None if name == "a" else "é€😀"} for name in "abcdefg"]

    def transaction(connection: Connection) -> None:
        for row in rows:
            assert connection.execute(INSERT, row).rowcount == 1
        assert connection.execute(
            INSERT,
            [
                {"name": "x"},
                {
                    "name": "y",
                },
            ],
        ).rowcount in (2, -1)
        for name in "abc":
            number = connection.execute(BY_NAME, {"of_name": name}).one().number
            expected = [(number, name, 7, False, {"n": [1, None]}, None if name == "a" else "é€😀")]
            assert often(connection, BY_NAME, {"of_name": name}) == expected
        found = connection.execute(BY_NAME, {"of_name": "x"}).one()
        assert (found.facts, found.good, found._mapping[_t.size], found._mapping["size"]) == ({}, False, 7, 7)
        assert found._asdict()["name"] == "x"
        assert connection.execute(BY_NAME, {"of_name": "nobody"}).first() is None

    await database.run(transaction)


async def test_a_default_is_a_new_one_for_each_row(database: Database) -> None:
    def transaction(connection: Connection) -> list[Any]:
        for name in "abcdef":
            connection.execute(INSERT, {"name": name})
        rows = connection.execute(sa.select(things)).all()
        rows[0].facts["changed"] = True
        connection.execute(INSERT, {"name": "late"})
        return [row.facts for row in connection.execute(BY_NAME, {"of_name": "late"})]

    assert await database.run(transaction) == [{}]


async def test_changes_are_counted(database: Database) -> None:
    def transaction(connection: Connection) -> None:
        connection.execute(
            INSERT,
            [
                {"name": "a"},
                {
                    "name": "b",
                },
            ],
        )
        for round_ in range(OFTEN):
            assert connection.execute(GROW, {"of_name": "a", "by": 2}).rowcount == 1
            assert connection.execute(GROW, {"of_name": "nobody", "by": 2}).rowcount == 0
            assert connection.execute(UPDATE, {"of_name": "b", "good": True, "note": str(round_)}).rowcount == 1
            assert connection.execute(UPDATE, {"of_name": "b", "facts": {"round": round_}}).rowcount == 1
        assert connection.scalar(sa.select(_t.size).where(_t.name == "a")) == 7 + 2 * OFTEN
        changed = connection.execute(BY_NAME, {"of_name": "b"}).one()
        assert (changed.good, changed.note, changed.facts) == (True, str(OFTEN - 1), {"round": OFTEN - 1})
        gone = [connection.execute(DELETE, {"of_name": "a"}).rowcount for _ in range(OFTEN)]
        assert gone == [1, 0, 0, 0, 0]

    await database.run(transaction)


async def test_lists_of_every_length(database: Database) -> None:
    def transaction(connection: Connection) -> None:
        connection.execute(INSERT, [{"name": name} for name in "abcd"])
        often(connection, WITHIN, {"these": ["a"]})
        often(connection, MIXED, {"these": ["a"]})
        for these in ([], ["d"], ["a", "c"], ["c", "a", "nobody"], list("dcba")):
            expected = sorted(name for name in these if name in "abcd")
            assert connection.execute(WITHIN, {"these": these}).scalars().all() == expected
            assert connection.execute(MIXED, {"these": these}).scalars().all() == expected
        assert often(connection, FIXED) == [("a",), ("b",)]
        many = [f"{number:03}" for number in range(100)]
        for length in range(100):
            assert connection.execute(WITHIN, {"these": ["b", *many[:length]]}).scalars().all() == ["b"]

    await database.run(transaction)


async def test_sums_and_limits(database: Database) -> None:
    def transaction(connection: Connection) -> None:
        connection.execute(INSERT, [{"name": "a", "good": True}, {"name": "b", "good": True}])
        connection.execute(INSERT, {"name": "c", "size": 5})
        assert [(good, int(size), count) for good, size, count in often(connection, SUMS)] == [
            (False, 5, 1),
            (True, 14, 2),
        ]
        assert often(connection, SOME, {"most": 2}) == [("a",), ("b",)]

    await database.run(transaction)


async def test_a_refused_row_takes_only_its_savepoint_with_it(database: Database) -> None:
    def transaction(connection: Connection) -> list[str]:
        for name in "abcde":
            connection.execute(INSERT, {"name": name})
        with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
            connection.execute(INSERT, {"name": "e"})
        connection.execute(INSERT, {"name": "f"})
        return [row.name for row in connection.execute(SOME, {"most": 10})]

    assert await database.run(transaction) == list("abcdef")


async def test_an_error_undoes_the_transaction(database: Database) -> None:
    def fill(connection: Connection) -> None:
        for name in "abcd":
            connection.execute(INSERT, {"name": name})

    def fail(connection: Connection) -> None:
        connection.execute(DELETE, {"of_name": "a"})
        connection.execute(INSERT, {"name": "b"})

    await database.run(fill)
    for _ in range(OFTEN):
        with pytest.raises(sa.exc.IntegrityError):
            await database.run(fail)
    assert await database.run(lambda connection: connection.execute(SOME, {"most": 9}).scalars().all()) == list(
        "abcd"
    )


async def test_a_missing_value_is_said(database: Database) -> None:
    def transaction(connection: Connection) -> None:
        often(connection, BY_NAME, {"of_name": "a"})
        connection.execute(BY_NAME, {"name": "a"})

    with pytest.raises(sa.exc.SQLAlchemyError, match="of_name"):
        await database.run(transaction)


# --- in memory -------------------------------------------------------------------------------------------------


def in_memory(transaction: Callable[[Connection], Any]) -> tuple[Any, InlineDatabase]:
    """A transaction on an empty database."""
    database = InlineDatabase(make_url("sqlite://"), DatabaseSettings(url="sqlite://", durable=False))

    async def run() -> Any:
        await database.run(things.create)
        value = await database.run(transaction)
        await database.close()
        return value

    return asyncio.run(run()), database


def test_statements_of_one_call_are_forgotten() -> None:
    def transaction(connection: Connection) -> None:
        for number in range(50):
            query = sa.select(things).where(_t.name == str(number))
            for _ in range(number % OFTEN + 1):
                connection.execute(query)

    _, database = in_memory(transaction)
    assert len(database._plans._known) <= 1  # the last one's name is not gone yet


@given(st.lists(st.tuples(st.text(max_size=8), st.integers(-(2**63), 2**63 - 1), st.booleans())))
def test_what_goes_in_comes_out(rows: list[tuple[str, int, bool]]) -> None:
    def transaction(connection: Connection) -> list[Any]:
        for at, (note, size, good) in enumerate(rows):
            row = {"name": str(at), "note": note, "size": size, "good": good, "facts": [note, size]}
            connection.execute(INSERT, row)
        return [
            connection.execute(BY_NAME, {"of_name": str(at)}).one()[1:]
            for at in range(len(rows))
            for _ in range(OFTEN)
        ]

    found, _ = in_memory(transaction)
    assert found == [
        (str(at), size, good, [note, size], note) for at, (note, size, good) in enumerate(rows) for _ in range(OFTEN)
    ]
