"""Rows of ``aggregates`` and of their hosts, and the zones that come of them.

A host is in the zone of an aggregate it is in, at most one; else in the one that its nova-compute was started with. The zone
of a server's host never changes: whoever would change it takes the host's row first, as claims do, and then looks for servers.
"""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import aggregate_ratios, host_servers
from kilonova.database.tables import aggregate_hosts as members
from kilonova.database.tables import aggregates, hosts
from kilonova.model.aggregate import ZONE_KEY, Aggregate
from kilonova.model.errors import Conflict, Invalid, NotFound

_a, _m, _h = aggregates.c, members.c, hosts.c
_BY_ID = sa.select(aggregates).where(_a.id == sa.bindparam("number"))
_HOSTS_OF = sa.select(_m.host).where(_m.aggregate_id == sa.bindparam("of_aggregate")).order_by(_m.host)
_ZONES = (
    sa.select(_m.host, _a.availability_zone)
    .join(aggregates, _a.id == _m.aggregate_id)
    .where(_a.availability_zone.is_not(None))
)
_ZONE_OF = _ZONES.where(_m.host == sa.bindparam("of_host"))
_OWN_ZONE = sa.select(_h.availability_zone).where(_h.host == sa.bindparam("of_host"))
ZONE_BY_AGGREGATE = (
    # Of a row of hosts; they all say the same, if several do.
    sa.select(sa.func.min(_a.availability_zone))
    .join(members, _a.id == _m.aggregate_id)
    .where(_m.host == _h.host)
    .scalar_subquery()
)
_THESE: sa.BindParameter[str] = sa.bindparam("these", expanding=True)
_ZONES_OF = _ZONES.where(_m.host.in_(_THESE))
_OWN_ZONES = sa.select(_h.host, _h.availability_zone).where(_h.host.in_(_THESE))
_ALL = sa.select(aggregates).order_by(_a.id)
_ALL_MEMBERS = sa.select(members).order_by(_m.aggregate_id, _m.host)
_HOLD = aggregates.update().where(_a.id == sa.bindparam("number")).values(name=_a.name)
_TAKE = hosts.update().where(_h.host == sa.bindparam("of_host")).values(servers_count=_h.servers_count)


def zones(connection: Connection) -> dict[str, str]:
    """The zone of each host that has one by an aggregate."""
    return {row.host: row.availability_zone for row in connection.execute(_ZONES)}


def zone_of(connection: Connection, host: str) -> str | None:
    """The zone a host is in; None if there is no such host."""
    row = connection.execute(_ZONE_OF, {"of_host": host}).first()
    if row is not None:
        return str(row.availability_zone)
    own = connection.execute(_OWN_ZONE, {"of_host": host}).scalar()
    return None if own is None else str(own)


def zones_of(connection: Connection, names: Collection[str]) -> dict[str, str]:
    """``zone_of`` many hosts at once; those that are not there are missing."""
    these = {"these": list(names)}
    own = {row.host: str(row.availability_zone) for row in connection.execute(_OWN_ZONES, these)}
    return own | {row.host: str(row.availability_zone) for row in connection.execute(_ZONES_OF, these)}


def get(connection: Connection, number: int) -> Aggregate:
    """One of them with its hosts. Raises ``NotFound``."""
    row = connection.execute(_BY_ID, {"number": number}).first()
    if row is None:
        raise NotFound(f"Aggregate {number} could not be found.")
    return Aggregate(**row._mapping, hosts=list(connection.execute(_HOSTS_OF, {"of_aggregate": number}).scalars()))


def listing(connection: Connection) -> list[Aggregate]:
    """All of them, in the order they were made."""
    within: dict[int, list[str]] = {}
    for row in connection.execute(_ALL_MEMBERS):
        within.setdefault(row.aggregate_id, []).append(row.host)
    found = connection.execute(_ALL)
    return [Aggregate(**row._mapping, hosts=within.get(row.id, [])) for row in found]


def insert(connection: Connection, *, uuid: str, name: str, zone: str | None, now: int) -> Aggregate:
    """A new one without hosts. Raises ``Conflict`` when the name is taken."""
    row = {"uuid": uuid, "name": name, "availability_zone": zone, "created_at": now}
    try:
        with connection.begin_nested():
            connection.execute(aggregates.insert(), {**row, "metadata": {ZONE_KEY: zone} if zone else {}})
    except sa.exc.IntegrityError:
        raise Conflict(f"Aggregate {name} already exists.") from None
    number = connection.execute(sa.select(_a.id).where(_a.uuid == uuid)).scalar_one()
    return get(connection, int(number))


def rename(connection: Connection, number: int, name: str, now: int) -> None:
    """Give it another name. Raises ``Conflict`` when that is taken."""
    try:
        with connection.begin_nested():
            connection.execute(aggregates.update().where(_a.id == number).values(name=name, updated_at=now))
    except sa.exc.IntegrityError:
        raise Conflict(f"Aggregate {name} already exists.") from None


def change_metadata(connection: Connection, number: int, changes: Mapping[str, str | None], now: int) -> None:
    """Set keys, and take those away whose value is None. Raises ``Invalid`` for a change of zone, or of
    allocation ratios, that cannot be."""
    aggregate = _held(connection, number)
    if ZONE_KEY in changes:
        _check_zone(connection, aggregate, changes[ZONE_KEY])
    merged: dict[str, str | None] = {**aggregate.metadata, **changes}
    kept = {key: value for key, value in merged.items() if value is not None}
    values = {"metadata": kept, "availability_zone": kept.get(ZONE_KEY), "updated_at": now}
    connection.execute(aggregates.update().where(_a.id == number).values(**values))
    if aggregate_ratios.spoken_of(changes):
        try:
            aggregate_ratios.renew(connection, aggregate.hosts, now)
        except Conflict as error:
            raise _refused(aggregate, error.message.rstrip(".")) from None


def _held(connection: Connection, number: int) -> Aggregate:
    """One of them, its row taken: who would change its hosts or its zone waits. Raises ``NotFound``."""
    connection.execute(_HOLD, {"number": number})
    return get(connection, number)


def _check_zone(connection: Connection, aggregate: Aggregate, zone: str | None) -> None:
    if not zone:
        raise _refused(aggregate, f"Aggregate {aggregate.name} does not support empty named availability zone")
    for host in aggregate.hosts:
        _take(connection, host)  # before the zones are looked at: another aggregate's may change in the same moment
    others = _other_zones(connection, aggregate.id, aggregate.hosts)
    if others - {zone}:
        raise _refused(aggregate, f"One or more hosts already in availability zone(s) {sorted(others - {zone})}")
    for host in aggregate.hosts:
        if zone_of(connection, host) != zone and host_servers.in_use(connection, host):
            raise _refused(aggregate, "One or more hosts contain instances in this zone")


def _refused(aggregate: Aggregate, reason: str) -> Invalid:
    return Invalid(f"Cannot update aggregate {aggregate.id}. Reason: {reason}.")


def _other_zones(connection: Connection, but: int, within: Collection[str]) -> set[str]:
    """The zones that hosts are in by other aggregates."""
    query = _ZONES.where(_a.id != but, _m.host.in_(list(within)))
    return {str(row.availability_zone) for row in connection.execute(query)}


def _take(connection: Connection, host: str) -> bool:
    """Hold the host's row: claims on it wait. False if there is no such host."""
    return connection.execute(_TAKE, {"of_host": host}).rowcount == 1


def delete(connection: Connection, number: int) -> None:
    """Forget an empty one. Raises ``NotFound``, or ``Invalid`` while it has hosts."""
    if _held(connection, number).hosts:
        raise Invalid(f"Cannot delete aggregate {number}. Reason: Host aggregate is not empty.")
    connection.execute(aggregates.delete().where(_a.id == number))


def add_host(connection: Connection, number: int, host: str, now: int) -> None:
    """Put a host in. Raises ``NotFound``; ``Conflict`` if it is in already, or its zone or its servers' would change."""
    aggregate = _held(connection, number)
    if not _take(connection, host):
        raise NotFound(f"Compute host {host} could not be found.")
    if host in aggregate.hosts:
        raise Conflict(f"Aggregate {number} already has host {host}.")
    zone = aggregate.availability_zone
    others = _other_zones(connection, number, [host])
    if zone is not None and others - {zone}:
        raise Conflict(
            f"Cannot add host to aggregate {number}. Reason: One or more hosts already in availability zone(s) "
            f"{sorted(others)}."
        )
    if zone is not None:
        _keep_servers_zone(connection, f"added to aggregate {number}", host, zone)
    connection.execute(members.insert(), {"aggregate_id": number, "host": host})
    _renew_capacity(connection, aggregate, host, now)
    _touch(connection, number, now)


def remove_host(connection: Connection, number: int, host: str, now: int) -> None:
    """Take a host out. Raises ``NotFound``, or ``Conflict`` if its servers' zone would change."""
    aggregate = _held(connection, number)
    _take(connection, host)
    if host not in aggregate.hosts:
        raise NotFound(f"Cannot remove host {host} in aggregate {number}")
    if aggregate.availability_zone is not None and not _other_zones(connection, number, [host]):
        own = connection.execute(_OWN_ZONE, {"of_host": host}).scalar()
        _keep_servers_zone(connection, f"removed from aggregate {number}", host, own)
    connection.execute(members.delete().where(_m.aggregate_id == number, _m.host == host))
    _renew_capacity(connection, aggregate, host, now)
    _touch(connection, number, now)


def _renew_capacity(connection: Connection, aggregate: Aggregate, host: str, now: int) -> None:
    if aggregate_ratios.spoken_of(aggregate.metadata):
        aggregate_ratios.renew(connection, [host], now)


def _keep_servers_zone(connection: Connection, how: str, host: str, zone: str | None) -> None:
    before = zone_of(connection, host)
    if before != zone and host_servers.in_use(connection, host):
        raise Conflict(
            f"Host {host} cannot be {how}: its availability zone would change from '{before}' to '{zone}', and it has "
            "servers. Move them away first."
        )


def _touch(connection: Connection, number: int, now: int) -> None:
    connection.execute(aggregates.update().where(_a.id == number).values(updated_at=now))


def forget_host(connection: Connection, host: str) -> None:
    """A host is gone for good: it leaves all of them."""
    connection.execute(members.delete().where(_m.host == host))
