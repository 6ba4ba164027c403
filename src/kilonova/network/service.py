"""The embedded network service: one shared network whose bridge is on every host, and the ports on it.

Owns networks, subnets, ports and their addresses. Every address change is one transaction. Fails with ``Conflict``
when no address is left, ``NotFound`` for what the caller may not know of.
"""

from uuid import UUID, uuid5

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.database.connection import Database
from kilonova.model.clock import Clock, Ids
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Invalid, Misconfigured
from kilonova.model.guest import Nic
from kilonova.model.network import Network, Port, Subnet
from kilonova.network import allocation
from kilonova.network.addresses import gateway, parse_cidr, pool, pool_bounds, position_of
from kilonova.network.protocol import RequestedNic

_NAMESPACE = UUID("3f3c1c4e-09a5-5c3b-8a55-6f6f4a6f2b10")
SHARED = "private"
"""Name of the shared network: what DevStack's scripts look for."""

SHARED_NETWORK_ID = str(uuid5(_NAMESPACE, "network"))
SHARED_SUBNET_ID = str(uuid5(_NAMESPACE, "subnet"))


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The shared network (see ``config.NetworkConfig``). ``port_quota``: ports a project may make by itself."""

    cidr: str = "10.200.0.0/16"
    bridge: str = "knbr0"
    dns: tuple[str, ...] = ()
    mtu: int = 1500
    mount: str = "/network"
    zone: str = "nova"
    max_limit: int = 1000
    port_quota: int = 500


class EmbeddedNetworks:
    """The service. It is compute's ``NetworkService`` and what the HTTP handlers work with."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, settings: NetworkSettings) -> None:
        self.database = database
        self.clock = clock
        self.ids = ids
        self.settings = settings

    async def bootstrap(self, project_id: str) -> None:
        """Make the shared network, owned by ``project_id``, or bring it in line with the settings.

        Idempotent. Raises ``Misconfigured`` if the addresses were changed while some are in use.
        """
        try:
            await self.database.run(_bootstrap, self.settings, project_id, self.clock.now())
        except Conflict:  # another process made it at the same moment
            await self.database.run(_bootstrap, self.settings, project_id, self.clock.now())

    async def check(self, caller: Caller, requested: list[RequestedNic]) -> None:
        """Raise ``Invalid`` if a network, port or address does not exist for the caller or cannot be used."""
        await self.database.run(_check, caller, requested)

    async def default_networks(self, caller: Caller) -> list[RequestedNic]:
        """What a server gets that asked for nothing: the shared network."""
        return [RequestedNic(network_id=SHARED_NETWORK_ID)]

    async def allocate(self, server_id: str, project_id: str, host: str, requested: list[RequestedNic]) -> list[Nic]:
        """Ports of a server, one per requested entry, bound to ``host``; asked again, the same ports.

        Raises ``Conflict`` when a subnet has no address left, or a port is in use.
        """
        binding = allocation.Binding(
            server_id=server_id,
            project_id=project_id,
            host=host,
            zone=self.settings.zone,
            default_network=SHARED_NETWORK_ID,
            now=self.clock.now(),
        )
        return await self.database.run(allocation.bind, self.ids, binding, requested)

    async def release(self, server_id: str) -> None:
        """Give back the ports of a server; nothing happens if it has none."""
        await self.database.run(allocation.unbind, server_id)


def _bootstrap(connection: Connection, settings: NetworkSettings, project_id: str, now: int) -> None:
    cidr = parse_cidr(settings.cidr)
    first, last = pool_bounds(cidr)
    network = Network(
        id=SHARED_NETWORK_ID,
        project_id=project_id,
        name=SHARED,
        shared=True,
        mtu=settings.mtu,
        bridge=settings.bridge,
        description="The network every project may use.",
        created_at=now,
    )
    subnet = Subnet(
        id=SHARED_SUBNET_ID,
        network_id=network.id,
        project_id=project_id,
        name=f"{SHARED}-subnet",
        ip_version=4,
        cidr=str(cidr),
        gateway_ip=str(gateway(cidr)),
        enable_dhcp=False,
        pool_start=str(first),
        pool_end=str(last),
        dns_nameservers=list(settings.dns),
        cursor=2,
        created_at=now,
    )
    if queries.get(connection, Network, network.id) is None:
        queries.insert(connection, network)
        queries.insert(connection, subnet)
        return
    _follow_settings(connection, network, subnet)


def _follow_settings(connection: Connection, network: Network, subnet: Subnet) -> None:
    stored = queries.get(connection, Subnet, subnet.id)
    queries.update(connection, Network, network.id, {"mtu": network.mtu, "bridge": network.bridge})
    if stored is not None and stored.cidr == subnet.cidr:
        queries.update(connection, Subnet, subnet.id, {"dns_nameservers": subnet.dns_nameservers})
        return
    if queries.has_addresses(connection, subnet.id):
        was = "another" if stored is None else stored.cidr
        raise Misconfigured(
            f"option network.cidr: addresses of {was} are in use; delete their servers and ports first"
        )
    moved = ("cidr", "gateway_ip", "pool_start", "pool_end", "dns_nameservers", "cursor")
    queries.update(connection, Subnet, subnet.id, {name: getattr(subnet, name) for name in moved})


def _check(connection: Connection, caller: Caller, requested: list[RequestedNic]) -> None:
    ports = [entry.port_id for entry in requested if entry.port_id is not None]
    if len(set(ports)) != len(ports):
        raise Invalid("A port is asked for twice.")
    for entry in requested:
        if entry.port_id is not None:
            _check_port(connection, caller, entry.port_id)
        else:
            _check_network(connection, caller, entry)


def _check_port(connection: Connection, caller: Caller, port_id: str) -> None:
    port = queries.get(connection, Port, port_id)
    if port is None or (port.project_id != caller.project_id):
        raise Invalid(f"Port {port_id} could not be found.")
    if port.binding or port.device_id:
        raise Invalid(f"Port {port_id} is still in use.")


def _check_network(connection: Connection, caller: Caller, entry: RequestedNic) -> None:
    network_id = entry.network_id or SHARED_NETWORK_ID
    network = queries.get(connection, Network, network_id)
    if network is None or not (network.shared or caller.is_admin or network.project_id == caller.project_id):
        raise Invalid(f"Network {network_id} could not be found.")
    subnet = queries.subnet_of(connection, network_id)
    if subnet is None:
        raise Invalid(f"Network {network_id} requires a subnet in order to boot instances on.")
    if entry.fixed_ip is not None:
        position = position_of(subnet.cidr, entry.fixed_ip)
        if position not in pool(subnet.cidr, subnet.pool_start, subnet.pool_end):
            raise Invalid(f"Fixed IP {entry.fixed_ip} is not a valid ip address for network {network_id}.")
        if queries.is_taken(connection, subnet.id, position):
            raise Invalid(f"Fixed IP address {entry.fixed_ip} is already in use.")
