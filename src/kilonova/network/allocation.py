"""Transactions on ports: making one with its addresses, binding it to a server, giving it back.

Every function may run twice with the same outcome, as its caller may not know that it already ran.
"""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import networks as queries
from kilonova.database import port_groups, trunks
from kilonova.model.clock import Ids
from kilonova.model.errors import Conflict, Invalid, NotFound, Stale
from kilonova.model.guest import Nic
from kilonova.model.network import FixedIp, Network, Port, Subnet
from kilonova.network import server_rows
from kilonova.network.addresses import address_at, holds, new_mac, pools, position_of, read_address
from kilonova.network.default_group import default_group
from kilonova.network.protocol import RequestedNic

MAC_ATTEMPTS = 8
_ROUTERS_OWN = "network:router"


class WantedIp(msgspec.Struct, frozen=True, kw_only=True):
    """An address asked for: this very one, or any of a subnet."""

    subnet_id: str | None = None
    ip_address: str | None = None


class Segment:
    """A network whose row this transaction has locked, with its subnets as this transaction leaves them."""

    def __init__(self, connection: Connection, network: Network) -> None:
        self.network = network
        self.subnets = held.subnets_of(connection, network.id)
        self._connection = connection

    @classmethod
    def lock(cls, connection: Connection, network_id: str) -> "Segment":
        """Nobody else takes or gives addresses on it until this transaction ends. Raises ``NotFound``."""
        network = queries.get(connection, Network, network_id, lock=True)
        if network is None:
            raise NotFound(f"Network {network_id[:64]} could not be found.", name="NetworkNotFound")
        return cls(connection, network)

    def take(self, port_id: str, device_owner: str, wanted: Iterable[WantedIp] | None) -> list[FixedIp]:
        """Addresses for a port: those wanted, or one of each family that the network has.

        Raises ``Conflict`` if one is taken or none is left, ``Invalid`` if it is none of the network's.
        """
        if wanted is not None:
            return [self._take_wanted(port_id, device_owner, entry) for entry in wanted]
        families = (4, 6)
        candidates = [[subnet for subnet in self.subnets if subnet.ip_version == family] for family in families]
        return [self._take_any(port_id, subnets) for subnets in candidates if subnets]

    def _take_wanted(self, port_id: str, device_owner: str, wanted: WantedIp) -> FixedIp:
        if wanted.ip_address is None:
            return self._take_any(port_id, [self._subnet(wanted.subnet_id)])
        subnet = self._subnet_of(wanted)
        position = position_of(subnet.cidr, wanted.ip_address)
        address = str(read_address(wanted.ip_address))
        if address == subnet.gateway_ip and not device_owner.startswith(_ROUTERS_OWN):
            raise Invalid(f"IP address {address} is the gateway of subnet {subnet.id}.", name="InvalidIpForSubnet")
        taken = Conflict(
            f"IP address {address} is already allocated in subnet {subnet.id}.", name="IpAddressAlreadyAllocated"
        )
        if held.is_taken(self._connection, subnet.id, address):
            raise taken
        found = FixedIp(subnet_id=subnet.id, ip_address=address, position=position, port_id=port_id)
        queries.insert(self._connection, found, taken)
        return found

    def _subnet(self, subnet_id: str | None) -> Subnet:
        for subnet in self.subnets:
            if subnet.id == subnet_id:
                return subnet
        raise Invalid(f"Subnet {subnet_id} is not one of network {self.network.id}.")

    def _subnet_of(self, wanted: WantedIp) -> Subnet:
        assert wanted.ip_address is not None
        for subnet in [self._subnet(wanted.subnet_id)] if wanted.subnet_id is not None else self.subnets:
            if wanted.subnet_id is not None or holds(subnet.cidr, wanted.ip_address):
                return subnet
        raise Invalid(
            f"IP address {wanted.ip_address[:64]} is not a valid IP for any of the subnets on network {self.network.id}.",
            name="InvalidIpForNetwork",
        )

    def _take_any(self, port_id: str, subnets: Sequence[Subnet]) -> FixedIp:
        for subnet in subnets:
            position = self._search(subnet)
            if position is not None:
                held.advance(self._connection, subnet.id, position + 1)
                moved = msgspec.structs.replace(subnet, cursor=position + 1)
                self.subnets = [moved if known.id == moved.id else known for known in self.subnets]
                address = address_at(subnet.cidr, position)
                found = FixedIp(subnet_id=subnet.id, ip_address=address, position=position, port_id=port_id)
                queries.insert(self._connection, found)
                return found
        raise Conflict(
            f"No more IP addresses available on network {self.network.id}.", name="IpAddressGenerationFailure"
        )

    def _search(self, subnet: Subnet) -> int | None:
        """The first free place at or after the cursor, then from the beginning; None if there is none."""
        everywhere = pools(subnet)
        at = next((number for number, pool in enumerate(everywhere) if subnet.cursor in pool), None)
        order = list(everywhere) if at is None else [*everywhere[at:], *everywhere[: at + 1]]
        for number, pool in enumerate(order):
            since = subnet.cursor if at is not None and number == 0 else pool.first
            position = held.first_free(self._connection, subnet.id, since)
            if position <= pool.last:
                return position
        return None


def create_port(
    connection: Connection,
    segment: Segment,
    port: Port,
    wanted: Iterable[WantedIp] | None = None,
    groups: Sequence[str] = (),
) -> list[FixedIp]:
    """A port with its addresses and groups. Raises ``Conflict`` if its MAC address is taken."""
    taken = Conflict(
        f"MAC address {port.mac_address} is in use on network {segment.network.id}.", name="MacAddressInUse"
    )
    queries.insert(connection, port, taken)
    port_groups.put_on(connection, port.id, groups)
    return segment.take(port.id, port.device_owner, wanted)


def free_mac(connection: Connection, network_id: str, ids: Ids) -> str:
    """A MAC address nobody has on the network, whose row must be locked."""
    for _ in range(MAC_ATTEMPTS):
        mac = new_mac(ids)
        if not held.mac_taken(connection, network_id, mac):
            return mac
    raise Conflict("No free MAC address was found.", name="MacAddressGenerationFailure")


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """For whom ports are bound, and what a port without a network means.

    ``external``: a new port may be on an external network, as an administrator asks for it.
    """

    server_id: str
    project_id: str
    host: str
    zone: str = "nova"
    default_network: str
    now: int
    external: bool = False


def bind(connection: Connection, ids: Ids, binding: Binding, requested: Sequence[RequestedNic]) -> list[Nic]:
    """The server's ports, one per requested entry: those it has, and new ones for what is missing.

    Raises ``Stale`` for a server that is being deleted: its ports are given back once, and nobody would give back these.
    """
    if held.is_leaving(connection, binding.server_id):
        raise Stale(f"Instance {binding.server_id} is being deleted; it gets no more ports.")
    segments = _lock_networks(connection, binding, requested)
    have = {port.device_index: port for port in held.ports_of_server(connection, binding.server_id)}
    nics = []
    for number, entry in enumerate(requested):
        index = number if entry.slot is None else entry.slot
        port, fresh = have.get(index), None
        if port is None and entry.port_id is not None:
            port = attach_port(connection, binding, entry.port_id, index)
        elif port is None:
            segment = segments[entry.network_id or binding.default_network]
            port, fresh = add_port(connection, ids, binding, segment, entry, index)
        elif port.host != binding.host:
            queries.update(connection, Port, port.id, {"host": binding.host})
            trunks.follow(connection, port.id, host=binding.host, status=port.status)
        nics.append(_nic(connection, segments, port, fresh, entry.tag))
    if any(entry.port_id is not None or entry.groups_by_id for entry in requested):
        server_rows.tell_groups(
            connection, binding.server_id
        )  # known by the ports only: until now the row says what was asked
    return nics


def _lock_networks(connection: Connection, binding: Binding, requested: Sequence[RequestedNic]) -> dict[str, Segment]:
    """Lock every network concerned, always in the same order, so that two servers cannot wait for each other."""
    wanted = set()
    for entry in requested:
        port = queries.get(connection, Port, entry.port_id) if entry.port_id else None
        if entry.port_id and port is None:
            raise NotFound(f"Port {entry.port_id} could not be found.", name="PortNotFound")
        wanted.add(port.network_id if port else entry.network_id or binding.default_network)
    return {network_id: Segment.lock(connection, network_id) for network_id in sorted(wanted)}


def add_port(
    connection: Connection,
    ids: Ids,
    binding: Binding,
    segment: Segment,
    entry: RequestedNic,
    index: int,
    port_id: str | None = None,
) -> tuple[Port, list[FixedIp]]:
    """A new port for a server's card, with that id if it has one already.

    Raises ``Conflict`` when no address is left, ``NotFound`` for a group that is gone.
    """
    network = segment.network
    if not segment.subnets:
        raise Conflict(f"Network {network.id} requires a subnet in order to boot instances on.")
    port = Port(
        id=port_id or ids.uuid(),
        network_id=network.id,
        project_id=binding.project_id,
        mac_address=free_mac(connection, network.id, ids),
        device_id=binding.server_id,
        device_owner=f"compute:{binding.zone}",
        device_index=index,
        binding="created",
        host=binding.host,
        status="ACTIVE",
        port_security_enabled=network.port_security_enabled,
        created_at=binding.now,
        updated_at=binding.now,
    )
    groups: list[str] = []
    if network.port_security_enabled:
        groups = entry.security_groups or [default_group(connection, binding.project_id, binding.now).id]
        if len(port_groups.keep(connection, groups)) < len(set(groups)):
            raise NotFound("A security group of the server does not exist any more.", name="SecurityGroupNotFound")
    wanted = None if entry.fixed_ip is None else [WantedIp(ip_address=entry.fixed_ip)]
    return port, create_port(connection, segment, port, wanted, groups)


def attach_port(connection: Connection, binding: Binding, port_id: str, index: int) -> Port:
    """Bind a port that exists. Raises ``NotFound`` if it is not the project's, ``Conflict`` if it is in use."""
    port = queries.get(connection, Port, port_id)
    if port is None or port.project_id != binding.project_id:
        raise NotFound(f"Port {port_id} could not be found.", name="PortNotFound")
    if port.binding or port.device_id:
        raise Conflict(f"Port {port_id} is still in use.", name="PortInUse")
    changes = {
        "device_id": binding.server_id,
        "device_owner": f"compute:{binding.zone}",
        "device_index": index,
        "binding": "attached",
        "host": binding.host,
        "status": "ACTIVE",
    }
    attached = queries.update(connection, Port, port_id, changes)
    trunks.follow(connection, port_id, host=binding.host, status="ACTIVE")
    assert attached is not None
    return attached


def _nic(
    connection: Connection, segments: dict[str, Segment], port: Port, fresh: list[FixedIp] | None, tag: str | None
) -> Nic:
    if port.network_id not in segments:
        raise Conflict(f"Port {port.id} of this server is on another network than the one asked for.")
    segment = segments[port.network_id]
    if fresh is not None:  # made just now: no floating address can stand for it yet
        return server_rows.nic(segment.network, segment.subnets, port, fresh, [], tag)
    addresses = held.addresses_of(connection, [port.id])[port.id]
    floating = held.floating_of(connection, [port.id])[port.id]
    return server_rows.nic(segment.network, segment.subnets, port, addresses, floating, tag)


def unbind(connection: Connection, server_id: str) -> None:
    """Give back a server's ports: delete what was made for it, detach what existed before."""
    for port in held.ports_of_server(connection, server_id):
        held.unbind_port(connection, port)
