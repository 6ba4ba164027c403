"""The ports of a server: shown, and one more of them. Reference: the Compute API's ``os-interface``."""

from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import networks as queries
from kilonova.model.clock import Ids
from kilonova.model.errors import Conflict, Forbidden, Invalid, NotFound, Stale
from kilonova.model.guest import Nic
from kilonova.model.network import Network, Port
from kilonova.network import server_rows
from kilonova.network.addresses import holds
from kilonova.network.allocation import Binding, Segment, add_port, attach_port
from kilonova.network.protocol import RequestedNic


def shown(connection: Connection, server_id: str) -> list[dict[str, Any]]:
    """Id, network, MAC address, status and addresses of each, in the order of the cards."""
    ports = held.ports_of_server(connection, server_id)
    addresses = held.addresses_of(connection, [port.id for port in ports])
    return [
        {
            "id": port.id,
            "network_id": port.network_id,
            "mac_address": port.mac_address,
            "status": port.status,
            "fixed_ips": [{"subnet_id": ip.subnet_id, "ip_address": ip.ip_address} for ip in addresses[port.id]],
        }
        for port in ports
    ]


def attach(connection: Connection, ids: Ids, binding: Binding, wanted: RequestedNic, port_id: str) -> Nic:
    """One more port for a server, bound: the one asked for, or a new one with that id. Raises as Nova does, and then
    nothing has changed."""
    if held.is_leaving(connection, binding.server_id):
        raise Stale(f"Instance {binding.server_id} is being deleted; it gets no more ports.")
    taken = {port.device_index for port in held.ports_of_server(connection, binding.server_id)}
    index = next(slot for slot in range(len(taken) + 1) if slot not in taken)
    if wanted.port_id is not None:
        port = queries.get(connection, Port, wanted.port_id)
        if port is None or port.project_id != binding.project_id:
            raise NotFound(f"Port id {wanted.port_id} could not be found.")
        segment = Segment.lock(connection, port.network_id)
        port = attach_port(connection, binding, wanted.port_id, index)
        addresses = held.addresses_of(connection, [port.id])[port.id]
    else:
        segment = _segment(connection, binding, wanted)
        try:
            named = msgspec.structs.replace(wanted, network_id=segment.network.id)
            port, addresses = add_port(connection, ids, binding, segment, named, index, port_id)
        except Conflict as full:
            raise Invalid(full.message) from None
    floating = held.floating_of(connection, [port.id])[port.id]
    return server_rows.nic(segment.network, segment.subnets, port, addresses, floating, wanted.tag)


def _segment(connection: Connection, binding: Binding, wanted: RequestedNic) -> Segment:
    """The network asked for, locked, if the server's project may use it and the address asked for is free."""
    network_id = wanted.network_id or binding.default_network
    network = queries.get(connection, Network, network_id)
    if network is None or not (network.shared or network.external or network.project_id == binding.project_id):
        raise NotFound(f"Network {network_id} could not be found.")
    if network.external and not network.shared and not binding.external:
        raise Forbidden(f"It is not allowed to create an interface on external network {network_id}")
    segment = Segment.lock(connection, network_id)
    if not segment.subnets:
        raise Invalid(f"Network {network_id} requires a subnet in order to attach an interface.")
    for subnet in segment.subnets if wanted.fixed_ip is not None else ():
        if holds(subnet.cidr, wanted.fixed_ip or "") and held.is_taken(connection, subnet.id, wanted.fixed_ip or ""):
            raise Conflict(f"Fixed IP address {wanted.fixed_ip} is already in use on instance.")
    return segment
