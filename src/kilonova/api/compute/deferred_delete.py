"""What a DELETE means while servers can be restored, and ``restore`` and ``forceDelete``."""

import contextlib

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.rules_servers import UNLOCK_OVERRIDE
from kilonova.api.compute.server_schemas import word
from kilonova.api.compute.submission import Intent, find, submit
from kilonova.database import actions, ledger, servers, user_quotas
from kilonova.database.outgoing import quota_of
from kilonova.model.action import Action
from kilonova.model.errors import Conflict
from kilonova.model.kinds.catalog import KINDS
from kilonova.model.kinds.delete import DELETE
from kilonova.model.kinds.soft_delete import RESTORE, SOFT_DELETE, can_be_put_away
from kilonova.model.server import Server, TaskState, VmState
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route


async def delete(cloud: Deployment, call: Call) -> None:
    """Delete the server, or only put it away if the configuration says so and there is something to come back to."""
    server_id = call.params["id"]
    if cloud.config.actions.reclaim_instance_interval > 0:
        server = await cloud.database.run(find, call, server_id)
        if server.vm_state == VmState.SOFT_DELETED and server.action_id is None:
            if server.locked and not call.allows(UNLOCK_OVERRIDE):
                raise Conflict(f"Instance {server.id} is locked")
            return
        with contextlib.suppress(_Torn):
            await submit(cloud, call, server_id, SOFT_DELETE, TaskState.SOFT_DELETING, plan=_plan_to_put_away)
            return
    await submit(cloud, call, server_id, DELETE, TaskState.DELETING)


class _Torn(Exception):
    """Nothing to restore would be left."""


def _is_restorable(connection: Connection, server: Server) -> bool:
    running = actions.find(connection, server.action_id) if server.action_id is not None else None
    kind = KINDS[running.kind] if running is not None else None
    launched = server.launched_at is not None and server.host is not None
    return launched and can_be_put_away(server.vm_state, kind)


def _plan_to_put_away(connection: Connection, server: Server) -> Intent:
    # Two deletes at once: the second finds the server put away, which is as good.
    if server.vm_state != VmState.SOFT_DELETED and not _is_restorable(connection, server):
        raise _Torn
    return Intent()


async def restore(cloud: Deployment, call: Call) -> Reply:
    """Bring back a soft-deleted server; from now on it counts again, so the quota must have room for it."""

    def plan(connection: Connection, server: Server) -> Intent:
        def admitted(action: Action) -> None:
            defaults = cloud.config.quota.model_dump()
            ledger.use_quota(connection, server.project_id, quota_of(server.flavor), defaults)
            # It is a server like any other again, if one that is off: whatever ends the action finds it counted.
            servers.update(connection, server.id, vm_state=str(VmState.STOPPED), soft_deleted_at=None)
            user_quotas.check(connection, server.project_id, server.user_id)

        return Intent(admitted=admitted)

    await submit(cloud, call, call.params["id"], RESTORE, TaskState.RESTORING, plan=plan)
    return Reply(202)


async def force_delete(cloud: Deployment, call: Call) -> Reply:
    """Delete at once, whatever state the server is in."""
    await submit(cloud, call, call.params["id"], DELETE, TaskState.DELETING)
    return Reply(202)


_RULE = "os_compute_api:os-deferred-delete"

ROUTES = [
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="restore",
        handler=restore,
        rule=f"{_RULE}:restore",
        role="member",
        body=word("restore"),
        summary="Bring back a soft-deleted server",
    ),
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="forceDelete",
        handler=force_delete,
        rule=f"{_RULE}:force",
        role="member",
        body=word("forceDelete"),
        summary="Delete at once, also what is soft-deleted",
    ),
]
