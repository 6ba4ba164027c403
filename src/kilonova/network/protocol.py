"""What Compute asks of a network service. The embedded one and a client of Neutron both fulfil it."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy.engine import Connection

from kilonova.model.context import Caller
from kilonova.model.guest import Nic
from kilonova.model.server import Server

T = TypeVar("T")


class RequestedNic(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of ``networks`` in a server's create request: by network, or by a port that exists.

    ``security_groups`` are the ids of the groups that a port made for it carries; none: the project's default group.
    ``groups_by_id``: some of them were asked for by id, and the server's row says their names from when the port is there.
    ``slot`` is the card's place in the guest; None: its place in the list.
    """

    network_id: str | None = None
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None
    slot: int | None = None
    security_groups: list[str] = []
    groups_by_id: bool = False


Binder = Callable[[Connection, str, str, str, list[RequestedNic]], list[Nic]]
"""``NetworkService.allocate`` as a piece of somebody's transaction; the same arguments, and it raises the same."""


class NetworkService(Protocol):
    """Addresses and ports for servers. Every verb may be repeated: it finds its own work."""

    @property
    def binder(self) -> Binder | None:
        """For callers with a transaction on the database that the ports are in; None if those are elsewhere."""
        ...

    async def check(self, caller: Caller, requested: list[RequestedNic] | None) -> list[RequestedNic]:
        """What a server gets: what is requested, or for None (``auto``) its ``default_networks``.

        Raises ``Invalid``, ``Conflict`` or ``Forbidden``, as Nova does, if a network, port or address does not exist for the
        caller or cannot be used.
        """
        ...

    async def default_networks(self, caller: Caller) -> list[RequestedNic]:
        """What a server gets that asked for nothing: the project's own network, else the shared one.

        Raises ``Conflict`` if there are several.
        """
        ...

    async def find_groups(self, project_id: str, names: list[str]) -> list[tuple[str, str]]:
        """(id, name) of the security groups that are called so, or have that id.

        Raises ``NotFound``, or ``Conflict`` for a name that several have.
        """
        ...

    async def allocate(self, server_id: str, project_id: str, host: str, requested: list[RequestedNic]) -> list[Nic]:
        """Ports of a server, one per requested entry, bound to ``host``; asked again, the same ports.

        Raises ``Conflict`` when a subnet has no address left.
        """
        ...

    async def release(self, server_id: str) -> None:
        """Give back the ports of a server; nothing happens if it has none."""
        ...

    async def ports_of(self, server_id: str) -> list[dict[str, Any]]:
        """A server's ports in the order of its cards: ``id``, ``network_id``, ``mac_address``, ``status``, ``fixed_ips``."""
        ...

    async def attach(
        self,
        wanted: RequestedNic,
        port_id: str,
        *,
        external: bool,
        admit: Callable[[Connection], Server],
        confirm: Callable[[Connection, Server, Nic], T],
    ) -> T:
        """One more port for the server that ``admit`` returns; ``port_id`` is the new one's id unless one is asked for.
        ``external``: it may be on an external network, as an administrator asks.

        What ``confirm`` makes of it is returned. All is one transaction where the network service is embedded. Raises as
        Nova's ``os-interface`` does.
        """
        ...

    async def groups_of(self, server_id: str) -> list[dict[str, Any]]:
        """The security groups of a server's ports with their rules, as Network v2.0 shows them."""
        ...

    async def add_group(self, server_id: str, group_id: str) -> None:
        """Put a group on all of a server's ports. Raises ``NotFound`` for a server without ports."""
        ...

    async def remove_group(self, server_id: str, group_id: str) -> None:
        """Take a group off all of a server's ports. Raises ``NotFound`` if none carries it."""
        ...

    async def add_address(self, server_id: str, network_id: str) -> None:
        """One address more for a server's port on a network. Raises ``NotFound`` without one, ``Invalid`` if none is left."""
        ...

    async def remove_address(self, server_id: str, address: str) -> None:
        """Take an address off a server's port. Raises ``Invalid`` if none has it, or a floating address stands for it."""
        ...
