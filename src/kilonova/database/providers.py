"""Compute hosts as Placement's resource providers: views on ``hosts`` and what belongs to them, with nothing of their own.

Filters run in the database, but for traits that may follow from a host's capabilities, which stand in no table, and for
dedicated processors, which stand in a document: so hosts are read in batches, each a transaction of its own, until as many suit
as were asked for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import host_inventories, traits
from kilonova.database.tables import aggregate_hosts, aggregates, host_traits, hosts
from kilonova.database.tables import host_inventories as added
from kilonova.model.errors import Conflict, NotFound
from kilonova.model.inventory import DEDICATED, HOST_CLASSES, MOST
from kilonova.model.provider import Group, Provider
from kilonova.model.traits import CUSTOM

STALE = "placement.concurrent_update"
BATCH = 500
_h, _i, _m, _t = hosts.c, added.c, aggregate_hosts.c, host_traits.c
_NAMES = sa.select(_h.id, _h.uuid, _h.host, _h.generation, _h.updated_at)
_PROVIDERS = _NAMES.add_columns(*host_inventories.OWN_COLUMNS)
_BY_UUID = _PROVIDERS.where(_h.uuid == sa.bindparam("of_uuid"))
_HELD = _BY_UUID.with_for_update()
_TOUCH = (
    hosts.update()
    .where(_h.uuid == sa.bindparam("of_uuid"))
    .values(generation=_h.generation + 1, updated_at=sa.bindparam("now", type_=sa.BigInteger))
)
_AGGREGATES = (
    sa.select(aggregates.c.uuid)
    .join(aggregate_hosts, _m.aggregate_id == aggregates.c.id)
    .where(_m.host == sa.bindparam("of_host"))
    .order_by(aggregates.c.id)
)


def get(connection: Connection, uuid: str) -> Provider:
    """One of them, with its traits. Raises ``NotFound``."""
    return _one(connection, _BY_UUID, uuid)


def hold(connection: Connection, uuid: str, generation: int | None = None) -> Provider:
    """One of them for changing it: claims on it wait. Raises ``NotFound``, or ``Conflict`` if its generation is another."""
    provider = _one(connection, _HELD, uuid)
    if generation is not None and provider.generation != generation:
        raise Conflict(
            "The resource provider's generation is another by now: read it again and try again.", name=STALE
        )
    return provider


def _one(connection: Connection, query: sa.Select[Any], uuid: str) -> Provider:
    row = connection.execute(query, {"of_uuid": uuid.lower()}).first()
    if row is None:
        raise NotFound(f"No resource provider with uuid {uuid[:64]} found")
    return next(_providers(connection, [row], traits.traits_of_hosts(connection, [row.host])))


def touch(connection: Connection, uuid: str, now: int) -> None:
    """Count a change; nova-scheduler reads the host anew by its ``updated_at``."""
    connection.execute(_TOUCH, {"of_uuid": uuid, "now": now})


def aggregates_of(connection: Connection, host: str) -> list[str]:
    """The UUIDs of the aggregates a host is in."""
    return list(connection.execute(_AGGREGATES, {"of_host": host}).scalars())


def batch(
    connection: Connection,
    groups: Sequence[Group],
    *,
    after: int = 0,
    size: int = BATCH,
    uuid: str | None = None,
    name: str | None = None,
    bare: bool = False,
    with_traits: bool = False,
) -> tuple[list[Provider], int | None]:
    """The providers that can each give all of the groups at once, in the order they came, among at most ``size`` hosts numbered
    above ``after``; and the number of the last one that was looked at, None at the end.

    ``bare`` ones come without their inventories.
    """
    pinned = min(sum(group.resources.get(DEDICATED, 0) for group in groups), MOST)
    columns = _NAMES.add_columns(*host_inventories.DEDICATED_COLUMNS) if bare and pinned else _NAMES
    query: sa.Select[Any] = (columns if bare else _PROVIDERS).where(*_conditions(groups, uuid, name))
    rows = connection.execute(query.where(_h.id > after).order_by(_h.id).limit(size)).all()
    picky = [group for group in groups if group.names_traits]
    of = traits.traits_of_hosts(connection, [row.host for row in rows]) if rows and (with_traits or picky) else {}
    suiting = [
        row
        for row in rows
        if (not pinned or _has_processors(row, pinned))
        and all(group.suits(of.get(row.host, frozenset())) for group in picky)
    ]
    return list(_providers(connection, suiting, of, bare=bare)), rows[-1].id if len(rows) == size else None


def _providers(
    connection: Connection, rows: Sequence[sa.Row[Any]], of: Mapping[str, frozenset[str]], *, bare: bool = False
) -> Iterator[Provider]:
    inventories = host_inventories.added(connection, [row.host for row in rows]) if rows and not bare else {}
    for row in rows:
        yield Provider(
            uuid=row.uuid,
            host=row.host,
            generation=row.generation,
            updated_at=row.updated_at,
            inventories={} if bare else host_inventories.own(row) | inventories.get(row.host, {}),
            traits=of.get(row.host, frozenset()),
        )


def _conditions(groups: Sequence[Group], uuid: str | None, name: str | None) -> Iterator[sa.ColumnElement[bool]]:
    if uuid is not None:
        yield _h.uuid == uuid.lower()
    if name is not None:
        yield _h.host == name
    for group in groups:
        if group.in_tree is not None:
            yield _h.uuid == group.in_tree.lower()
        yield from (_in_aggregate(some) for some in group.member_of)
        if group.not_member_of:
            yield ~_in_aggregate(group.not_member_of)
        yield from (_said(some) for some in group.required if all(name.startswith(CUSTOM) for name in some))
    for resource_class in sorted({name for group in groups for name in group.resources}):
        portions = [group.resources[resource_class] for group in groups if resource_class in group.resources]
        yield _has_room(resource_class, portions)


def _in_aggregate(uuids: Iterable[str]) -> sa.ColumnElement[bool]:
    within = sa.select(_m.host).join(aggregates, aggregates.c.id == _m.aggregate_id)
    return within.where(_m.host == _h.host, aggregates.c.uuid.in_(sorted(uuid.lower() for uuid in uuids))).exists()


def _said(some: Iterable[str]) -> sa.ColumnElement[bool]:
    """Custom traits are never implied: an operator said so of the host."""
    return sa.select(_t.host).where(_t.host == _h.host, _t.trait.in_(sorted(some))).exists()


def _has_processors(row: sa.Row[Any], amount: int) -> bool:
    there = host_inventories.dedicated(row)
    return there is not None and there.fits(amount)


def _has_room(resource_class: str, portions: list[int]) -> sa.ColumnElement[bool]:
    """The comparison a claim makes: each portion may be one, and all of them together fit."""
    if resource_class == DEDICATED:  # how many they are is in the document
        return _h.topology.is_not(None)
    amount = min(sum(portions), MOST)
    if resource_class in HOST_CLASSES:
        column = HOST_CLASSES[resource_class]
        return hosts.c[f"{column}_capacity"] - hosts.c[f"{column}_used"] >= amount
    each = [
        sa.and_(_i.min_unit <= portion, _i.max_unit >= portion, sa.literal(portion, sa.Integer) % _i.step_size == 0)
        for portion in {min(portion, MOST) for portion in portions}
    ]
    room = sa.select(_i.host).where(_i.host == _h.host, _i.resource_class == resource_class)
    return room.where(_i.capacity - _i.used >= amount, *each).exists()
