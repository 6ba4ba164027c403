"""Queries of the network service: networks, subnets, ports, and the addresses they hold.

Whoever takes or gives addresses locks the subnet's row first. So no two transactions look for a free address at once,
and the search needs no retry; the primary key of ``fixed_ips`` would stop a double one all the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from kilonova.database import tables as t
from kilonova.model.errors import Conflict
from kilonova.model.network import FixedIp, Network, Port, Subnet
from kilonova.model.server import TaskState

R = TypeVar("R", Network, Subnet, Port)
_TABLES: dict[type, sa.Table] = {Network: t.networks, Subnet: t.subnets, Port: t.ports, FixedIp: t.fixed_ips}


def _columns(kind: type[Any]) -> list[sa.Column[Any]]:
    return [_TABLES[kind].c[field] for field in kind.__struct_fields__]


_BY_ID = {
    kind: sa.select(*_columns(kind)).where(_TABLES[kind].c.id == sa.bindparam("id"))
    for kind in (Network, Subnet, Port)
}
_f = t.fixed_ips.c


def get(connection: Connection, kind: type[R], record_id: str) -> R | None:
    """The network, subnet or port of that id."""
    row = connection.execute(_BY_ID[kind], {"id": record_id}).first()
    return None if row is None else kind(**row._mapping)


def find(
    connection: Connection,
    kind: type[R],
    filters: Mapping[str, object],
    *,
    limit: int = 1000,
    marker: str | None = None,
    project_id: str | None = None,
    addresses: Sequence[str] = (),
    subnets: Sequence[str] = (),
) -> list[R]:
    """Records whose columns equal ``filters`` (a list: any of them), by id, after ``marker``, bounded.

    With ``project_id`` only what that project may see: its own, and shared networks with their subnets. Ports
    also by what ``addresses`` or ``subnets`` they have.
    """
    table = _TABLES[kind]
    query = sa.select(*_columns(kind)).order_by(table.c.id).limit(limit)
    for name, value in filters.items():
        query = query.where(table.c[name].in_(value) if isinstance(value, list) else table.c[name] == value)
    if project_id is not None:
        query = query.where(sa.or_(table.c.project_id == project_id, *_shared(kind)))
    if addresses:
        query = query.where(table.c.id.in_(sa.select(_f.port_id).where(_f.ip_address.in_(addresses))))
    if subnets:
        query = query.where(table.c.id.in_(sa.select(_f.port_id).where(_f.subnet_id.in_(subnets))))
    if marker is not None:
        query = query.where(table.c.id > marker)
    return [kind(**row._mapping) for row in connection.execute(query)]


def _shared(kind: type[Any]) -> list[sa.ColumnElement[bool]]:
    if kind is Network:
        return [t.networks.c.shared.is_(True)]
    if kind is Subnet:
        shared = sa.select(t.networks.c.id).where(t.networks.c.shared.is_(True))
        return [t.subnets.c.network_id.in_(shared)]
    return []


def insert(connection: Connection, record: Network | Subnet | Port | FixedIp, message: str = "It exists.") -> None:
    """Add a record. Raises ``Conflict`` with ``message`` if a key is taken."""
    try:
        connection.execute(_INSERTS[type(record)], msgspec.structs.asdict(record))
    except IntegrityError:
        raise Conflict(message) from None


_INSERTS = {kind: sa.insert(table) for kind, table in _TABLES.items()}


def update(connection: Connection, kind: type[R], record_id: str, changes: Mapping[str, object]) -> R | None:
    """Change columns of a record; the record as it is afterwards."""
    table = _TABLES[kind]
    if changes:
        connection.execute(table.update().where(table.c.id == record_id).values(**changes))
    return get(connection, kind, record_id)


# --- addresses ---------------------------------------------------------------------------------------------

_SUBNETS = sa.select(*_columns(Subnet)).where(
    t.subnets.c.network_id == sa.bindparam("network_id"), t.subnets.c.ip_version == 4
)
_LOCK = _SUBNETS.order_by(t.subnets.c.created_at, t.subnets.c.id).limit(1).with_for_update()
_PLAIN = _SUBNETS.order_by(t.subnets.c.created_at, t.subnets.c.id).limit(1)
_ADVANCE = t.subnets.update().where(t.subnets.c.id == sa.bindparam("subnet_id")).values(cursor=sa.bindparam("to"))
_TAKEN = sa.select(_f.port_id).where(
    _f.subnet_id == sa.bindparam("subnet_id"), _f.position == sa.bindparam("position")
)
_next = t.fixed_ips.alias("following")
_GAP = (
    # The end of the run of taken addresses that begins at or after a position: the first with a free one behind it.
    sa.select(_f.position + 1)
    .select_from(
        t.fixed_ips.outerjoin(_next, sa.and_(_next.c.subnet_id == _f.subnet_id, _next.c.position == _f.position + 1))
    )
    .where(
        _f.subnet_id == sa.bindparam("subnet_id"), _f.position >= sa.bindparam("since"), _next.c.position.is_(None)
    )
    .order_by(_f.position)
    .limit(1)
)
_IPS = sa.select(*_columns(FixedIp)).where(_f.port_id == sa.bindparam("port_id"))


def subnet_of(connection: Connection, network_id: str, *, lock: bool = False) -> Subnet | None:
    """The network's first IPv4 subnet; with ``lock`` nobody else takes addresses until this transaction ends."""
    row = connection.execute(_LOCK if lock else _PLAIN, {"network_id": network_id}).first()
    return None if row is None else Subnet(**row._mapping)


def is_taken(connection: Connection, subnet_id: str, position: int) -> bool:
    """Whether the address is some port's."""
    return connection.execute(_TAKEN, {"subnet_id": subnet_id, "position": position}).first() is not None


def first_free(connection: Connection, subnet_id: str, since: int) -> int:
    """The first free position at or after ``since`` (which may lie behind the pool's end)."""
    if not is_taken(connection, subnet_id, since):
        return since
    return int(connection.execute(_GAP, {"subnet_id": subnet_id, "since": since}).scalar_one())


def advance(connection: Connection, subnet_id: str, to: int) -> None:
    """Where the next search begins: addresses come back into use as late as possible."""
    connection.execute(_ADVANCE, {"subnet_id": subnet_id, "to": to})


def addresses_of(connection: Connection, port_ids: Sequence[str]) -> dict[str, list[FixedIp]]:
    """The addresses of ports."""
    found: dict[str, list[FixedIp]] = {port_id: [] for port_id in port_ids}
    if not port_ids:
        return found
    query = _IPS if len(port_ids) == 1 else sa.select(*_columns(FixedIp)).where(_f.port_id.in_(port_ids))
    for row in connection.execute(query, {"port_id": port_ids[0]} if len(port_ids) == 1 else {}):
        found[row.port_id].append(FixedIp(**row._mapping))
    return found


def has_addresses(connection: Connection, subnet_id: str) -> bool:
    """Whether any address of the subnet is taken."""
    return connection.execute(sa.select(_f.port_id).where(_f.subnet_id == subnet_id).limit(1)).first() is not None


_OWNER = (
    sa.select(t.servers.c.task_state, t.servers.c.deleted_at)
    .where(t.servers.c.id == sa.bindparam("server_id"))
    .with_for_update()
)


def is_leaving(connection: Connection, server_id: str) -> bool:
    """Whether a server is being deleted, or was. Its row is locked: a delete begins before or after this transaction."""
    row = connection.execute(_OWNER, {"server_id": server_id}).first()
    return row is not None and (row.deleted_at is not None or row.task_state == TaskState.DELETING)


# --- ports -------------------------------------------------------------------------------------------------

_p = t.ports.c
_BOUND = (
    sa.select(*_columns(Port))
    .where(_p.device_id == sa.bindparam("server_id"), _p.binding != "")
    .order_by(_p.device_index)
)
_DROP_PORT = t.ports.delete().where(_p.id == sa.bindparam("port_id"))
_DROP_IPS = t.fixed_ips.delete().where(_f.port_id == sa.bindparam("port_id"))


def ports_of_server(connection: Connection, server_id: str) -> list[Port]:
    """The ports that Compute bound to a server, in the order of its cards."""
    return [Port(**row._mapping) for row in connection.execute(_BOUND, {"server_id": server_id})]


_MAC = sa.select(_p.id).where(_p.network_id == sa.bindparam("network_id"), _p.mac_address == sa.bindparam("mac"))


def mac_taken(connection: Connection, network_id: str, mac: str) -> bool:
    """Whether a port of the network has that MAC address."""
    return connection.execute(_MAC, {"network_id": network_id, "mac": mac}).first() is not None


def delete_port(connection: Connection, port_id: str) -> bool:
    """Remove a port and free its addresses."""
    connection.execute(_DROP_IPS, {"port_id": port_id})
    return connection.execute(_DROP_PORT, {"port_id": port_id}).rowcount > 0


def count_ports(connection: Connection, project_id: str) -> int:
    """How many ports a project made itself (those of its servers are bounded by the servers' quota)."""
    query = sa.select(sa.func.count()).where(_p.project_id == project_id, _p.binding != "created")
    return int(connection.execute(query).scalar_one())
