"""What is due without anybody asking: resizes to be confirmed, shelved servers to leave, deleted ones to be reclaimed.

Each becomes an action like any other, asked for by the cloud itself.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import structlog
from sqlalchemy.engine import Connection

from kilonova.config import Config
from kilonova.database import actions, admission, membership, moves, servers
from kilonova.database.connection import Database
from kilonova.database.outgoing import Outgoing, step_message
from kilonova.messaging.bus import Bus
from kilonova.messaging.contract import TimelineEvent
from kilonova.model.action import Kind
from kilonova.model.clock import Clock, Ids
from kilonova.model.errors import Conflict, Unavailable
from kilonova.model.kinds.delete import DELETE
from kilonova.model.kinds.resize import CONFIRM
from kilonova.model.kinds.unshelve import SHELVE_OFFLOAD
from kilonova.model.server import Server

log = structlog.get_logger()

_AT_ONCE = 20


class _Due(msgspec.Struct, frozen=True):
    server: Server
    kind: Kind
    event: str


class Due:
    """Looks with every sweep; any number of conductors may."""

    def __init__(self, database: Database, bus: Bus, clock: Clock, ids: Ids, *, host: str, config: Config) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._ids = ids
        self._host = host
        self._reclaim_after = int(config.actions.reclaim_instance_interval * 1_000_000)
        self._confirm_after = config.moves.resize_confirm_window * 1_000_000
        self._offload_after = config.moves.shelved_offload_time * 1_000_000
        self._dispatch = int(config.actions.dispatch * 1_000_000)
        self._down_after = config.membership.down_after

    async def once(self) -> None:
        """Ask for what is due. Raises ``Unavailable`` if the database is away."""
        for due in await self._database.run(self._look, self._clock.now()):
            try:
                outgoing = await self._database.run(self._ask, due, self._clock.now())
            except Conflict:
                continue  # somebody else asked for something meanwhile
            if outgoing is not None:
                await self._send(outgoing)

    def _look(self, connection: Connection, now: int) -> list[_Due]:
        return list(self._found(connection, now))

    def _found(self, connection: Connection, now: int) -> Iterator[_Due]:
        if self._reclaim_after:
            for server in servers.reclaimable(connection, now - self._reclaim_after, _AT_ONCE):
                yield _Due(server, DELETE, "sweep.reclaim")
        if self._confirm_after:
            for server in servers.unconfirmed(connection, now - self._confirm_after, _AT_ONCE):
                source = (server.resized_from or {}).get("host")
                if membership.compute_up(connection, source, now, self._down_after):
                    yield _Due(server, CONFIRM, "sweep.confirm")
        if self._offload_after >= 0:
            for server in servers.to_offload(connection, now - self._offload_after, _AT_ONCE):
                yield _Due(server, SHELVE_OFFLOAD, "sweep.offload")

    def _ask(self, connection: Connection, due: _Due, now: int) -> Outgoing | None:
        event = TimelineEvent(
            name=due.event, service="nova-conductor", host=self._host, started_at=now, finished_at=now
        )
        server = servers.find(connection, due.server.id)
        if server is None or server.updated_at != due.server.updated_at:
            return None  # it may not be due any more, or be somewhere else: the next sweep looks anew
        row = self._row(due, now)
        if due.kind is CONFIRM:
            row["work"] = moves.confirming(connection, server, now)
        action = admission.request(
            connection,
            server=server,
            row=row,
            task_state=due.kind.steps[0].task_state,
            host_up=membership.compute_up(connection, server.host, now, self._down_after),
            events=[event],
        )
        return None if action is None else step_message(connection, action, server)

    def _row(self, due: _Due, now: int) -> dict[str, Any]:
        server = due.server
        return actions.new_row(
            action_id=self._ids.uuid(),
            server_id=server.id,
            kind=due.kind,
            request_id=self._ids.request_id(),
            user_id=server.user_id,
            project_id=server.project_id,
            before={"vm_state": server.vm_state, "power_state": server.power_state},
            now=now,
            dispatch=self._dispatch,
        )

    async def _send(self, outgoing: Outgoing) -> None:
        try:
            await self._bus.cast(outgoing.queue, outgoing.message, outgoing.context)
        except Unavailable as error:
            log.warning("the sweep will send this", queue=outgoing.queue, error=error.message)
