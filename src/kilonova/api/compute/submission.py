"""How a request becomes a durable action: written down with the change that asks for it, then sent on.

After the commit the answer is 202 whatever the bus does: the action is in the database, and the sweep sends it again.
"""

from typing import Any

import structlog
from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.database import actions, admission, membership, servers
from kilonova.database.admission import Raced
from kilonova.database.outgoing import Outgoing, step_message
from kilonova.messaging.contract import TimelineEvent
from kilonova.model.action import Action, ActionState, Kind
from kilonova.model.errors import Conflict, Unavailable
from kilonova.model.server import Server, TaskState
from kilonova.web.call import Call

log = structlog.get_logger()

_RACES = 20  # steps the engine may take while a delete is being admitted
_UNLOCK = "os_compute_api:os-lock-server:unlock:unlock_override"


def action_row(
    cloud: Deployment,
    call: Call,
    *,
    server_id: str,
    kind: Kind,
    before: dict[str, Any],
    arguments: dict[str, Any],
    now: int,
) -> dict[str, Any]:
    """A new action's row, waiting for its first step to be begun."""
    return {
        "id": cloud.ids.uuid(),
        "server_id": server_id,
        "kind": kind.name,
        "request_id": call.context.request_id,
        "global_request_id": call.context.global_request_id,
        "traceparent": call.context.traceparent,
        "user_id": call.caller.user_id,
        "project_id": call.caller.project_id,
        "input": arguments,
        "work": {},
        "step": kind.steps[0].name,
        "on_host": None,
        "state": str(ActionState.PENDING),
        "epoch": 0,
        "lease_until": now + int(cloud.config.actions.dispatch * 1_000_000),
        "attempts": 0,
        "excluded_hosts": [],
        "before": before,
        "started_at": now,
        "updated_at": now,
    }


def received(cloud: Deployment, call: Call) -> TimelineEvent:
    """Step 1 of the picture: the client's request, from its arrival to the commit."""
    return TimelineEvent(
        name="api.request",
        service="nova-api",
        host=cloud.host,
        started_at=call.started_at,
        finished_at=cloud.clock.now(),
        details={"method": call.method, "path": call.path},
    )


async def submit(
    cloud: Deployment,
    call: Call,
    server_id: str,
    kind: Kind,
    task_state: TaskState | None,
    arguments: dict[str, Any] | None = None,
) -> None:
    """Ask for an action on a server of the caller. Raises ``NotFound`` or ``Conflict``, and then nothing has changed."""
    for left in reversed(range(_RACES)):
        try:
            outgoing = await cloud.database.run(_admit, cloud, call, server_id, kind, task_state, arguments or {})
            break
        except Raced:
            # A delete is not refused because the engine took a step in the same moment; others lost to another request.
            if not kind.preempts or not left:
                raise
    if outgoing is not None:
        await send(cloud, outgoing)


def _admit(
    connection: Connection,
    cloud: Deployment,
    call: Call,
    server_id: str,
    kind: Kind,
    task_state: TaskState | None,
    arguments: dict[str, Any],
) -> Outgoing | None:
    server = find(connection, call, server_id)
    locked_for(call, server)
    now = cloud.clock.now()
    before = {"vm_state": server.vm_state, "power_state": server.power_state}
    action = admission.request(
        connection,
        server=server,
        row=action_row(cloud, call, server_id=server.id, kind=kind, before=before, arguments=arguments, now=now),
        task_state=task_state,
        host_up=membership.compute_up(connection, server.host, now, cloud.config.membership.down_after),
        events=[received(cloud, call)],
    )
    return None if action is None else _first_message(action, server, call)


def locked_for(call: Call, server: Server) -> None:
    """Raise ``Conflict`` if the server is locked and the caller may not pass a lock."""
    if server.locked and not call.allows(_UNLOCK):
        raise Conflict(f"Instance {server.id} is locked")


def first_message(connection: Connection, server: Server, call: Call) -> Outgoing:
    """What to send for the action that was just admitted on a server."""
    action = actions.find(connection, server.action_id or "")
    assert action is not None, "it was admitted in this transaction"
    return _first_message(action, server, call)


def _first_message(action: Action, server: Server, call: Call) -> Outgoing:
    outgoing = step_message(action, server)
    return Outgoing(queue=outgoing.queue, message=outgoing.message, context=call.context)


def find(connection: Connection, call: Call, server_id: str, *, deleted: bool = False) -> Server:
    """A server the caller may know of; administrators know all. Raises ``NotFound``."""
    return servers.get(connection, server_id, None if call.caller.is_admin else call.project_id, deleted=deleted)


async def send(cloud: Deployment, outgoing: Outgoing) -> None:
    """Pass it on now; if the bus does not take it, the sweep will."""
    try:
        await cloud.bus.cast(outgoing.queue, outgoing.message, outgoing.context)
    except Unavailable as error:
        log.warning("the sweep will send this", queue=outgoing.queue, error=error.message)
