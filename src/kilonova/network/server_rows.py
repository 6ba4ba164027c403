"""What a server's own row says of its ports: kept in step by whoever changes them, so that nobody asks twice to show a server."""

from collections.abc import Sequence

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import networks as queries
from kilonova.database import port_groups, servers
from kilonova.model.guest import Nic
from kilonova.model.network import FixedIp, Network, Port, Subnet
from kilonova.network.addresses import host_address
from kilonova.network.shared import SHARED_NETWORK_ID


def nic(
    network: Network,
    subnets: Sequence[Subnet],
    port: Port,
    addresses: Sequence[FixedIp],
    floating: Sequence[tuple[str, str]],
    tag: str | None = None,
) -> Nic:
    """A port as the hypervisor is told of it. A guest is configured with its first IPv4 address, if it has one."""
    ordered = sorted(addresses, key=lambda entry: ":" in entry.ip_address)
    first = ordered[0] if ordered else None
    subnet = next((entry for entry in subnets if first is not None and entry.id == first.subnet_id), None)
    shared = network.id == SHARED_NETWORK_ID
    return Nic(
        port_id=port.id,
        network_id=network.id,
        network_name=network.name,
        mac=port.mac_address,
        address=first.ip_address if first else "",
        cidr=subnet.cidr if subnet else "",
        gateway=subnet.gateway_ip if subnet else None,
        dns=subnet.dns_nameservers if subnet else [],
        mtu=network.mtu,
        bridge=network.bridge,
        # Projects may all use the same addresses, so the hosts have one on the shared network only.
        host_address=host_address(subnet.cidr, subnet.gateway_ip) if subnet and shared else "",
        slot=port.device_index,
        tag=tag,
        more_addresses=[entry.ip_address for entry in ordered[1:]],
        floating=list(floating),
    )


def nics_of(connection: Connection, server_id: str, tags: dict[str, str | None]) -> list[Nic]:
    """All cards of a server, as its ports are now; ``tags`` by port."""
    ports = held.ports_of_server(connection, server_id)
    ids = [port.id for port in ports]
    addresses, floating = held.addresses_of(connection, ids), held.floating_of(connection, ids)
    found = []
    for port in ports:
        network = queries.get(connection, Network, port.network_id)
        if network is None:  # a network with a port on it is not deleted: the port was given back since it was read
            continue
        subnets = held.subnets_of(connection, network.id)
        found.append(nic(network, subnets, port, addresses[port.id], floating[port.id], tags.get(port.id)))
    return found


def tell_groups(connection: Connection, server_id: str) -> None:
    """Write a server's groups anew: they are those of its ports."""
    servers.update(connection, server_id, security_groups=port_groups.names_of(connection, server_id))


def refresh(connection: Connection, server_id: str) -> None:
    """Write a server's addresses and groups anew, if it is one that has been given any; others are not ours to write.

    Its row is held before its ports are read: of two who have changed one port each, the second writes both down.
    """
    servers.hold(connection, server_id)
    server = servers.find(connection, server_id)
    if server is None or server.deleted_at is not None or not server.addresses:
        return
    tags = {entry["port_id"]: entry.get("tag") for entry in server.addresses}
    nics = nics_of(connection, server_id, tags)
    servers.update(connection, server_id, addresses=msgspec.to_builtins(nics))
    tell_groups(connection, server_id)
