"""One address more for a server, and one less: on the ports it has, as ``addFixedIp`` and ``removeFixedIp`` of Compute do."""

import ipaddress

from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import networks as queries
from kilonova.model.errors import Conflict, Invalid, NotFound
from kilonova.model.network import Network, Port
from kilonova.network import server_rows
from kilonova.network.allocation import Segment, WantedIp


def add(connection: Connection, server_id: str, network_id: str, now: int) -> None:
    """An address for the first of the server's ports on that network, of the oldest subnet that has one left.

    Raises ``NotFound`` for a server without such a port, ``Invalid`` when no address is left.
    """
    port = next((port for port in _ports(connection, server_id) if port.network_id == network_id), None)
    if port is None:
        raise NotFound(f"Instance {server_id} has no port on network {network_id[:64]}.")
    segment = Segment.lock(connection, network_id)
    port = _held(connection, server_id, port)
    if not any(_take(segment, port, subnet.id) for subnet in segment.subnets):
        raise Invalid(f"No fixed IP addresses are left on network {network_id}.")
    queries.touch(connection, port, now)
    server_rows.refresh(connection, server_id)


def _take(segment: Segment, port: Port, subnet_id: str) -> bool:
    try:
        segment.take(port.id, port.device_owner, [WantedIp(subnet_id=subnet_id)])
    except Conflict:  # this subnet is full; nothing was written
        return False
    return True


def remove(connection: Connection, server_id: str, address: str, now: int) -> None:
    """Take an address off the server's port that has it. Raises ``Invalid`` if none has, or a floating address stands for it."""
    text = str(ipaddress.ip_address(address))
    ports = _ports(connection, server_id)
    have = held.addresses_of(connection, [port.id for port in ports])
    for port in ports:
        if text in [entry.ip_address for entry in have[port.id]]:
            queries.get(connection, Network, port.network_id, lock=True)
            still = _held(connection, server_id, port)
            if any(fixed == text for _, fixed in held.floating_of(connection, [port.id])[port.id]):
                raise Invalid(f"A floating IP is associated with fixed IP {text}; disassociate it first.")
            held.free(connection, port.id, text)
            queries.touch(connection, still, now)
            server_rows.refresh(connection, server_id)
            return
    raise Invalid(f"Fixed IP {text} is not one of instance {server_id}.")


def _held(connection: Connection, server_id: str, port: Port) -> Port:
    """The same port, which nobody detaches, removes or puts a floating address on now. Raises ``NotFound`` if somebody has."""
    held_port = queries.get(connection, Port, port.id, lock=True)
    if held_port is None or held_port.device_id != server_id:
        raise NotFound(f"Instance {server_id} has no port {port.id} any more.")
    return held_port


def _ports(connection: Connection, server_id: str) -> list[Port]:
    """Those of a server that stays: what is being deleted gets nothing any more, and gives back all at once."""
    if held.is_leaving(connection, server_id):
        raise NotFound(f"Instance {server_id} could not be found.")
    return held.ports_of_server(connection, server_id)
