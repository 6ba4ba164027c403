"""Queries of the network service that are the same for all its nouns: find, get, insert, change, remove, tags.

Whoever takes or gives addresses, or changes what is on a network, locks the network's row first (``get(…, lock=True)``). So no
two transactions look for a free address at once, and the search needs no retry.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from kilonova.database import network_tables as t
from kilonova.model.errors import Conflict, Invalid
from kilonova.model.network import (
    Described,
    FixedIp,
    FloatingIp,
    Network,
    Port,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    SubPort,
    Trunk,
)

R = TypeVar("R", bound=Described)
TABLES: dict[type[Any], sa.Table] = {
    Network: t.networks,
    Subnet: t.subnets,
    Port: t.ports,
    FixedIp: t.fixed_ips,
    SecurityGroup: t.security_groups,
    SecurityGroupRule: t.security_group_rules,
    Router: t.routers,
    FloatingIp: t.floating_ips,
    Trunk: t.trunks,
    SubPort: t.trunk_subports,
}


def columns(kind: type[Any]) -> list[sa.Column[Any]]:
    """The columns that make a value of that kind."""
    return [TABLES[kind].c[field] for field in kind.__struct_fields__]


_BY_ID = {
    kind: sa.select(*columns(kind)).where(table.c.id == sa.bindparam("id"))
    for kind, table in TABLES.items()
    if kind not in (FixedIp, SubPort)
}
_LOCKED = {kind: query.with_for_update() for kind, query in _BY_ID.items()}
_INSERTS = {kind: sa.insert(table) for kind, table in TABLES.items()}
_tag = t.network_tags.c
_f = t.fixed_ips.c
_g = t.port_security_groups.c


class Tagged(msgspec.Struct, frozen=True, kw_only=True):
    """A filter by tags: it has all of them, any of them, lacks one of them, lacks them all."""

    all: list[str] = []
    any: list[str] = []
    not_all: list[str] = []
    not_any: list[str] = []


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is asked for. ``filters``: a column has one of the values; ``sort``: columns, and whether descending.

    ``seen_by``: only what that project may see; None: everything. Ports also by their ``addresses`` (or a piece of one),
    the ``subnets`` those are of, and their security ``groups``.
    """

    filters: Mapping[str, Sequence[object]] = {}
    sort: Sequence[tuple[str, bool]] = ()
    limit: int = 1000
    marker: str | None = None
    seen_by: str | None = None
    addresses: Sequence[str] = ()
    pieces: Sequence[str] = ()
    subnets: Sequence[str] = ()
    groups: Sequence[str] = ()
    tagged: Tagged = Tagged()


def get(connection: Connection, kind: type[R], record_id: str, *, lock: bool = False) -> R | None:
    """The record of that id; with ``lock`` nobody else changes it until this transaction ends."""
    row = connection.execute((_LOCKED if lock else _BY_ID)[kind], {"id": record_id}).first()
    return None if row is None else kind(**row._mapping)


def find(connection: Connection, kind: type[R], question: Question) -> list[R]:
    """The records asked for, in order, after the marker, ``limit`` at most. Raises ``Invalid`` for an unknown marker."""
    table = TABLES[kind]
    query = sa.select(*columns(kind)).limit(question.limit)
    for name, values in question.filters.items():
        query = query.where(table.c[name].in_(list(values)))
    if question.seen_by is not None:
        query = query.where(sa.or_(table.c.project_id == question.seen_by, *_seen_by_others(kind, question.seen_by)))
    for condition in (*_of_ports(table, question), *_tagged(table, question.tagged)):
        query = query.where(condition)
    order = [*question.sort, *(() if any(name == "id" for name, _ in question.sort) else [("id", False)])]
    query = query.order_by(*(table.c[name].desc() if down else table.c[name].asc() for name, down in order))
    if question.marker is not None:
        query = query.where(_after(connection, table, order, question.marker))
    return [kind(**row._mapping) for row in connection.execute(query)]


def _seen_by_others(kind: type[Any], project_id: str) -> Iterable[sa.ColumnElement[bool]]:
    if kind is Network:
        return [t.networks.c.shared.is_(True), t.networks.c.external.is_(True)]
    if kind is Subnet:
        networks = sa.select(t.networks.c.id)
        seen = sa.or_(t.networks.c.shared.is_(True), t.networks.c.project_id == project_id)
        return [t.subnets.c.network_id.in_(networks.where(seen))]
    return []


def _of_ports(table: sa.Table, question: Question) -> Iterable[sa.ColumnElement[bool]]:
    holders = sa.select(_f.port_id)
    if question.addresses:
        yield table.c.id.in_(holders.where(_f.ip_address.in_(list(question.addresses))))
    for piece in question.pieces:
        yield table.c.id.in_(holders.where(_f.ip_address.contains(piece, autoescape=True)))
    if question.subnets:
        yield table.c.id.in_(holders.where(_f.subnet_id.in_(list(question.subnets))))
    if question.groups:
        yield table.c.id.in_(sa.select(_g.port_id).where(_g.security_group_id.in_(list(question.groups))))


def _tagged(table: sa.Table, tagged: Tagged) -> Iterable[sa.ColumnElement[bool]]:
    bearers = sa.select(_tag.resource_id)
    every = [table.c.id.in_(bearers.where(_tag.tag == tag)) for tag in tagged.all]
    yield from every
    if tagged.any:
        yield table.c.id.in_(bearers.where(_tag.tag.in_(tagged.any)))
    if tagged.not_all:
        yield sa.not_(sa.and_(*(table.c.id.in_(bearers.where(_tag.tag == tag)) for tag in tagged.not_all)))
    if tagged.not_any:
        yield table.c.id.not_in(bearers.where(_tag.tag.in_(tagged.not_any)))


def _after(
    connection: Connection, table: sa.Table, order: Sequence[tuple[str, bool]], marker: str
) -> sa.ColumnElement[bool]:
    """What comes behind the marker in that order: past it in the first column, or level there and past it in the next …"""
    row = connection.execute(sa.select(*(table.c[name] for name, _ in order)).where(table.c.id == marker)).first()
    if row is None:
        raise Invalid(f"The marker {marker[:64]} could not be found.")
    past: list[sa.ColumnElement[bool]] = []
    level: list[sa.ColumnElement[bool]] = []
    for (name, down), value in zip(order, row, strict=True):
        column = table.c[name]
        past.append(sa.and_(*level, column < value if down else column > value))
        level.append(column == value)
    return sa.or_(*past)


def insert(connection: Connection, record: Described | FixedIp | SubPort, refusal: Conflict | None = None) -> None:
    """Add a record. Raises ``refusal`` if a key is taken."""
    try:
        connection.execute(_INSERTS[type(record)], msgspec.structs.asdict(record))
    except IntegrityError:
        raise refusal or Conflict("It exists.") from None


def update(connection: Connection, kind: type[R], record_id: str, changes: Mapping[str, object]) -> R | None:
    """Change columns of a record; the record as it is afterwards."""
    table = TABLES[kind]
    if changes:
        connection.execute(table.update().where(table.c.id == record_id).values(**changes))
    return get(connection, kind, record_id)


def revise(connection: Connection, record: R, changes: Mapping[str, object], now: int) -> R:
    """Change what a user asked to be changed: a new revision of the record, if anything differs."""
    changed = {name: value for name, value in changes.items() if getattr(record, name) != value}
    if not changed:
        return record
    stamped = {**changed, "revision": record.revision + 1, "updated_at": now}
    kind = type(record)
    connection.execute(TABLES[kind].update().where(TABLES[kind].c.id == record.id).values(**stamped))
    return msgspec.structs.replace(record, **stamped)


def touch(connection: Connection, record: R, now: int) -> R:
    """A new revision without a change of its own columns: of its tags, its addresses, its groups."""
    stamped = {"revision": record.revision + 1, "updated_at": now}
    kind = type(record)
    connection.execute(TABLES[kind].update().where(TABLES[kind].c.id == record.id).values(**stamped))
    return msgspec.structs.replace(record, **stamped)


def remove(connection: Connection, kind: type[Any], record_id: str) -> bool:
    """Take a record away, with its tags."""
    table = TABLES[kind]
    connection.execute(t.network_tags.delete().where(_tag.resource_id == record_id))
    return connection.execute(table.delete().where(table.c.id == record_id)).rowcount > 0


def exists(connection: Connection, kind: type[Any], **values: object) -> bool:
    """Whether there is a record with those values."""
    table = TABLES[kind]
    query = sa.select(sa.literal(1)).select_from(table).where(*(table.c[n] == v for n, v in values.items())).limit(1)
    return connection.execute(query).first() is not None


_OWN = (
    sa.select(t.networks.c.id)
    .where(
        t.networks.c.project_id == sa.bindparam("project_id"),
        t.networks.c.shared.is_(False),
        t.networks.c.external.is_(False),
    )
    .limit(2)
)


def own_networks(connection: Connection, project_id: str) -> list[str]:
    """The ids of the networks that are a project's alone, two at most: who has several must say which."""
    return list(connection.execute(_OWN, {"project_id": project_id}).scalars())


# --- tags --------------------------------------------------------------------------------------------------


def tags_of(connection: Connection, ids: Sequence[str]) -> dict[str, list[str]]:
    """The tags of records, in alphabetical order."""
    found: dict[str, list[str]] = {record_id: [] for record_id in ids}
    if ids:
        query = sa.select(_tag.resource_id, _tag.tag).where(_tag.resource_id.in_(list(ids))).order_by(_tag.tag)
        for row in connection.execute(query):
            found[row.resource_id].append(row.tag)
    return found


def set_tags(connection: Connection, record_id: str, tags: Iterable[str]) -> None:
    """Replace the tags of a record (whose row is locked)."""
    connection.execute(t.network_tags.delete().where(_tag.resource_id == record_id))
    rows = [{"resource_id": record_id, "tag": tag} for tag in sorted(set(tags))]
    if rows:
        connection.execute(t.network_tags.insert(), rows)


# --- quotas ------------------------------------------------------------------------------------------------

_q = t.network_quotas.c
_LOCK_PROJECT = (
    sa.select(t.network_projects.c.project_id)
    .where(t.network_projects.c.project_id == sa.bindparam("project_id"))
    .with_for_update()
)


def lock_project(connection: Connection, project_id: str) -> None:
    """From here to the end of this transaction nobody else counts what the project has."""
    if connection.execute(_LOCK_PROJECT, {"project_id": project_id}).first() is not None:
        return
    try:
        with connection.begin_nested():
            connection.execute(t.network_projects.insert(), {"project_id": project_id})
    except IntegrityError:  # another one came first and has committed meanwhile
        connection.execute(_LOCK_PROJECT, {"project_id": project_id}).first()


def count(connection: Connection, kind: type[Any], project_id: str) -> int:
    """How many the project has; ports that Compute made for its servers are bounded by the servers' quota instead."""
    table = TABLES[kind]
    query = sa.select(sa.func.count()).select_from(table).where(table.c.project_id == project_id)
    if kind is Port:
        query = query.where(table.c.binding != "created")
    return int(connection.execute(query).scalar_one())


def limits(connection: Connection, project_id: str) -> dict[str, int]:
    """The limits that were set for a project."""
    query = sa.select(_q.resource, _q.hard_limit).where(_q.project_id == project_id)
    return {row.resource: row.hard_limit for row in connection.execute(query)}


def projects_with_limits(connection: Connection) -> list[str]:
    """The projects for which limits were set."""
    return list(
        connection.execute(sa.select(_q.project_id).distinct().order_by(_q.project_id).limit(10_000)).scalars()
    )


def set_limits(connection: Connection, project_id: str, wanted: Mapping[str, int]) -> None:
    """Set some limits (the project is locked)."""
    for resource, limit in sorted(wanted.items()):
        row = (_q.project_id == project_id, _q.resource == resource)
        if connection.execute(t.network_quotas.update().where(*row).values(hard_limit=limit)).rowcount == 0:
            values = {"project_id": project_id, "resource": resource, "hard_limit": limit}
            connection.execute(t.network_quotas.insert(), values)


def clear_limits(connection: Connection, project_id: str) -> bool:
    """Back to the defaults. False if nothing was set."""
    return connection.execute(t.network_quotas.delete().where(_q.project_id == project_id)).rowcount > 0
