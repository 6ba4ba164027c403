"""What Compute asks of a network service. The embedded one and a client of Neutron both fulfil it."""

from typing import Protocol

import msgspec

from kilonova.model.context import Caller
from kilonova.model.guest import Nic


class RequestedNic(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of ``networks`` in a server's create request: by network, or by a port that exists."""

    network_id: str | None = None
    port_id: str | None = None
    fixed_ip: str | None = None


class NetworkService(Protocol):
    """Addresses and ports for servers. Every verb may be repeated: it finds its own work."""

    async def check(self, caller: Caller, requested: list[RequestedNic]) -> None:
        """Raise ``Invalid`` if a requested network, port or address does not exist for the caller or cannot be
        used."""
        ...

    async def default_networks(self, caller: Caller) -> list[RequestedNic]:
        """What a server gets that asked for nothing (``auto``): the project's own network, else the shared one."""
        ...

    async def allocate(self, server_id: str, project_id: str, host: str, requested: list[RequestedNic]) -> list[Nic]:
        """Ports of a server, one per requested entry, bound to ``host``; asked again, the same ports.

        Raises ``Conflict`` when a subnet has no address left.
        """
        ...

    async def release(self, server_id: str) -> None:
        """Give back the ports of a server; nothing happens if it has none."""
        ...
