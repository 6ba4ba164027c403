"""Soft-deleted servers that nobody has restored in time are deleted: by an action like any other, asked for by the cloud."""

from typing import Any

import structlog
from sqlalchemy.engine import Connection

from kilonova.config import Config
from kilonova.database import admission, membership, servers
from kilonova.database.connection import Database
from kilonova.database.outgoing import Outgoing, step_message
from kilonova.messaging.bus import Bus
from kilonova.messaging.contract import TimelineEvent
from kilonova.model.action import ActionState
from kilonova.model.clock import Clock, Ids
from kilonova.model.errors import Conflict, Unavailable
from kilonova.model.kinds.delete import DELETE
from kilonova.model.server import Server, TaskState

log = structlog.get_logger()

_AT_ONCE = 20


class Reclaimer:
    """Looks with every sweep; any number of conductors may."""

    def __init__(self, database: Database, bus: Bus, clock: Clock, ids: Ids, *, host: str, config: Config) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._ids = ids
        self._host = host
        self._interval = int(config.actions.reclaim_instance_interval * 1_000_000)
        self._dispatch = int(config.actions.dispatch * 1_000_000)
        self._down_after = config.membership.down_after

    async def once(self) -> None:
        """Ask for the deletes that are due. Raises ``Unavailable`` if the database is away."""
        if not self._interval:
            return
        for server in await self._database.run(servers.reclaimable, self._clock.now() - self._interval, _AT_ONCE):
            try:
                outgoing = await self._database.run(self._ask, server, self._clock.now())
            except Conflict:
                continue  # restored, or another conductor was faster
            if outgoing is not None:
                await self._send(outgoing)

    def _ask(self, connection: Connection, server: Server, now: int) -> Outgoing | None:
        event = TimelineEvent(
            name="sweep.reclaim", service="nova-conductor", host=self._host, started_at=now, finished_at=now
        )
        action = admission.request(
            connection,
            server=server,
            row=self._row(server, now),
            task_state=TaskState.DELETING,
            host_up=membership.compute_up(connection, server.host, now, self._down_after),
            events=[event],
        )
        return None if action is None else step_message(action, server)

    def _row(self, server: Server, now: int) -> dict[str, Any]:
        return {
            "id": self._ids.uuid(),
            "server_id": server.id,
            "kind": DELETE.name,
            "request_id": self._ids.request_id(),
            "global_request_id": None,
            "traceparent": None,
            "user_id": server.user_id,
            "project_id": server.project_id,
            "input": {},
            "work": {},
            "step": DELETE.steps[0].name,
            "on_host": None,
            "state": str(ActionState.PENDING),
            "epoch": 0,
            "lease_until": now + self._dispatch,
            "attempts": 0,
            "excluded_hosts": [],
            "before": {"vm_state": server.vm_state, "power_state": server.power_state},
            "started_at": now,
            "updated_at": now,
        }

    async def _send(self, outgoing: Outgoing) -> None:
        try:
            await self._bus.cast(outgoing.queue, outgoing.message, outgoing.context)
        except Unavailable as error:
            log.warning("the sweep will send this", queue=outgoing.queue, error=error.message)
