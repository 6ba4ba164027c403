"""Brings a database to the schema this release needs.

Alembic holds the steps (``migrations/versions/NNNN_*.py``), each expanding or contracting so that the previous
release runs on the new schema. When the recorded revision is already ours, Alembic is not even imported: that is
half a second of every start.
"""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from kilonova.database.connection import Database
from kilonova.model.errors import Misconfigured

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x6B696C6F  # any constant: one migration at a time per database


def head() -> str:
    """The newest revision: the number that the newest file's name begins with."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


async def ensure_schema(database: Database) -> bool:
    """Migrate if needed; True if something was done. Safe when several processes start at once."""
    revision = await database.run(_recorded)
    if revision == head():
        return False
    if revision is not None and revision > head():
        raise Misconfigured(
            f"The database is at revision {revision}, newer than this one ({head()}); install the newer release."
        )
    await database.run(_migrate)
    return True


def has_tables(connection: Connection) -> bool:
    """Whether it was ever brought to a schema of ours."""
    return _recorded(connection) is not None


def _recorded(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    try:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except DBAPIError:
        return None
    return None if found is None else str(found)


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    elif connection.dialect.name in ("mysql", "mariadb"):
        connection.execute(sa.select(sa.func.get_lock("kilonova.migration", 60)))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if connection.dialect.name in ("mysql", "mariadb"):
        connection.execute(sa.select(sa.func.release_lock("kilonova.migration")))
