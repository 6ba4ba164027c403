"""``POST /servers/{id}/action`` with ``evacuate``: a server whose host is down is made anew on another one."""

from functools import partial

from sqlalchemy.engine import Connection

from kilonova.api.compute import move_schemas
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import as_bool
from kilonova.api.compute.submission import Intent, find, submit
from kilonova.database import membership, moves
from kilonova.model.action import Action
from kilonova.model.errors import Invalid, NotFound
from kilonova.model.kinds.evacuate import EVACUATE
from kilonova.model.migration import MigrationStatus, MigrationType
from kilonova.model.server import Server, TaskState, VmState
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route

_NO_SHARED_STORAGE_SINCE = 14
_FORCE_SINCE = 29
_STOPPED_SINCE = 95


async def evacuate(cloud: Deployment, call: Call) -> Reply:
    """From its image, as there is no shared storage; from 2.95 it is left stopped."""
    asked = call.body["evacuate"]
    host = asked.get("host")
    forced = as_bool(asked.get("force", False)) if call.version >= _FORCE_SINCE else host is not None
    if forced and not host:
        raise Invalid("Can't force to a non-provided destination")
    shared = call.version < _NO_SHARED_STORAGE_SINCE and as_bool(asked["onSharedStorage"])
    if shared and "adminPass" in asked:
        raise Invalid("admin password can't be changed on existing disk")
    password = asked.get("adminPass") or (None if shared else cloud.ids.short(12))
    await cloud.database.run(_check_host, call, host)
    plan = partial(_plan, cloud=cloud, call=call, host=host, forced=forced, password=password)
    await submit(cloud, call, call.params["id"], EVACUATE, TaskState.REBUILDING, plan=plan, locked_too=True)
    return Reply(200, {"adminPass": password} if call.version < _NO_SHARED_STORAGE_SINCE else None)


def _check_host(connection: Connection, call: Call, host: str | None) -> None:
    """Raise ``NotFound`` or ``Invalid`` for a destination that cannot be one, whatever state the server is in."""
    server = find(connection, call, call.params["id"])
    if host is not None and membership.find_host(connection, host) is None:
        raise NotFound(f"Compute host {host} not found.")
    if host is not None and host == server.host:
        raise Invalid("The target host can't be the same one.")


def _plan(
    connection: Connection,
    server: Server,
    *,
    cloud: Deployment,
    call: Call,
    host: str | None,
    forced: bool,
    password: str | None,
) -> Intent:
    now, down_after = cloud.clock.now(), cloud.config.membership.down_after
    # Who forces the host up looks for evacuations: one of the two comes first, or a server would run here and there.
    membership.hold_service(connection, "nova-compute", server.host or "")
    if membership.compute_up(connection, server.host, now, down_after):
        raise Invalid(f"Compute service of {server.host} is still in use.")
    stays_off = call.version >= _STOPPED_SINCE or server.vm_state == VmState.STOPPED
    return Intent(
        arguments={"host": host, "force": forced} if host else {},
        work={"source": server.host, "leaves": server.host, "stays_off": stays_off},
        admitted=partial(_begin, connection, server),
        password=password,
    )


def _begin(connection: Connection, server: Server, action: Action) -> None:
    moves.begin(connection, action, server, MigrationType.EVACUATION, MigrationStatus.ACCEPTED)


ROUTES = [
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="evacuate",
        handler=evacuate,
        rule="os_compute_api:os-evacuate",
        role="admin",
        body=move_schemas.EVACUATE,
        summary="Make it anew elsewhere, as its host is down",
    ),
]
