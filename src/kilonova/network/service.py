"""The embedded network service: networks, and the ports on them.

Owns networks, subnets, ports and their addresses, security groups, routers and floating addresses. Every change is one
transaction. Fails with ``Conflict`` when no address is left, ``NotFound`` for what the caller may not know of.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import networks as queries
from kilonova.database import port_groups
from kilonova.database.connection import Database
from kilonova.model.clock import Clock, Ids
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Forbidden, Invalid, NotFound
from kilonova.model.guest import Nic
from kilonova.model.network import Network, Port
from kilonova.model.server import Server
from kilonova.network import allocation, server_addresses, server_groups, server_ports
from kilonova.network.addresses import holds, position_of, read_address
from kilonova.network.default_group import NAME, default_group
from kilonova.network.protocol import Binder, RequestedNic
from kilonova.network.settings import NetworkSettings
from kilonova.network.shared import SHARED_NETWORK_ID, bootstrap, bootstrap_public

T = TypeVar("T")


class EmbeddedNetworks:
    """The service. It is compute's ``NetworkService`` and what the HTTP handlers work with."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, settings: NetworkSettings) -> None:
        self.database = database
        self.clock = clock
        self.ids = ids
        self.settings = settings

    async def bootstrap(self, project_id: str) -> None:
        """Make what a fresh cloud holds, owned by ``project_id``, or bring it in line with the settings.

        Idempotent. Raises ``Misconfigured`` if the addresses were changed while some are in use.
        """
        try:
            await self.database.run(_bootstrap, self.settings, project_id, self.clock.now())
        except Conflict:  # another process made it at the same moment
            await self.database.run(_bootstrap, self.settings, project_id, self.clock.now())

    async def check(self, caller: Caller, requested: list[RequestedNic] | None) -> list[RequestedNic]:
        """What a server gets. Raises as Nova does if a network, port or address does not exist or cannot be used."""
        return await self.database.run(_check, caller, requested)

    async def default_networks(self, caller: Caller) -> list[RequestedNic]:
        """What a server gets that asked for nothing: the project's own network, else the shared one."""
        return [RequestedNic(network_id=await self.database.run(_default_network, caller.project_id or ""))]

    async def find_groups(self, project_id: str, names: list[str]) -> list[tuple[str, str]]:
        """(id, name) of the groups that are called so. Raises ``NotFound``, or ``Conflict`` for a name that several have."""
        return await self.database.run(_find_groups, project_id, names, self.clock.now())

    async def allocate(self, server_id: str, project_id: str, host: str, requested: list[RequestedNic]) -> list[Nic]:
        """Ports of a server, one per requested entry, bound to ``host``; asked again, the same ports.

        Raises ``Conflict`` when a subnet has no address left, or a port is in use.
        """
        return await self.database.run(self._bind, server_id, project_id, host, requested)

    @property
    def binder(self) -> Binder:
        """``allocate`` within a transaction of the caller's, as the ports are in this same database."""
        return self._bind

    def _bind(
        self, connection: Connection, server_id: str, project_id: str, host: str, requested: list[RequestedNic]
    ) -> list[Nic]:
        return allocation.bind(connection, self.ids, self.binding(server_id, project_id, host), requested)

    def binding(self, server_id: str, project_id: str, host: str) -> allocation.Binding:
        """For whom ports are bound now."""
        return allocation.Binding(
            server_id=server_id,
            project_id=project_id,
            host=host,
            zone=self.settings.zone,
            default_network=SHARED_NETWORK_ID,
            now=self.clock.now(),
        )

    async def release(self, server_id: str) -> None:
        """Give back the ports of a server; nothing happens if it has none."""
        await self.database.run(allocation.unbind, server_id)

    async def ports_of(self, server_id: str) -> list[dict[str, Any]]:
        """A server's ports in the order of its cards."""
        return await self.database.run(server_ports.shown, server_id)

    async def attach(
        self,
        wanted: RequestedNic,
        port_id: str,
        *,
        external: bool,
        admit: Callable[[Connection], Server],
        confirm: Callable[[Connection, Server, Nic], T],
    ) -> T:
        """One more port for the server that ``admit`` returns, all in one transaction with what ``confirm`` does."""
        return await self.database.run(self._attach, wanted, port_id, external, admit, confirm)

    def _attach(
        self,
        connection: Connection,
        wanted: RequestedNic,
        port_id: str,
        external: bool,
        admit: Callable[[Connection], Server],
        confirm: Callable[[Connection, Server, Nic], T],
    ) -> T:
        server = admit(connection)
        binding = self.binding(server.id, server.project_id, server.host or "")
        binding = msgspec.structs.replace(binding, external=external)
        nic = server_ports.attach(connection, self.ids, binding, wanted, port_id)
        return confirm(connection, server, nic)

    async def groups_of(self, server_id: str) -> list[dict[str, Any]]:
        """The security groups of a server's ports with their rules, as Network v2.0 shows them."""
        return await self.database.run(server_groups.shown, server_id)

    async def add_group(self, server_id: str, group_id: str) -> None:
        """Put a group on all of a server's ports. Raises ``NotFound`` for a server without ports."""
        await self.database.run(server_groups.add, server_id, group_id, self.clock.now())

    async def remove_group(self, server_id: str, group_id: str) -> None:
        """Take a group off all of a server's ports. Raises ``NotFound`` if none carries it."""
        await self.database.run(server_groups.remove, server_id, group_id, self.clock.now())

    async def add_address(self, server_id: str, network_id: str) -> None:
        """One address more for a server's port on a network. Raises ``NotFound`` without one, ``Invalid`` if none is left."""
        await self.database.run(server_addresses.add, server_id, network_id, self.clock.now())

    async def remove_address(self, server_id: str, address: str) -> None:
        """Take an address off a server's port. Raises ``Invalid`` if none has it, or a floating address stands for it."""
        await self.database.run(server_addresses.remove, server_id, address, self.clock.now())


def _bootstrap(connection: Connection, settings: NetworkSettings, project_id: str, now: int) -> None:
    bootstrap(connection, settings, project_id, now)
    bootstrap_public(connection, project_id, now)


def _default_network(connection: Connection, project_id: str) -> str:
    found = queries.own_networks(connection, project_id)
    if len(found) > 1:
        raise Conflict("Multiple possible networks found, use a Network ID to be more specific.")
    return found[0] if found else SHARED_NETWORK_ID


def _find_groups(connection: Connection, project_id: str, names: list[str], now: int) -> list[tuple[str, str]]:
    found = []
    for name in dict.fromkeys(names):
        groups = (
            [default_group(connection, project_id, now)]
            if name == NAME
            else port_groups.named(connection, project_id, name)
        )
        if not groups:
            raise NotFound(f"Security group {name[:255]} not found for project {project_id}.")
        if len(groups) > 1:
            raise Conflict(f"Multiple security groups have the name '{name[:255]}': use an ID to be more specific.")
        found.append((groups[0].id, groups[0].name))
    return found


def _check(connection: Connection, caller: Caller, requested: list[RequestedNic] | None) -> list[RequestedNic]:
    if requested is None:
        requested = [RequestedNic(network_id=_default_network(connection, caller.project_id or ""))]
    ports = [entry.port_id for entry in requested if entry.port_id is not None]
    if len(set(ports)) != len(ports):
        raise Invalid("A port is asked for twice.")
    for entry in requested:
        if entry.port_id is not None:
            _check_port(connection, caller, entry.port_id)
        else:
            _check_network(connection, caller, entry)
    return requested


def _check_port(connection: Connection, caller: Caller, port_id: str) -> None:
    port = queries.get(connection, Port, port_id)
    if port is None or port.project_id != caller.project_id:
        raise Invalid(f"Port {port_id} could not be found.")
    if port.binding or port.device_id:
        raise Conflict(f"Port {port_id} is still in use.")
    if not held.addresses_of(connection, [port.id])[port.id]:
        raise Invalid(f"Port {port_id} requires a FixedIP in order to be used.")


def _check_network(connection: Connection, caller: Caller, entry: RequestedNic) -> None:
    network_id = entry.network_id or SHARED_NETWORK_ID
    network = queries.get(connection, Network, network_id)
    seen = network is not None and (network.shared or network.external or network.project_id == caller.project_id)
    if network is None or not (seen or caller.is_admin):
        raise Invalid(f"Network {network_id} could not be found.")
    if network.external and not network.shared and not caller.is_admin:
        raise Forbidden(f"It is not allowed to create an interface on external network {network_id}")
    subnets = held.subnets_of(connection, network_id)
    if not subnets:
        raise Invalid(f"Network {network_id} requires a subnet in order to boot instances on.")
    if entry.fixed_ip is None:
        return
    address = str(read_address(entry.fixed_ip))
    subnet = next((subnet for subnet in subnets if holds(subnet.cidr, address)), None)
    if subnet is None or address == subnet.gateway_ip:
        raise Invalid(f"Fixed IP {address} is not a valid ip address for network {network_id}.")
    position_of(subnet.cidr, address)
    if held.is_taken(connection, subnet.id, address):
        raise Invalid(f"Fixed IP address {address} is already in use.")
