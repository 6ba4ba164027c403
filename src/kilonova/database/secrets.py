"""Keys that every API process must share; the first one to ask makes them."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from kilonova.database.tables import secrets

_READ = sa.select(secrets.c.value).where(secrets.c.name == sa.bindparam("name"))


def shared_secret(connection: Connection, name: str, candidate: str, now: int) -> str:
    """The secret of that name; ``candidate`` becomes it if there is none yet."""
    found = connection.execute(_READ, {"name": name}).scalar()
    if found is not None:
        return str(found)
    try:
        with connection.begin_nested():
            connection.execute(secrets.insert(), {"name": name, "value": candidate, "created_at": now})
    except IntegrityError:  # another process was faster: its key is the key
        return str(connection.execute(_READ, {"name": name}).scalar_one())
    return candidate
