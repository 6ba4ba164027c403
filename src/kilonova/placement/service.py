"""The embedded Placement: what its handlers work with."""

from collections.abc import Sequence
from typing import Any

import msgspec

from kilonova.database import providers
from kilonova.database.connection import Database
from kilonova.model.clock import Clock, Ids
from kilonova.model.provider import Group, Provider
from kilonova.placement.known import check_groups


class EmbeddedPlacement(msgspec.Struct, frozen=True, kw_only=True):
    """Owns the custom traits and resource classes and what operators add to hosts; everything else is a view on the ledger."""

    database: Database
    clock: Clock
    ids: Ids

    async def find(self, groups: Sequence[Group], *, limit: int | None = None, **more: Any) -> list[Provider]:
        """The providers that can each give all of the groups at once; ``more`` as ``database.providers.batch`` has it.

        Others are served between two batches. Raises ``Invalid`` if a group names a class or a trait that there is not.
        """
        await self.database.run(check_groups, groups)
        found: list[Provider] = []
        after: int | None = 0
        size = min(limit or providers.BATCH, providers.BATCH)
        while after is not None and (limit is None or len(found) < limit):
            some, after = await self.database.run(providers.batch, groups, after=after, size=size, **more)
            found += some
            size = min(2 * size, providers.BATCH)
            await self.clock.sleep(0)
        return found[:limit]
