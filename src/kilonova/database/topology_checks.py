"""The rules about topologies that hold between any two transactions; part of ``database/checks.py``."""

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import allocations, hosts, servers
from kilonova.model.finding import Finding
from kilonova.model.topology.given import GivenTopology, given_twice, read_given, read_use, used_by

_h, _l, _s = hosts.c, allocations.c, servers.c
_GIVEN = sa.select(_l.host, _l.topology).where(_l.topology.is_not(None))
_COUNTED = sa.select(_h.host, _h.topology, _h.topology_used, _h.devices_free).order_by(_h.host)
_WITHOUT = (
    sa.select(_s.id, _s.host, _s.flavor)
    .join(allocations, _l.consumer == _s.id)
    .where(_s.deleted_at.is_(None), _l.topology.is_(None))
    .order_by(_s.seq)
)


def topology_usage(connection: Connection) -> Iterator[Finding]:
    """What hosts count as given is the sum of their allocations, and nothing is given to two."""
    given: dict[str, list[GivenTopology]] = {}
    for host, document in connection.execute(_GIVEN):
        given.setdefault(host, []).append(read_given(document))
    for row in connection.execute(_COUNTED):
        here = given.get(row.host, [])
        use = used_by(here)
        if read_use(row.topology_used) != use:
            yield Finding(
                kind="topology_usage",
                subject=row.host,
                message="the processors, memory, pages or devices that it counts as given are not those of its allocations",
            )
        devices = {device["address"] for device in (row.topology or {}).get("devices", [])}
        if row.devices_free != len(devices - use.devices):
            yield Finding(
                kind="topology_usage",
                subject=row.host,
                message=f"it counts {row.devices_free} devices as free, and {len(devices - use.devices)} are",
            )
        if twice := given_twice(here):
            yield Finding(
                kind="topology_doubled",
                subject=row.host,
                message=f"given to more than one server: {', '.join(twice)}",
            )


def topology_missing(connection: Connection) -> Iterator[Finding]:
    """A server that asks for a topology has one where it is."""
    for row in connection.execute(_WITHOUT):
        if "topology" in row.flavor:
            yield Finding(
                kind="topology_missing",
                subject=row.id,
                message=f"it was given none of the processors, memory or devices of host {row.host} that it asks for",
            )
