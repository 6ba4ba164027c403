"""Rows of ``flavors`` and ``flavor_access``: the sizes of servers, and who may see the private ones."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import flavor_access, flavors
from kilonova.model.errors import Conflict, Invalid, NotFound
from kilonova.model.flavor import Flavor

_f = flavors.c
_BY_ID = sa.select(flavors).where(_f.flavorid == sa.bindparam("of_flavor"))
_SHARED = sa.select(sa.literal(1)).where(
    flavor_access.c.flavorid == sa.bindparam("of_flavor"), flavor_access.c.project_id == sa.bindparam("of_project")
)
_ACCESS = (
    sa.select(flavor_access.c.project_id)
    .where(flavor_access.c.flavorid == sa.bindparam("of_flavor"))
    .order_by(flavor_access.c.project_id)
)

_CHOICES = 500

SORT_KEYS = {  # the API's word for each column
    "created_at": "created_at",
    "description": "description",
    "disabled": "disabled",
    "ephemeral_gb": "ephemeral_gb",
    "flavorid": "flavorid",
    "id": "id",
    "is_public": "is_public",
    "memory_mb": "memory_mb",
    "name": "name",
    "root_gb": "disk_gb",
    "rxtx_factor": "rxtx_factor",
    "swap": "swap_mb",
    "updated_at": "created_at",
    "vcpu_weight": "id",
    "vcpus": "vcpus",
}


class FlavorListing(msgspec.Struct, frozen=True, kw_only=True):
    """Which flavors are asked for, MiB and GiB.

    ``project_id`` sees the private flavors it was given when ``is_public`` is True; ``is_public`` None: all there are.
    ``name`` is a regular expression, of which a plain word is one.
    """

    project_id: str | None
    limit: int
    marker: str | None = None
    is_public: bool | None = True
    min_memory_mb: int = 0
    min_disk_gb: int = 0
    name: str | None = None
    sort_key: str = "flavorid"
    ascending: bool = True


def list_flavors(connection: Connection, asked: FlavorListing) -> list[Flavor]:
    """One page. Raises ``Invalid`` for a marker that names no flavor."""
    column = _f[SORT_KEYS[asked.sort_key]]
    query = sa.select(flavors).where(_f.memory_mb >= asked.min_memory_mb, _f.disk_gb >= asked.min_disk_gb)
    if asked.is_public is not None:
        query = query.where(_visible(asked.is_public, asked.project_id))
    if asked.name is not None:
        query = query.where(_named(asked.name))
    if asked.marker is not None:
        query = query.where(_after(connection, asked, column))
    if (
        column.nullable
    ):  # said aloud, since PostgreSQL by itself would sort NULL last; for others, it would keep from the index
        query = query.order_by(column.is_(None).desc() if asked.ascending else column.is_(None).asc())
    query = query.order_by(*((column.asc(), _f.id.asc()) if asked.ascending else (column.desc(), _f.id.desc())))
    return [_flavor(row) for row in connection.execute(query.limit(asked.limit))]


def choices(connection: Connection, projects: Sequence[str]) -> dict[str, list[Flavor]]:
    """The flavors each project can make servers of, bounded; for advice."""
    return {
        project: list_flavors(connection, FlavorListing(project_id=project, limit=_CHOICES)) for project in projects
    }


def _visible(is_public: bool, project_id: str | None) -> sa.ColumnElement[bool]:
    clause: sa.ColumnElement[bool] = _f.is_public == is_public
    if not is_public or project_id is None:
        return clause
    given = sa.select(flavor_access.c.flavorid).where(flavor_access.c.project_id == project_id)
    return sa.or_(clause, _f.flavorid.in_(given))


def _named(pattern: str) -> sa.ColumnElement[bool]:
    if all(letter.isalnum() or letter in "-_ :@/" for letter in pattern):
        return _f.name.contains(pattern, autoescape=True)
    return _f.name.regexp_match(pattern)


def _after(connection: Connection, asked: FlavorListing, column: sa.Column[Any]) -> sa.ColumnElement[bool]:
    """Everything behind the marker; no value (of a description) counts as the smallest."""
    row = connection.execute(_BY_ID, {"of_flavor": asked.marker}).first()
    if row is None:
        raise Invalid(f"marker [{asked.marker}] not found")
    value = row._mapping[SORT_KEYS[asked.sort_key]]
    if (
        not column.nullable
    ):  # the first condition is for the index: with an OR alone it would be read from its beginning
        if asked.ascending:
            return sa.and_(column >= value, sa.or_(column > value, _f.id > row.id))
        return sa.and_(column <= value, sa.or_(column < value, _f.id < row.id))
    same = column.is_not_distinct_from(value)
    if asked.ascending:
        beyond = column.is_not(None) if value is None else column > value
        return sa.or_(beyond, sa.and_(same, _f.id > row.id))
    beyond = sa.false() if value is None else sa.or_(column < value, column.is_(None))
    return sa.or_(beyond, sa.and_(same, _f.id < row.id))


def find_flavor(connection: Connection, flavorid: str, project_id: str | None, is_admin: bool) -> Flavor | None:
    """One flavor, or None if there is none that this project may know of."""
    row = connection.execute(_BY_ID, {"of_flavor": flavorid}).first()
    if row is None:
        return None
    if row.is_public or is_admin:
        return _flavor(row)
    shared = connection.execute(_SHARED, {"of_flavor": flavorid, "of_project": project_id}).first()
    return None if shared is None else _flavor(row)


def find_named(connection: Connection, name: str) -> Flavor | None:
    """The flavor of that name, whoever may see it, or None."""
    row = connection.execute(sa.select(flavors).where(_f.name == name)).first()
    return None if row is None else _flavor(row)


def get_flavor(connection: Connection, flavorid: str, project_id: str | None, is_admin: bool) -> Flavor:
    """The same; raises ``NotFound``."""
    flavor = find_flavor(connection, flavorid, project_id, is_admin)
    if flavor is None:
        raise NotFound(f"Flavor {flavorid} could not be found.")
    return flavor


def hold_flavor(connection: Connection, flavorid: str) -> Flavor:
    """A flavor for changing it: of two who do at once, none takes back what the other said. Raises ``NotFound``."""
    row = connection.execute(_BY_ID.with_for_update(), {"of_flavor": flavorid}).first()
    if row is None:
        raise NotFound(f"Flavor {flavorid} could not be found.")
    return _flavor(row)


def insert_flavor(connection: Connection, flavor: Flavor, now: int) -> None:
    """A new flavor. Raises ``Conflict`` when its id or its name is taken."""
    taken = connection.execute(
        sa.select(_f.flavorid, _f.name).where(sa.or_(_f.flavorid == flavor.id, _f.name == flavor.name))
    ).first()
    if taken is not None:
        raise _taken(flavor, taken.name == flavor.name)
    try:
        with connection.begin_nested():
            connection.execute(flavors.insert(), _row(flavor, now))
    except sa.exc.IntegrityError:  # somebody else took it between the two statements
        raise _taken(flavor, True) from None


def _taken(flavor: Flavor, by_name: bool) -> Conflict:
    if by_name:
        return Conflict(f"Flavor with name {flavor.name} already exists.")
    return Conflict(f"Flavor with ID {flavor.id} already exists.")


def update_flavor(connection: Connection, flavorid: str, **values: Any) -> None:
    """Set ``description`` or ``extra_specs``. Raises ``NotFound``."""
    if connection.execute(flavors.update().where(_f.flavorid == flavorid).values(**values)).rowcount != 1:
        raise NotFound(f"Flavor {flavorid} could not be found.")


def delete_flavor(connection: Connection, flavorid: str) -> None:
    """Forget a flavor; servers made with it keep their copy. Raises ``NotFound``."""
    if connection.execute(flavors.delete().where(_f.flavorid == flavorid)).rowcount != 1:
        raise NotFound(f"Flavor {flavorid} could not be found.")
    # Who gives access holds the flavor's row. What were left would count for the next flavor that is called so.
    connection.execute(flavor_access.delete().where(flavor_access.c.flavorid == flavorid))


def list_access(connection: Connection, flavorid: str) -> list[str]:
    """The projects that were given a private flavor."""
    return [row.project_id for row in connection.execute(_ACCESS, {"of_flavor": flavorid})]


def add_access(connection: Connection, flavorid: str, project_id: str) -> None:
    """Give a project access. Raises ``Conflict`` if it has it."""
    if connection.execute(_SHARED, {"of_flavor": flavorid, "of_project": project_id}).first() is not None:
        raise _has_access(flavorid, project_id)
    try:
        with connection.begin_nested():
            connection.execute(flavor_access.insert(), {"flavorid": flavorid, "project_id": project_id})
    except sa.exc.IntegrityError:  # somebody else gave it between the two statements
        raise _has_access(flavorid, project_id) from None


def _has_access(flavorid: str, project_id: str) -> Conflict:
    return Conflict(f"Flavor access already exists for flavor {flavorid} and project {project_id} combination.")


def remove_access(connection: Connection, flavorid: str, project_id: str) -> None:
    """Take it away. Raises ``NotFound`` if the project never had it."""
    found = connection.execute(
        flavor_access.delete().where(flavor_access.c.flavorid == flavorid, flavor_access.c.project_id == project_id)
    )
    if found.rowcount != 1:
        raise NotFound(f"Flavor access not found for {flavorid} / {project_id} combination.")


_DEFAULTS = (  # id, name, cores, MiB, GiB: what DevStack offers, so that guides and test suites find their sizes
    ("42", "m1.nano", 1, 128, 1),
    ("84", "m1.micro", 1, 192, 1),
    ("c1", "cirros256", 1, 256, 1),
    ("1", "m1.tiny", 1, 512, 1),
    ("2", "m1.small", 1, 2048, 20),
    ("3", "m1.medium", 2, 4096, 40),
    ("4", "m1.large", 4, 8192, 80),
    ("5", "m1.xlarge", 8, 16384, 160),
    ("d1", "ds512M", 1, 512, 5),
    ("d2", "ds1G", 1, 1024, 10),
    ("d3", "ds2G", 2, 2048, 10),
    ("d4", "ds4G", 4, 4096, 20),
)


def seed_flavors(connection: Connection, now: int) -> bool:
    """Fill an empty table with the usual sizes; True if it did. Deleted ones do not come back while others are left."""
    if connection.execute(sa.select(_f.id).limit(1)).first() is not None:
        return False
    usual = [
        Flavor(id=flavorid, name=name, vcpus=vcpus, memory_mb=memory_mb, disk_gb=disk_gb)
        for flavorid, name, vcpus, memory_mb, disk_gb in _DEFAULTS
    ]
    try:
        with connection.begin_nested():
            connection.execute(flavors.insert(), [_row(flavor, now) for flavor in usual])
    except sa.exc.IntegrityError:  # another process started at the same moment
        return False
    return True


def _row(flavor: Flavor, now: int) -> dict[str, Any]:
    values = msgspec.structs.asdict(flavor)
    values["flavorid"] = values.pop("id")
    return {**values, "created_at": now}


def _flavor(row: sa.Row[Any]) -> Flavor:
    values = dict(row._mapping)
    del values["created_at"]
    values["id"] = values.pop("flavorid")
    return Flavor(**values)
