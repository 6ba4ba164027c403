"""Queries on addresses and on the ports that hold them. The network's row is locked by whoever takes or gives one."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import network_tables as t
from kilonova.database import trunks
from kilonova.database.networks import columns
from kilonova.database.tables import servers
from kilonova.model.network import FixedIp, Port, Subnet
from kilonova.model.server import TaskState

_f = t.fixed_ips.c
_p = t.ports.c
_SUBNETS = (
    sa.select(*columns(Subnet))
    .where(t.subnets.c.network_id == sa.bindparam("network_id"))
    .order_by(t.subnets.c.created_at, t.subnets.c.id)
)
_ADVANCE = t.subnets.update().where(t.subnets.c.id == sa.bindparam("subnet_id")).values(cursor=sa.bindparam("to"))
_TAKEN = sa.select(_f.port_id).where(
    _f.subnet_id == sa.bindparam("subnet_id"), _f.ip_address == sa.bindparam("ip_address")
)
_AT = sa.select(_f.port_id).where(_f.subnet_id == sa.bindparam("subnet_id"), _f.position == sa.bindparam("position"))
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
_IPS = sa.select(*columns(FixedIp)).where(_f.port_id == sa.bindparam("port_id"))


def subnets_of(connection: Connection, network_id: str) -> list[Subnet]:
    """The network's subnets, oldest first."""
    return [Subnet(**row._mapping) for row in connection.execute(_SUBNETS, {"network_id": network_id})]


def is_taken(connection: Connection, subnet_id: str, ip_address: str) -> bool:
    """Whether the address is some port's."""
    return connection.execute(_TAKEN, {"subnet_id": subnet_id, "ip_address": ip_address}).first() is not None


def first_free(connection: Connection, subnet_id: str, since: int) -> int:
    """The first free position at or after ``since`` (which may lie behind the pool's end)."""
    if connection.execute(_AT, {"subnet_id": subnet_id, "position": since}).first() is None:
        return since
    found = connection.execute(_GAP, {"subnet_id": subnet_id, "since": since}).scalar()
    # Who gives an address back locks no network: the one at ``since`` may have gone between the two statements.
    return since if found is None else int(found)


def advance(connection: Connection, subnet_id: str, to: int) -> None:
    """Where the next search begins: addresses come back into use as late as possible."""
    connection.execute(_ADVANCE, {"subnet_id": subnet_id, "to": to})


def addresses_of(connection: Connection, port_ids: Sequence[str]) -> dict[str, list[FixedIp]]:
    """The addresses of ports."""
    found: dict[str, list[FixedIp]] = {port_id: [] for port_id in port_ids}
    if not port_ids:
        return found
    query = _IPS if len(port_ids) == 1 else sa.select(*columns(FixedIp)).where(_f.port_id.in_(port_ids))
    for row in connection.execute(query, {"port_id": port_ids[0]} if len(port_ids) == 1 else {}):
        found[row.port_id].append(FixedIp(**row._mapping))
    return found


def ports_on(connection: Connection, subnet_id: str) -> list[Port]:
    """The ports that have an address of the subnet, a thousand at most."""
    holders = sa.select(_f.port_id).where(_f.subnet_id == subnet_id)
    query = sa.select(*columns(Port)).where(_p.id.in_(holders)).order_by(_p.id).limit(1000)
    return [Port(**row._mapping) for row in connection.execute(query)]


def free(connection: Connection, port_id: str, ip_address: str) -> None:
    """Give back one address of a port."""
    connection.execute(t.fixed_ips.delete().where(_f.port_id == port_id, _f.ip_address == ip_address))


# --- ports -------------------------------------------------------------------------------------------------

_OWNER = (
    sa.select(servers.c.task_state, servers.c.deleted_at)
    .where(servers.c.id == sa.bindparam("server_id"))
    .with_for_update()
)


def is_leaving(connection: Connection, server_id: str) -> bool:
    """Whether a server is being deleted, or was. Its row is locked: a delete begins before or after this transaction."""
    row = connection.execute(_OWNER, {"server_id": server_id}).first()
    return row is not None and (row.deleted_at is not None or row.task_state == TaskState.DELETING)


_BOUND = (
    sa.select(*columns(Port))
    .where(_p.device_id == sa.bindparam("server_id"), _p.binding != "")
    .order_by(_p.device_index)
)
_HELD = _BOUND.with_for_update()
_MAC = sa.select(_p.id).where(_p.network_id == sa.bindparam("network_id"), _p.mac_address == sa.bindparam("mac"))


def ports_of_server(connection: Connection, server_id: str, *, lock: bool = False) -> list[Port]:
    """The ports that Compute bound to a server, in the order of its cards; with ``lock`` nobody else changes or removes them."""
    return [Port(**row._mapping) for row in connection.execute(_HELD if lock else _BOUND, {"server_id": server_id})]


def mac_taken(connection: Connection, network_id: str, mac: str) -> bool:
    """Whether a port of the network has that MAC address."""
    return connection.execute(_MAC, {"network_id": network_id, "mac": mac}).first() is not None


_DROP_IPS = t.fixed_ips.delete().where(_f.port_id == sa.bindparam("of_port"))
_DROP_GROUPS = t.port_security_groups.delete().where(t.port_security_groups.c.port_id == sa.bindparam("of_port"))
_DROP_TAGS = t.network_tags.delete().where(t.network_tags.c.resource_id == sa.bindparam("of_port"))
_DROP_PORT = t.ports.delete().where(_p.id == sa.bindparam("of_port"))
_fl = t.floating_ips.c
_FLOATING_OF = (
    sa.select(_fl.port_id, _fl.floating_ip_address, _fl.fixed_ip_address)
    .where(_fl.port_id.in_(sa.bindparam("these", expanding=True)))
    .order_by(_fl.floating_ip_address)
)
_LET_GO = (
    t.floating_ips.update()
    .where(_fl.port_id == sa.bindparam("of_port"))
    .values(port_id=None, fixed_ip_address=None, router_id=None, status="DOWN")
)


def remove_port(connection: Connection, port_id: str) -> bool:
    """Remove a port with all that hangs on it: its addresses are free, floating addresses stand for nobody.

    The port goes first: who holds its row to hang something on it is waited for, who comes later finds no port.
    """
    gone = connection.execute(_DROP_PORT, {"of_port": port_id}).rowcount > 0
    for statement in (_DROP_IPS, _DROP_GROUPS, _DROP_TAGS, _LET_GO):
        connection.execute(statement, {"of_port": port_id})
    return gone


def floating_of(connection: Connection, port_ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """The floating addresses that stand for ports' own: (floating, fixed)."""
    found: dict[str, list[tuple[str, str]]] = {port_id: [] for port_id in port_ids}
    if port_ids:
        for row in connection.execute(_FLOATING_OF, {"these": list(port_ids)}):
            found[row.port_id].append((row.floating_ip_address, row.fixed_ip_address))
    return found


_UNBOUND = {"device_id": "", "device_owner": "", "device_index": 0, "binding": "", "host": "", "status": "DOWN"}


def unbind_port(connection: Connection, port: Port) -> None:
    """Give back one port of a server: delete it if it was made for it, detach it if it existed before."""
    if port.binding == "created":
        remove_port(connection, port.id)
    else:
        still = (_p.id == port.id, _p.device_id == port.device_id, _p.binding == port.binding)
        # Asked twice at once, the second one finds it given back, and perhaps another server's already.
        if connection.execute(t.ports.update().where(*still).values(**_UNBOUND)).rowcount:
            trunks.follow(connection, port.id, host="", status="DOWN")


def give_back(connection: Connection, server_id: str, port_id: str) -> None:
    """Give back one of a server's ports, if it is one."""
    for port in ports_of_server(connection, server_id):
        if port.id == port_id:
            unbind_port(connection, port)
