"""Transactions on ports: making one with an address, binding it to a server, giving it back.

Every function may run twice with the same outcome, as its caller may not know that it already ran.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.model.clock import Ids
from kilonova.model.errors import Conflict, Invalid, NotFound, Stale
from kilonova.model.guest import Nic
from kilonova.model.network import FixedIp, Network, Port, Subnet
from kilonova.network.addresses import address_at, host_address, new_mac, pool, position_of
from kilonova.network.protocol import RequestedNic

MAC_ATTEMPTS = 8
Locked = dict[str, tuple[Network, Subnet]]
"""Networks by id, each with the subnet whose row this transaction has locked."""


def take_address(connection: Connection, subnet: Subnet, port_id: str, wanted: str | None = None) -> FixedIp:
    """An address for a port; the subnet must be locked. Raises ``Conflict`` if it is taken, or none is left."""
    bounds = pool(subnet.cidr, subnet.pool_start, subnet.pool_end)
    if wanted is not None:
        position = position_of(subnet.cidr, wanted)
        if position not in bounds:
            raise Invalid(f"IP address {wanted} is not in the subnet's pool.")
        if queries.is_taken(connection, subnet.id, position):
            raise Conflict(f"IP address {wanted} is already allocated.")
    else:
        since = subnet.cursor if subnet.cursor in bounds else bounds.first
        position = queries.first_free(connection, subnet.id, since)
        if position > bounds.last:
            position = queries.first_free(connection, subnet.id, bounds.first)
        if position > bounds.last:
            raise Conflict(f"No more IP addresses available on network {subnet.network_id}.")
        queries.advance(connection, subnet.id, position + 1)
    address = address_at(subnet.cidr, position)
    taken = FixedIp(subnet_id=subnet.id, ip_address=address, position=position, port_id=port_id)
    queries.insert(connection, taken, f"IP address {address} is already allocated.")
    return taken


def create_port(connection: Connection, subnet: Subnet, port: Port, wanted: str | None = None) -> FixedIp:
    """A port with one address of the (locked) subnet. Raises ``Conflict`` if its MAC address is taken."""
    queries.insert(connection, port, f"MAC address {port.mac_address} is in use on this network.")
    return take_address(connection, subnet, port.id, wanted)


def free_mac(connection: Connection, network_id: str, ids: Ids) -> str:
    """A MAC address nobody has on the network; the network's subnet must be locked."""
    for _ in range(MAC_ATTEMPTS):
        mac = new_mac(ids)
        if not queries.mac_taken(connection, network_id, mac):
            return mac
    raise Conflict("No free MAC address was found.")


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """For whom ports are bound, and what a port without a network means."""

    server_id: str
    project_id: str
    host: str
    zone: str = "nova"
    default_network: str
    now: int


def bind(connection: Connection, ids: Ids, binding: Binding, requested: Sequence[RequestedNic]) -> list[Nic]:
    """The server's ports, one per requested entry: those it has, and new ones for what is missing.

    Raises ``Stale`` for a server that is being deleted: its ports are given back once, and nobody would give back these.
    """
    if queries.is_leaving(connection, binding.server_id):
        raise Stale(f"Instance {binding.server_id} is being deleted; it gets no more ports.")
    networks = _lock_networks(connection, binding, requested)
    have = {port.device_index: port for port in queries.ports_of_server(connection, binding.server_id)}
    nics = []
    for index, entry in enumerate(requested):
        port, address = have.get(index), None
        if port is None and entry.port_id is not None:
            port = _attach(connection, binding, entry.port_id, index)
        elif port is None:
            port, address = _create(connection, ids, binding, networks, entry, index)
        elif port.host != binding.host:
            queries.update(connection, Port, port.id, {"host": binding.host})
        nics.append(_nic(connection, networks, port, address))
    return nics


def _lock_networks(connection: Connection, binding: Binding, requested: Sequence[RequestedNic]) -> Locked:
    """Lock every network concerned, always in the same order, so that two servers cannot wait for each other."""
    wanted = set()
    for entry in requested:
        port = queries.get(connection, Port, entry.port_id) if entry.port_id else None
        if entry.port_id and port is None:
            raise NotFound(f"Port {entry.port_id} could not be found.")
        wanted.add(port.network_id if port else entry.network_id or binding.default_network)
    found = {}
    for network_id in sorted(wanted):
        network = queries.get(connection, Network, network_id)
        subnet = queries.subnet_of(connection, network_id, lock=True)
        if network is None or subnet is None:
            raise NotFound(f"Network {network_id} could not be found, or has no subnet.")
        found[network_id] = (network, subnet)
    return found


def _create(
    connection: Connection, ids: Ids, binding: Binding, networks: Locked, entry: RequestedNic, index: int
) -> tuple[Port, FixedIp]:
    network_id = entry.network_id or binding.default_network
    port = Port(
        id=ids.uuid(),
        network_id=network_id,
        project_id=binding.project_id,
        mac_address=free_mac(connection, network_id, ids),
        device_id=binding.server_id,
        device_owner=f"compute:{binding.zone}",
        device_index=index,
        binding="created",
        host=binding.host,
        status="ACTIVE",
        created_at=binding.now,
    )
    network, subnet = networks[network_id]
    taken = create_port(connection, subnet, port, entry.fixed_ip)
    if entry.fixed_ip is None:  # the next card's search goes on behind this one, as the stored cursor says
        networks[network_id] = (network, msgspec.structs.replace(subnet, cursor=taken.position + 1))
    return port, taken


def _attach(connection: Connection, binding: Binding, port_id: str, index: int) -> Port:
    port = queries.get(connection, Port, port_id)
    if port is None or port.project_id != binding.project_id:
        raise NotFound(f"Port {port_id} could not be found.")
    if port.binding or port.device_id:
        raise Conflict(f"Port {port_id} is still in use.")
    changes = {
        "device_id": binding.server_id,
        "device_owner": f"compute:{binding.zone}",
        "device_index": index,
        "binding": "attached",
        "host": binding.host,
        "status": "ACTIVE",
    }
    attached = queries.update(connection, Port, port_id, changes)
    assert attached is not None
    return attached


def _nic(connection: Connection, networks: Locked, port: Port, address: FixedIp | None) -> Nic:
    if port.network_id not in networks:
        raise Conflict(f"Port {port.id} of this server is on another network than the one asked for.")
    network, subnet = networks[port.network_id]
    addresses = [address] if address is not None else queries.addresses_of(connection, [port.id])[port.id]
    return Nic(
        port_id=port.id,
        network_id=network.id,
        network_name=network.name,
        mac=port.mac_address,
        address=addresses[0].ip_address if addresses else "",
        cidr=subnet.cidr,
        gateway=subnet.gateway_ip,
        dns=subnet.dns_nameservers,
        mtu=network.mtu,
        bridge=network.bridge,
        host_address=host_address(subnet.cidr, subnet.gateway_ip),
    )


_UNBOUND = {"device_id": "", "device_owner": "", "device_index": 0, "binding": "", "host": "", "status": "DOWN"}


def unbind(connection: Connection, server_id: str) -> None:
    """Give back a server's ports: delete what was made for it, detach what existed before."""
    for port in queries.ports_of_server(connection, server_id):
        if port.binding == "created":
            queries.delete_port(connection, port.id)
        else:
            queries.update(connection, Port, port.id, _UNBOUND)
