"""How a request becomes a durable action: written down with the change that asks for it, then sent on.

After the commit the answer is 202 whatever the bus does: the action is in the database, and the sweep sends it again.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.rules_servers import UNLOCK_OVERRIDE
from kilonova.database import actions, admission, membership, servers
from kilonova.database.admission import Raced
from kilonova.database.outgoing import Outgoing, step_message
from kilonova.messaging.contract import PerformStep, ScheduleServer, TimelineEvent
from kilonova.model.action import Action, ActionState, Kind, Performer, Step
from kilonova.model.errors import Conflict, Unavailable
from kilonova.model.server import Server, TaskState
from kilonova.web.call import Call

log = structlog.get_logger()

_DONE = Kind(name="done", steps=(Step(name="done", performer=Performer.CONDUCTOR, task_state=None, undo="none"),))
_RACES = 20  # steps the engine may take while a delete is being admitted


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
    row = actions.new_row(
        action_id=cloud.ids.uuid(),
        server_id=server_id,
        kind=kind,
        request_id=call.context.request_id,
        user_id=call.caller.user_id,
        project_id=call.caller.project_id,
        before=before,
        now=now,
        dispatch=int(cloud.config.actions.dispatch * 1_000_000),
    )
    row["global_request_id"] = call.context.global_request_id
    row["traceparent"] = call.context.traceparent
    row["input"] = arguments
    return row


def record(
    connection: Connection, cloud: Deployment, call: Call, server_id: str, action: str, message: str | None = None
) -> None:
    """Write down an instance action that is over already, as it needed nobody but the database; with ``message`` it failed."""
    now = cloud.clock.now()
    row = {
        **action_row(cloud, call, server_id=server_id, kind=_DONE, before={}, arguments={}, now=now),
        "kind": action,
        "state": str(ActionState.SUCCEEDED if message is None else ActionState.FAILED),
        "lease_until": None,
        "finished_at": now,
        "message": message,
    }
    actions.insert(connection, [row])
    actions.record(connection, row["id"], [received(cloud, call)])


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


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What an action begins with, as its request and the server's row say. ``admitted`` runs in the admission's transaction;
    ``password`` goes with the first message and is written down nowhere.
    """

    arguments: dict[str, Any] = {}
    work: dict[str, Any] = {}
    admitted: Callable[[Action], None] | None = None
    password: str | None = None


Plan = Callable[[Connection, Server], Intent]
"""Looks at a server that is free for the action, in the transaction that admits it. Raises what forbids it."""


async def submit(
    cloud: Deployment,
    call: Call,
    server_id: str,
    kind: Kind,
    task_state: TaskState | None,
    arguments: dict[str, Any] | None = None,
    *,
    plan: Plan | None = None,
    locked_too: bool = False,
) -> None:
    """Ask for an action on a server of the caller. Raises ``NotFound`` or ``Conflict``, and then nothing has changed.

    ``locked_too``: a lock does not stand in its way.
    """

    def intend(connection: Connection, server: Server) -> Intent:
        return plan(connection, server) if plan is not None else Intent(arguments=arguments or {})

    for left in reversed(range(_RACES)):
        try:
            outgoing = await cloud.database.run(
                _admit, cloud, call, server_id, kind, task_state, intend, locked_too=locked_too
            )
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
    plan: Plan,
    *,
    locked_too: bool,
) -> Outgoing | None:
    server = find(connection, call, server_id)
    if not locked_too:
        refuse_locked(call, server)
    if not kind.preempts:
        admission.check(server, kind)
    intent = plan(connection, server)
    action = admit(connection, cloud, call, server, kind, task_state, intent.arguments, intent.work)
    if action is None:
        return None
    if intent.admitted is not None:
        intent.admitted(action)
        server = servers.find(connection, server.id) or server
    return _first_message(connection, action, server, call, intent.password)


def admit(
    connection: Connection,
    cloud: Deployment,
    call: Call,
    server: Server,
    kind: Kind,
    task_state: TaskState | None,
    arguments: dict[str, Any],
    work: dict[str, Any],
) -> Action | None:
    """Write the action down, to hold the server (``admission.request``). None if the server is being deleted already."""
    now = cloud.clock.now()
    before = {"vm_state": server.vm_state, "power_state": server.power_state}
    row = action_row(cloud, call, server_id=server.id, kind=kind, before=before, arguments=arguments, now=now)
    return admission.request(
        connection,
        server=server,
        row={**row, "work": work},
        task_state=task_state,
        host_up=membership.compute_up(connection, server.host, now, cloud.config.membership.down_after),
        events=[received(cloud, call)],
    )


def refuse_locked(call: Call, server: Server) -> None:
    """Raise ``Conflict`` if the server is locked and the caller may not pass a lock."""
    if server.locked and not call.allows(UNLOCK_OVERRIDE):
        raise Conflict(f"Instance {server.id} is locked")


def first_message(connection: Connection, server: Server, call: Call) -> Outgoing:
    """What to send for the action that was just admitted on a server."""
    action = actions.find(connection, server.action_id or "")
    assert action is not None, "it was admitted in this transaction"
    return _first_message(connection, action, server, call, None)


def _first_message(
    connection: Connection, action: Action, server: Server, call: Call, password: str | None
) -> Outgoing:
    outgoing = step_message(connection, action, server)
    message = outgoing.message
    if password is not None and isinstance(message, PerformStep | ScheduleServer) and message.guest is not None:
        guest = msgspec.structs.replace(message.guest, admin_password=password)
        message = msgspec.structs.replace(message, guest=guest)
    return Outgoing(queue=outgoing.queue, message=message, context=call.context)


def find(connection: Connection, call: Call, server_id: str, *, deleted: bool = False) -> Server:
    """A server the caller may know of; administrators know all. Raises ``NotFound``."""
    return servers.get(connection, server_id, None if call.caller.is_admin else call.project_id, deleted=deleted)


async def send(cloud: Deployment, outgoing: Outgoing) -> None:
    """Pass it on now; if the bus does not take it, the sweep will."""
    try:
        await cloud.bus.cast(outgoing.queue, outgoing.message, outgoing.context)
    except Unavailable as error:
        log.warning("the sweep will send this", queue=outgoing.queue, error=error.message)
