"""Limits of single users within their project. Few have any: what such a user has is counted when it is asked for.

The counting is safe because whoever takes from a project's quota holds its rows of ``quota_usages`` until the commit.
"""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import quotas
from kilonova.database.outgoing import quota_of
from kilonova.database.tables import keypairs, server_groups, servers
from kilonova.database.tables import quota_user_limits as table
from kilonova.model.errors import Invalid, QuotaExceeded
from kilonova.model.server import VmState

_q, _s = table.c, servers.c
_OWN = sa.select(_q.resource, _q.hard_limit).where(
    _q.project_id == sa.bindparam("of_project"), _q.user_id == sa.bindparam("of_user")
)
_SERVERS = sa.select(_s.flavor).where(
    _s.project_id == sa.bindparam("of_project"),
    _s.user_id == sa.bindparam("of_user"),
    _s.deleted_at.is_(None),
    _s.vm_state != str(VmState.SOFT_DELETED),
)


def limits(connection: Connection, project_id: str, user_id: str) -> dict[str, int]:
    """The limits a user has of their own. -1 is none."""
    found = connection.execute(_OWN, {"of_project": project_id, "of_user": user_id})
    return {row.resource: int(row.hard_limit) for row in found}


def usages(connection: Connection, project_id: str, user_id: str) -> dict[str, int]:
    """What a user has in a project."""
    groups, keys = server_groups.c, keypairs.c
    count = sa.select(sa.func.count())
    of_groups = count.select_from(server_groups).where(groups.project_id == project_id, groups.user_id == user_id)
    of_keys = count.select_from(keypairs).where(keys.user_id == user_id)
    found = {
        "instances": 0,
        "cores": 0,
        "ram": 0,
        "server_groups": int(connection.execute(of_groups).scalar_one()),
        "key_pairs": int(connection.execute(of_keys).scalar_one()),
    }
    for row in connection.execute(_SERVERS, {"of_project": project_id, "of_user": user_id}):
        for resource, amount in quota_of(row.flavor).items():
            found[resource] += amount
    return found


def check(connection: Connection, project_id: str, user_id: str, more: Mapping[str, int] | None = None) -> None:
    """Raise ``QuotaExceeded`` if a user has more than their own limits allow, with ``more`` that is in no row yet.

    Part of the transaction that writes what they get, after it was taken from the project's quota.
    """
    own = limits(connection, project_id, user_id)
    if not own:
        return
    used = usages(connection, project_id, user_id)
    over = [name for name, limit in sorted(own.items()) if 0 <= limit < used.get(name, 0) + (more or {}).get(name, 0)]
    if over:
        raise QuotaExceeded(f"Quota exceeded for {', '.join(over)}: the user's own limits are reached.")


def set_limits(
    connection: Connection,
    project_id: str,
    user_id: str,
    amounts: Mapping[str, int],
    project: Mapping[str, int],
    *,
    force: bool,
) -> None:
    """Set some limits of a user. Without ``force``, ``Invalid`` for one below their use or above the ``project``'s."""
    used = {} if force else usages(connection, project_id, user_id)
    for resource, limit in sorted(amounts.items()):
        if 0 <= limit < used.get(resource, 0):
            raise Invalid(
                f"Quota limit {limit} for {resource} must be greater than or equal to already used and reserved "
                f"{used[resource]}."
            )
        most = project.get(resource, -1)
        if not force and most >= 0 and not 0 <= limit <= most:
            raise Invalid(f"Quota limit {limit} for {resource} must be less than or equal to {most}.")
    for resource, limit in sorted(amounts.items()):
        quotas.put(connection, table, {"project_id": project_id, "user_id": user_id, "resource": resource}, limit)


def clear(connection: Connection, project_id: str, user_id: str | None) -> None:
    """Let a user (None: all of the project) fall back to the project's limits."""
    statement = table.delete().where(_q.project_id == project_id)
    connection.execute(statement if user_id is None else statement.where(_q.user_id == user_id))
