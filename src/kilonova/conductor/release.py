"""The last step of a delete gives back ports; the transaction that ends it gives back allocations and quota."""

from typing import Any

import structlog

from kilonova.conductor.snapshots import Snapshots
from kilonova.database import servers
from kilonova.database.connection import Database
from kilonova.model.action import Action
from kilonova.model.errors import KilonovaError, Unavailable
from kilonova.network.protocol import NetworkService

log = structlog.get_logger()


class Releaser:
    """Gives back the ports of servers that are over."""

    def __init__(self, database: Database, networks: NetworkService, snapshots: Snapshots) -> None:
        self._database = database
        self._networks = networks
        self._snapshots = snapshots

    async def release(self, action: Action) -> dict[str, Any]:
        """The step ``release``."""
        await self._networks.release(action.server_id)
        await self._snapshots.clear(action.server_id)
        await self._snapshots.forget_shelved(action.server_id)
        return {}

    async def tidy(self, stranded: list[str]) -> None:
        """Give back the ports of servers that no host could take: whoever ended them may have had no network service at hand."""
        for server_id in stranded:
            try:
                await self._networks.release(server_id)
            except Unavailable:
                raise
            except KilonovaError as error:
                log.warning("ports not given back yet", server=server_id, error=error.message)
                continue
            await self._database.run(servers.forget_addresses, server_id)
