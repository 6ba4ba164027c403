"""What servers are given of their hosts' topologies: kept in the allocations, summed up in the hosts' rows. Decision 0053.

Whoever changes what a host has given holds its row: a claim or a return has changed it before it comes here. So what is read
here of a host's allocations stays as it is until the commit.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import allocations, hosts
from kilonova.database.types import Json
from kilonova.model.topology.fit import NoFit, fit
from kilonova.model.topology.given import GivenTopology, TopologyUse, read_given, read_use, use_document, used_by
from kilonova.model.topology.machine import Topology
from kilonova.model.topology.request import TopologyRequest

_h, _l = hosts.c, allocations.c
_HAS = sa.select(_h.topology).where(_h.host == sa.bindparam("on_host"))
_HELD = _HAS.with_for_update()
_GIVEN = sa.select(_l.topology).where(_l.host == sa.bindparam("on_host"), _l.topology.is_not(None))
_GIVE = (
    allocations.update()
    .where(_l.consumer == sa.bindparam("of_consumer"), _l.host == sa.bindparam("on_host"))
    .values(topology=sa.bindparam("given", type_=Json()))
)
_COUNT = (
    hosts.update()
    .where(_h.host == sa.bindparam("on_host"))
    .values(
        topology_used=sa.bindparam("used", type_=Json()),
        devices_free=sa.bindparam("free"),
        topology_version=_h.topology_version + 1,
    )
)
_DESCRIBE = (
    hosts.update()
    .where(_h.host == sa.bindparam("on_host"))
    .values(topology=sa.bindparam("reported", type_=Json()), generation=_h.generation + 1)
)
_OF_SERVER = sa.select(_l.consumer, _l.topology).where(
    _l.server_id == sa.bindparam("of_server"), _l.host == sa.bindparam("on_host")
)
_VERSIONS = sa.select(_h.host, _h.topology_version).where(_h.topology_version > 0).order_by(_h.id)
_STATES = sa.select(_h.host, _h.topology_version, _h.topology, _h.topology_used).where(
    _h.host.in_(sa.bindparam("these", expanding=True))
)
_AT_ONCE = 500


# --- in the transactions of claims and reports -----------------------------------------------------------------


def describe(connection: Connection, host: str, topology: Topology) -> None:
    """Write down what a host has, as it reports it."""
    reported = msgspec.to_builtins(topology)
    held = connection.execute(_HELD, {"on_host": host}).first()
    if held is not None and held.topology != reported:
        connection.execute(_DESCRIBE, {"on_host": host, "reported": reported})
        count(connection, host)


def take(connection: Connection, host: str, consumer: str, request: TopologyRequest) -> GivenTopology | None:
    """Give the consumer what it asks for, with its claim on the host just made; None if it does not fit (any more)."""
    row = connection.execute(_HAS, {"on_host": host}).first()
    if row is None or row.topology is None:
        return None
    found = fit(msgspec.convert(row.topology, Topology), _used(connection, host), request)
    if isinstance(found, NoFit):
        return None
    connection.execute(_GIVE, {"of_consumer": consumer, "on_host": host, "given": msgspec.to_builtins(found)})
    count(connection, host)
    return found


def count(connection: Connection, host: str) -> None:
    """What the host has given is what its allocations say now."""
    row = connection.execute(_HAS, {"on_host": host}).first()
    if row is None:
        return
    use = _used(connection, host)
    devices = {device["address"] for device in (row.topology or {}).get("devices", [])}
    parameters = {"on_host": host, "used": use_document(use), "free": len(devices - use.devices)}
    connection.execute(_COUNT, parameters)


def _used(connection: Connection, host: str) -> TopologyUse:
    rows = connection.execute(_GIVEN, {"on_host": host})
    return used_by(read_given(row.topology) for row in rows)


# --- what one server was given ---------------------------------------------------------------------------------


def given_to(connection: Connection, server_id: str, host: str | None, *consumers: str) -> GivenTopology | None:
    """What a server has on a host; if it is there twice (a resize that stays), as the first of the ``consumers``."""
    rows = connection.execute(_OF_SERVER, {"of_server": server_id, "on_host": host}).all()
    by_consumer = {row.consumer: row.topology for row in rows}
    found = next((by_consumer[one] for one in (*consumers, *by_consumer) if one in by_consumer), None)
    return None if found is None else read_given(found)


# --- for the scheduler's look ----------------------------------------------------------------------------------


class HostTopology(msgspec.Struct, frozen=True, kw_only=True):
    """What a host has, what of it is used, and the version that is."""

    host: str
    version: int
    topology: Topology
    use: TopologyUse


def read(connection: Connection, known: Mapping[str, int]) -> Iterator[HostTopology]:
    """Hosts whose topologies are not as in ``known`` (version by name)."""
    rows = connection.execute(_VERSIONS).all()
    changed = [row.host for row in rows if known.get(row.host) != row.topology_version]
    for at in range(0, len(changed), _AT_ONCE):
        for row in connection.execute(_STATES, {"these": changed[at : at + _AT_ONCE]}).all():
            if row.topology is not None:
                yield _state(row)


def _state(row: Any) -> HostTopology:
    return HostTopology(
        host=row.host,
        version=row.topology_version,
        topology=msgspec.convert(row.topology, Topology),
        use=read_use(row.topology_used),
    )
