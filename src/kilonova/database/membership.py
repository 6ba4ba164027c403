"""Rows of ``services`` and ``hosts``: who is there, what the machines have, who is up."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import aggregates, findings, host_inventories, traits
from kilonova.database.tables import hosts, services
from kilonova.database.types import Json
from kilonova.model.errors import NotFound
from kilonova.model.host import Host, Service
from kilonova.model.inventory import HOST_CLASSES, capacity, in_force, total

_SERVICE_COLUMNS = [
    column for column in services.columns if column.name not in ("incarnation", "metrics", "compare_due")
]
_SERVICES = sa.select(*_SERVICE_COLUMNS).order_by(services.c.id)
_ONE_SERVICE = _SERVICES.where(
    services.c.binary == sa.bindparam("of_binary"), services.c.host == sa.bindparam("of_host")
)
_HELD_SERVICE = (
    sa.select(services.c.id)
    .where(services.c.binary == sa.bindparam("of_binary"), services.c.host == sa.bindparam("of_host"))
    .with_for_update()
)
_BEAT = (
    services.update()
    .where(
        services.c.binary == sa.bindparam("of_binary"),
        services.c.host == sa.bindparam("of_host"),
        services.c.incarnation == sa.bindparam("of_incarnation"),
        services.c.compare_due == sa.bindparam("due"),
    )
    .values(last_seen_at=sa.bindparam("now"), stopped_at=None, metrics=sa.bindparam("measured", type_=Json))
)
_COMPARE = services.update().where(
    services.c.binary == "nova-compute",
    services.c.host == sa.bindparam("of_host"),
    services.c.compare_due != sa.bindparam("due"),
)
_COMPARE_SOON, _COMPARED = _COMPARE.values(compare_due=True), _COMPARE.values(compare_due=False)
_TAKES_NONE = (
    sa.select(services.c.id)
    .where(
        services.c.binary == "nova-compute",
        services.c.host.in_(sa.bindparam("these", expanding=True)),
        sa.or_(services.c.disabled.is_(True), services.c.forced_down.is_(True)),
    )
    .limit(1)
)
_DESCRIBE = hosts.update().where(hosts.c.host == sa.bindparam("of_host"))
_TOPOLOGY = ("topology", "topology_used", "topology_version", "devices_free")  # of those who place servers by it
_HOST_COLUMNS = [column for column in hosts.columns if column.name not in _TOPOLOGY]
_DESCRIBE_ANEW = _DESCRIBE.values(generation=hosts.c.generation + 1)
_INVENTORY = [
    f"{column}{end}" for column in HOST_CLASSES.values() for end in ("", "_reserved", "_ratio", "_capacity")
]
_HELD_HOST = sa.select(*_HOST_COLUMNS).where(hosts.c.host == sa.bindparam("of_host")).with_for_update()
_HOSTS = sa.select(*_HOST_COLUMNS).order_by(hosts.c.id)
_OPEN_ZONE = (
    sa.select(sa.func.coalesce(aggregates.ZONE_BY_AGGREGATE, hosts.c.availability_zone))
    .outerjoin(services, sa.and_(services.c.host == hosts.c.host, services.c.binary == "nova-compute"))
    .where(
        hosts.c.host == sa.bindparam("of_host"),
        sa.func.coalesce(services.c.disabled, sa.false()).is_(sa.false()),
        sa.func.coalesce(services.c.forced_down, sa.false()).is_(sa.false()),
    )
)
_TAKE_OVER = services.update().where(
    services.c.binary == sa.bindparam("of_binary"), services.c.host == sa.bindparam("of_host")
)
_FIRST_BEAT = services.insert()
_NEW_HOST = hosts.insert()
_COUNTS = (
    *("vcpus_used", "memory_mb_used", "disk_gb_used"),
    *("servers_count", "topology_version", "devices_free", "failed_builds"),
)
_ONE_HOST = sa.select(*_HOST_COLUMNS).where(hosts.c.host == sa.bindparam("of_host"))


def heartbeat(
    connection: Connection,
    *,
    binary: str,
    host: str,
    zone: str,
    incarnation: str,
    uuid: str,
    now: int,
    metrics: Mapping[str, float] | None = None,
) -> bool:
    """Say that a service lives. A new incarnation takes over the row of the one before, and keeps its id.

    Returns whether something was left to it by ``compare_soon``, and it has not compared itself since.
    """
    parameters: dict[str, Any] = {"of_binary": binary, "of_host": host, "of_incarnation": incarnation, "now": now}
    parameters["measured"] = metrics or None
    for due in (False, True):
        if connection.execute(_BEAT, {**parameters, "due": due}).rowcount == 1:
            return due
    fresh: dict[str, Any] = {
        "incarnation": incarnation,
        "zone": zone,
        "started_at": now,
        "last_seen_at": now,
        "stopped_at": None,
        "metrics": metrics or None,
        "compare_due": False,
    }
    taken_over = {"of_binary": binary, "of_host": host, **fresh}
    if connection.execute(_TAKE_OVER, taken_over).rowcount == 1:
        return False
    row = {"uuid": uuid, "binary": binary, "host": host, "disabled": False, "forced_down": False, **fresh}
    try:
        with connection.begin_nested():
            connection.execute(_FIRST_BEAT, row)
    except sa.exc.IntegrityError:  # the same report, asked twice at once, or a second process of the service
        connection.execute(_TAKE_OVER, taken_over)
    return False


def compare_soon(connection: Connection, host: str) -> None:
    """Something was decided about a guest on a host without it: its reports are answered so until it has asked what it should
    look like. Without this it would find out with its next regular comparison."""
    connection.execute(_COMPARE_SOON, {"of_host": host, "due": True})


def compared(connection: Connection, host: str) -> None:
    """The host is told what it should look like; part of the transaction that reads it."""
    connection.execute(_COMPARED, {"of_host": host, "due": False})


def goodbye(connection: Connection, *, binary: str, host: str, incarnation: str, now: int) -> None:
    """A service stops in good order: it is down at once, nobody has to wait for its silence."""
    connection.execute(
        services.update()
        .where(services.c.binary == binary, services.c.host == host, services.c.incarnation == incarnation)
        .values(stopped_at=now)
    )


def list_services(connection: Connection) -> list[Service]:
    """All of them, in the order they first came."""
    zones = aggregates.zones(connection)
    return [_service(row, zones) for row in connection.execute(_SERVICES)]


def _service(row: sa.Row[Any], zones: Mapping[str, str]) -> Service:
    """A nova-compute is in the zone of its host's aggregate, if there is one."""
    zone = zones.get(row.host, row.zone) if row.binary == "nova-compute" else row.zone
    return Service(**{**row._mapping, "zone": zone})


def find_service(connection: Connection, binary: str, host: str) -> Service | None:
    """One of them, or None."""
    row = connection.execute(_ONE_SERVICE, {"of_binary": binary, "of_host": host}).first()
    return None if row is None else Service(**row._mapping)


def forced_down(connection: Connection, binary: str, host: str) -> bool:
    """Whether an operator has declared it down, whatever it says itself."""
    service = find_service(connection, binary, host)
    return service is not None and service.forced_down


def open_zone(connection: Connection, host: str) -> str | None:
    """The zone in which a host takes new servers; None for none, or if an operator says that it gets nothing new.

    Asked in the transaction that claims it.
    """
    zone = connection.execute(_OPEN_ZONE, {"of_host": host}).scalar()
    return None if zone is None else str(zone)


def all_take_servers(connection: Connection, names: Sequence[str]) -> bool:
    """Whether no operator has said that one of them gets nothing new."""
    return connection.execute(_TAKES_NONE, {"these": list(names)}).first() is None


def why_idle(connection: Connection, host: str) -> str:
    """In words, since when the nova-compute of a host takes no servers; empty if it is unknown."""
    service = find_service(connection, "nova-compute", host)
    if service is None:
        return ""
    if service.disabled:
        return f"disabled: {service.disabled_reason}" if service.disabled_reason else "disabled"
    if service.forced_down:
        return "forced down by an operator"
    if service.stopped_at is not None:
        return f"stopped at {_utc(service.stopped_at)}"
    return f"down, not heard of since {_utc(service.last_seen_at)}"


def _utc(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1_000_000, UTC).isoformat(sep=" ", timespec="seconds")


def get_service(connection: Connection, uuid: str) -> Service:
    """One by its UUID. Raises ``NotFound``."""
    row = connection.execute(_SERVICES.where(services.c.uuid == uuid)).first()
    if row is None:
        raise NotFound(f"Service {uuid} could not be found.")
    return _service(row, aggregates.zones(connection))


def update_service(connection: Connection, service_id: int, **values: Any) -> None:
    """Set columns: ``disabled``, ``disabled_reason``, ``forced_down``."""
    connection.execute(services.update().where(services.c.id == service_id).values(**values))


def delete_service(connection: Connection, service_id: int) -> None:
    """Forget a service and, for a nova-compute, its host and what that found."""
    row = connection.execute(_SERVICES.where(services.c.id == service_id)).first()
    if row is not None and row.binary == "nova-compute":
        connection.execute(hosts.delete().where(hosts.c.host == row.host))
        findings.forget_host(connection, row.host)
        aggregates.forget_host(connection, row.host)
        host_inventories.forget_host(connection, row.host)
        traits.forget_host(connection, row.host)
    connection.execute(services.delete().where(services.c.id == service_id))


def compute_up(connection: Connection, host: str | None, now: int, down_after: float) -> bool:
    """Whether the nova-compute of a host lives; False for no host."""
    service = find_service(connection, "nova-compute", host) if host else None
    return service is not None and service.up(now, down_after)


def hold_service(connection: Connection, binary: str, host: str) -> None:
    """Lock the row: whether the service is up or forced down stays as it is until this transaction ends."""
    connection.execute(_HELD_SERVICE, {"of_binary": binary, "of_host": host}).first()


def list_hosts(connection: Connection) -> list[Host]:
    """All compute hosts, in the order they first came; each in the zone of its aggregate, if there is one."""
    zones = aggregates.zones(connection)
    return [_host(row, zones) for row in connection.execute(_HOSTS)]


def _host(row: sa.Row[Any], zones: Mapping[str, str]) -> Host:
    return Host(**{**row._mapping, "availability_zone": zones.get(row.host, row.availability_zone)})


def find_host(connection: Connection, host: str) -> Host | None:
    """One compute host by its name, or None."""
    row = connection.execute(_ONE_HOST, {"of_host": host}).first()
    return None if row is None else _host(row, aggregates.zones(connection))


def describe_host(connection: Connection, host: str, *, uuid: str, now: int, values: dict[str, Any]) -> None:
    """Write down what a machine has; what is claimed of it, and on what terms an operator wants it claimed, stays."""
    found = connection.execute(_HELD_HOST, {"of_host": host}).first()
    if found is not None:
        _describe_again(connection, host, found, {**values, "updated_at": now})
        return
    row = {"host": host, "uuid": uuid, "created_at": now, "updated_at": now}
    connection.execute(_NEW_HOST, {**row, **dict.fromkeys(_COUNTS, 0), **values})


def _describe_again(connection: Connection, host: str, found: sa.Row[Any], values: dict[str, Any]) -> None:
    """The same row with new values; its generation counts up when they are of the inventory."""
    for name, column in HOST_CLASSES.items():
        terms = found.inventory_terms.get(name)
        if terms:
            now = {**found._mapping, **values}
            values[f"{column}_capacity"] = max(capacity(total(column, now), *in_force(column, now, terms)), 0)
    changed = any(values[column] != found._mapping[column] for column in _INVENTORY if column in values)
    connection.execute(_DESCRIBE_ANEW if changed else _DESCRIBE, {"of_host": host, **values})
