"""Which servers are on which hosts, in the few columns that views of hosts need."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import actions, allocations, servers

_s = servers.c
_BUSY = sa.select(actions.c.on_host).where(actions.c.lease_until > 0, actions.c.on_host.is_not(None))


def names_by_host(connection: Connection, hosts: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Id and name of each server on each of these hosts; hosts without servers are missing."""
    found: dict[str, list[tuple[str, str]]] = {}
    query = sa.select(_s.host, _s.id, _s.name).where(_s.host.in_(list(hosts)), _s.deleted_at.is_(None))
    for row in connection.execute(query.order_by(_s.seq)):
        found.setdefault(row.host, []).append((row.id, row.name))
    return found


def busy_by_host(connection: Connection) -> dict[str, int]:
    """How many open actions each host has to do with; idle hosts are missing.

    Those with a lease are few. Counted here, as a database that groups would look at the hosts of all actions there ever were.
    """
    return Counter(connection.execute(_BUSY).scalars())


def in_use(connection: Connection, host: str) -> bool:
    """Whether a server is on the host, or has claimed something of it."""
    on_it = sa.select(_s.id).where(_s.host == host, _s.deleted_at.is_(None)).limit(1)
    claimed = sa.select(allocations.c.server_id).where(allocations.c.host == host).limit(1)
    return connection.execute(on_it).first() is not None or connection.execute(claimed).first() is not None


def flavors_on(connection: Connection, host: str) -> list[tuple[str, dict[str, Any]]]:
    """The project and the flavor of each server on a host."""
    query = sa.select(_s.project_id, _s.flavor).where(_s.host == host, _s.deleted_at.is_(None))
    return [(row.project_id, row.flavor) for row in connection.execute(query.order_by(_s.seq))]
