"""Rows of ``server_passwords``: what guests posted, encrypted with their user's public key. Nobody here can read them."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import server_passwords as table

LONGEST = 1020
"""Letters that a guest may post; Nova's limit."""

_p = table.c
_CLEAR = table.delete().where(_p.server_id == sa.bindparam("of_server"))


def find(connection: Connection, server_id: str) -> str:
    """What was posted; empty if nothing was, or it was cleared."""
    found = connection.execute(sa.select(_p.password).where(_p.server_id == server_id)).scalar()
    return "" if found is None else str(found)


def put(connection: Connection, server_id: str, password: str) -> bool:
    """Keep what a guest posted. False if there is something already: it is posted once."""
    if find(connection, server_id):
        return False
    try:
        with connection.begin_nested():
            connection.execute(table.insert(), {"server_id": server_id, "password": password})
    except sa.exc.IntegrityError:
        return False
    return True


def clear(connection: Connection, server_id: str) -> None:
    """Forget it; the guest's own password stays what it is."""
    connection.execute(_CLEAR, {"of_server": server_id})
