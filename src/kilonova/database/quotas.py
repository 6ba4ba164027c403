"""Changing limits; reading and counting against them is the ledger's (``database/ledger.py``)."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import ledger
from kilonova.database.resource_tables import quota_classes
from kilonova.database.tables import quota_limits
from kilonova.model.errors import Invalid

DEFAULT_CLASS = ""
"""Stands for a project in the rows of the class that every project falls back to."""

_q = quota_limits.c
_c = quota_classes.c


def set_limits(connection: Connection, project_id: str, limits: Mapping[str, int], *, force: bool = True) -> None:
    """Set some limits of a project. Without ``force``, ``Invalid`` for one below what is in use. -1 is none."""
    if not force:
        used = ledger.usages(connection, project_id)
        for resource, limit in sorted(limits.items()):
            if 0 <= limit < used.get(resource, 0):
                raise Invalid(
                    f"Quota limit {limit} for {resource} must be greater than or equal to already used and "
                    f"reserved {used[resource]}."
                )
    for resource, limit in sorted(limits.items()):
        put(connection, quota_limits, {"project_id": project_id, "resource": resource}, limit)


def put(connection: Connection, table: sa.Table, key: Mapping[str, str], limit: int) -> None:
    """Set the one limit of that key, there or not; of two who add it at once, the later word counts."""
    change = table.update().where(*(table.c[name] == value for name, value in key.items())).values(hard_limit=limit)
    if connection.execute(change).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(table.insert(), {**key, "hard_limit": limit})
    except sa.exc.IntegrityError:
        connection.execute(change)


def clear_limits(connection: Connection, project_id: str) -> None:
    """Let a project fall back to the defaults."""
    connection.execute(quota_limits.delete().where(_q.project_id == project_id))


def of_class(connection: Connection, name: str) -> dict[str, int]:
    """What was set for a class beside the default one."""
    query = sa.select(_c.resource, _c.hard_limit).where(_c.name == name)
    return {row.resource: int(row.hard_limit) for row in connection.execute(query)}


def set_class(connection: Connection, name: str, limits: Mapping[str, int]) -> None:
    """Set some limits of such a class; it is there from then on."""
    for resource, limit in sorted(limits.items()):
        put(connection, quota_classes, {"name": name, "resource": resource}, limit)
