"""The hosts as nova-scheduler reads them: often, all at once, and as few columns as will do.

``read`` gives what may have changed since the last look; what a host *is* (``facts``) only for hosts that were described anew.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import aggregates as aggregate_rows
from kilonova.database.tables import (
    actions,
    aggregate_hosts,
    aggregates,
    allocations,
    host_inventories,
    host_traits,
    hosts,
    servers,
    services,
)
from kilonova.model.aggregate import Aggregate
from kilonova.model.inventory import Inventory
from kilonova.model.kinds.catalog import DISK_WORK

_h, _s = hosts.c, services.c
_USAGE = sa.select(_h.id, _h.vcpus_used, _h.memory_mb_used, _h.disk_gb_used, _h.servers_count).order_by(_h.id)
_FACTS = (
    sa.select(
        _h.id,
        _h.host,
        _h.address,
        _h.availability_zone,
        _h.hypervisor_type,
        _h.hypervisor_version,
        _h.capabilities,
        _h.vcpus,
        _h.vcpus_capacity,
        _h.memory_mb_capacity,
        _h.disk_gb_capacity,
    )
    .where(sa.or_(_h.updated_at >= sa.bindparam("since"), _h.id > sa.bindparam("beyond")))
    .order_by(_h.id)
)
_TRAITS = (
    sa.select(host_traits.c.host, host_traits.c.trait)
    .join(hosts, _h.host == host_traits.c.host)
    .where(sa.or_(_h.updated_at >= sa.bindparam("since"), _h.id > sa.bindparam("beyond")))
)
_CUSTOM = sa.select(
    host_inventories.c.host,
    host_inventories.c.resource_class,
    *(host_inventories.c[field] for field in Inventory.__struct_fields__),
)
_UNFIT = (
    sa.select(_h.id, _s.disabled, _s.forced_down, _s.last_seen_at, _s.stopped_at)
    .select_from(hosts.outerjoin(services, sa.and_(_s.host == _h.host, _s.binary == "nova-compute")))
    .where(
        sa.or_(
            _s.id.is_(None),
            _s.disabled.is_(True),
            _s.forced_down.is_(True),
            _s.stopped_at.is_not(None),
            _s.last_seen_at < sa.bindparam("heard_since"),
        )
    )
)
_AGGREGATES_AS_THEY_ARE = sa.select(  # a sum: whoever changes one later may have a clock that is behind
    sa.func.count(aggregates.c.id), sa.func.max(aggregates.c.id), sa.func.sum(aggregates.c.updated_at % 1_000_000_007)
)
_BUSY_WITH_DISKS = (  # both hosts of a move count
    sa.select(allocations.c.host, sa.func.count())
    .join(actions, actions.c.server_id == allocations.c.server_id)
    .where(actions.c.lease_until.is_not(None), actions.c.kind.in_(DISK_WORK))
    .group_by(allocations.c.host)
)
_FAILING = sa.select(_h.host, _h.failed_builds).where(_h.failed_builds > 0)
_METRICS = sa.select(_s.host, _s.metrics).where(_s.binary == "nova-compute", _s.metrics.is_not(None))
_PLACED = sa.and_(servers.c.host.is_not(None), servers.c.image_id.is_not(None), servers.c.deleted_at.is_(None))
_IMAGES = (
    sa.select(servers.c.host, servers.c.image_id, sa.func.count())
    .where(_PLACED)
    .group_by(servers.c.host, servers.c.image_id)
)
_IMAGE_RECORDS = sa.select(servers.c.image_id, servers.c.image).where(
    servers.c.seq.in_(sa.select(sa.func.min(servers.c.seq)).where(_PLACED).group_by(servers.c.image_id))
)
_ON_DEMAND = {"io_ops": _BUSY_WITH_DISKS, "failed_builds": _FAILING}
_MEMBERSHIPS = sa.select(sa.func.count(aggregate_hosts.c.host))


class Unfit(msgspec.Struct, frozen=True):
    """A host that takes nothing now, by its number, and why."""

    id: int
    up: bool
    enabled: bool


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One look. ``usage`` rows are (id, vcpus, memory_mb, disk_gb, servers), all hosts, by id; ``facts`` those of hosts that
    are new or were described anew; ``aggregates`` None if they are as they were at the mark that was given. ``on_demand``:
    counts by host of each column that was asked for; hosts with none are missing. ``traits``: what operators said of the hosts
    in ``facts``; ``custom``: what they added to any host, by class. ``at`` is the moment of the look.
    Also on demand: ``metrics`` by host and name; ``images``, how many servers were made of each, by host; their properties."""

    at: int
    usage: Sequence[Sequence[int]]
    facts: Sequence[Any]
    unfit: list[Unfit]
    aggregates: list[Aggregate] | None
    aggregates_mark: tuple[int, ...]
    on_demand: Mapping[str, Mapping[str, int]] = {}
    metrics: Mapping[str, Mapping[str, float]] = {}
    images: Mapping[str, Mapping[str, int]] = {}
    image_properties: Mapping[str, Mapping[str, str]] = {}
    traits: Mapping[str, Collection[str]] = {}
    custom: Mapping[str, Mapping[str, Inventory]] = {}


def read(
    connection: Connection,
    *,
    now: int,
    since: int,
    beyond: int,
    heard_since: int,
    aggregates_mark: tuple[int, ...],
    on_demand: Collection[str] = (),
) -> Reading:
    """Hosts described after the moment ``since`` or numbered above ``beyond`` come with their facts; a nova-compute that was
    not heard of after ``heard_since`` is down. ``on_demand``: columns that only some rules need."""
    mark = _mark(connection)
    changed = {"since": since, "beyond": beyond}
    with_images = "images" in on_demand
    return Reading(
        at=now,
        usage=connection.execute(_USAGE).all(),
        facts=connection.execute(_FACTS, changed).all(),
        traits=_traits(connection, changed),
        custom=_custom(connection),
        unfit=[_unfit(row, heard_since) for row in connection.execute(_UNFIT, {"heard_since": heard_since})],
        aggregates=None if mark == aggregates_mark else aggregate_rows.listing(connection),
        aggregates_mark=mark,
        metrics={row.host: row.metrics for row in connection.execute(_METRICS)} if "metrics" in on_demand else {},
        images=_images(connection) if with_images else {},
        image_properties=_image_properties(connection) if with_images else {},
        on_demand={
            name: {host: int(count) for host, count in connection.execute(query)}
            for name, query in _ON_DEMAND.items()
            if name in on_demand
        },
    )


def _images(connection: Connection) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for host, image_id, count in connection.execute(_IMAGES):
        found.setdefault(host, {})[image_id] = int(count)
    return found


def _image_properties(connection: Connection) -> dict[str, dict[str, str]]:
    return {image_id: (image or {}).get("properties", {}) for image_id, image in connection.execute(_IMAGE_RECORDS)}


def _traits(connection: Connection, changed: Mapping[str, int]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in connection.execute(_TRAITS, changed):
        found.setdefault(row.host, []).append(row.trait)
    return found


def _custom(connection: Connection) -> dict[str, dict[str, Inventory]]:
    found: dict[str, dict[str, Inventory]] = {}
    for host, name, *fields in connection.execute(_CUSTOM):
        found.setdefault(host, {})[name] = Inventory(**dict(zip(Inventory.__struct_fields__, fields, strict=True)))
    return found


def _unfit(row: Any, heard_since: int) -> Unfit:
    up = row.last_seen_at is not None and row.last_seen_at >= heard_since
    up = up and row.stopped_at is None and not row.forced_down
    return Unfit(row.id, up, row.disabled is not None and not row.disabled)


def _mark(connection: Connection) -> tuple[int, ...]:
    """Differs when an aggregate was made, changed, or deleted, or a host has joined or left one."""
    row = connection.execute(_AGGREGATES_AS_THEY_ARE).one()
    members = connection.execute(_MEMBERSHIPS).scalar_one()
    return (*(int(number or 0) for number in row), int(members))
