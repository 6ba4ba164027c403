"""What a request has to mind beside the hosts themselves: looked up only for requests that name a group or other servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.engine import Connection

from kilonova.database import server_groups
from kilonova.messaging.contract import ScheduleServer
from kilonova.model.placement import Neighbours, different_host_hint, group_hint, same_host_hint


def names_neighbours(request: ScheduleServer) -> bool:
    """Whether there is anything to look up."""
    return not request.hints.keys().isdisjoint(("group", "same_host", "different_host"))


def read_neighbours(connection: Connection, request: ScheduleServer) -> Neighbours:
    """The look itself."""
    return server_groups.neighbours(
        connection,
        server_id=request.guest.server_id,
        project_id=request.guest.project_id,
        group_id=group_hint(request.hints),
        same=same_host_hint(request.hints),
        different=different_host_hint(request.hints),
    )


class Turns:
    """One server of a group is placed after the other, so that each sees where the one before went.

    Only within this scheduler, and only to choose well: between schedulers the claim in the database keeps the hard policies.
    """

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, int] = {}

    @asynccontextmanager
    async def turn(self, group_id: str | None) -> AsyncIterator[None]:
        """Hold the group's turn; a server without a group waits for nobody."""
        if group_id is None:
            yield
            return
        lock = self._locks.setdefault(group_id, asyncio.Lock())
        self._waiting[group_id] = self._waiting.get(group_id, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[group_id] -= 1
            if not self._waiting[group_id]:
                del self._waiting[group_id], self._locks[group_id]
