"""Rows of ``resource_classes``: the classes operators made. The standard ones are in ``model/inventory.py``."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import host_inventories, resource_classes
from kilonova.model.errors import Conflict
from kilonova.model.inventory import STANDARD_CLASSES

_c, _i = resource_classes.c, host_inventories.c


def custom(connection: Connection) -> list[str]:
    """All of them, by name."""
    return list(connection.execute(sa.select(_c.name).order_by(_c.name)).scalars())


def exists(connection: Connection, name: str, *, keep: bool = False) -> bool:
    """Whether there is such a class, standard or not; ``keep`` it until the transaction ends."""
    if name in STANDARD_CLASSES:
        return True
    query = sa.select(_c.name).where(_c.name == name)
    return connection.execute(query.with_for_update(read=True) if keep else query).first() is not None


def make(connection: Connection, name: str, now: int) -> bool:
    """A custom class; False if it is there."""
    try:
        with connection.begin_nested():
            connection.execute(resource_classes.insert(), {"name": name, "created_at": now})
    except sa.exc.IntegrityError:
        return False
    return True


def remove(connection: Connection, name: str) -> bool:
    """Forget a custom class; False if there is none. Raises ``Conflict`` while a host has any of it."""
    held = connection.execute(sa.select(_c.name).where(_c.name == name).with_for_update()).first()
    if held is None:
        return False
    if connection.execute(sa.select(_i.host).where(_i.resource_class == name).limit(1)).first() is not None:
        raise Conflict(f"Resource class {name} is in use in inventory.")
    connection.execute(resource_classes.delete().where(_c.name == name))
    return True


def rename(connection: Connection, name: str, other: str) -> None:
    """Call a custom class otherwise, wherever it is. Raises ``Conflict`` if the other name is taken."""
    try:
        with connection.begin_nested():
            connection.execute(resource_classes.update().where(_c.name == name).values(name=other))
    except sa.exc.IntegrityError:
        raise Conflict(f"Resource class already exists: {other}") from None
    connection.execute(host_inventories.update().where(_i.resource_class == name).values(resource_class=other))
