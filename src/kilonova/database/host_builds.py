"""How many builds in a row have failed on each host: what the scheduler holds against it."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import hosts

_h = hosts.c
_MOST = 1_000_000  # it needs no more to be the last choice, and the column stays a small number
_HOST = _h.host == sa.bindparam("on_host")
_FAILED = hosts.update().where(_HOST, _h.failed_builds < _MOST).values(failed_builds=_h.failed_builds + 1)
_COUNT = sa.select(_h.failed_builds).where(_HOST)
_FORGET = hosts.update().where(_HOST).values(failed_builds=0)


def failed(connection: Connection, host: str) -> None:
    """A build has failed there, and not for what was to be built."""
    connection.execute(_FAILED, {"on_host": host})


def succeeded(connection: Connection, host: str) -> None:
    """A build has succeeded there: what was before counts no more. The row is locked only if there is something to forget."""
    if connection.execute(_COUNT, {"on_host": host}).scalar():
        connection.execute(_FORGET, {"on_host": host})
