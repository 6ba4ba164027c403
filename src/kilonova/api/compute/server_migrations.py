"""Live migrations of one server under way: looked at, aborted, told to end soon.

An operator's word is written into the migration's row, where its performer reads it; nothing is lost if a message is.
"""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import as_number, queries
from kilonova.api.compute.migrations import places
from kilonova.api.compute.rules import SERVER_MIGRATION_HOSTS
from kilonova.api.compute.server_lookup import find_unlocked
from kilonova.api.compute.submission import find, record
from kilonova.database import server_migrations
from kilonova.model.errors import Conflict, Invalid, NotFound
from kilonova.model.migration import Migration, MigrationStatus, MigrationType, Wish
from kilonova.model.server import Server, VmState
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_micros
from kilonova.web.routes import Route
from kilonova.web.schema import Schema, always

_UUIDS_SINCE = 59
_QUEUED_SINCE = 65
_OWNERS_SINCE = 80
_MIGRATING = "migrating"
_RUNNING = (MigrationStatus.RUNNING,)
_ABORTABLE = (MigrationStatus.RUNNING, MigrationStatus.QUEUED, MigrationStatus.PREPARING)


async def index(cloud: Deployment, call: Call) -> Reply:
    """Those of a server that are in progress."""
    found = await cloud.database.run(_in_progress, call)
    shown = call.allows(SERVER_MIGRATION_HOSTS)
    return Reply(200, {"migrations": [_view(call, migration, shown=shown) for migration in found]})


def _in_progress(connection: Connection, call: Call) -> list[Migration]:
    server = find(connection, call, call.params["server_id"])
    return server_migrations.live_in_progress(connection, server.id)


async def show(cloud: Deployment, call: Call) -> Reply:
    """One of them."""
    migration = await cloud.database.run(_one, call)
    return Reply(200, {"migration": _view(call, migration, shown=True)})


def _one(connection: Connection, call: Call) -> Migration:
    server = find(connection, call, call.params["server_id"])
    migration = _numbered(connection, call, server)
    if migration.migration_type != MigrationType.LIVE:
        raise NotFound(f"Migration {migration.id} for server {server.id} is not a live migration.")
    if not migration.live_in_progress:
        raise NotFound(f"Live migration {migration.id} for server {server.id} is not in progress.")
    return migration


def _numbered(connection: Connection, call: Call, server: Server) -> Migration:
    number = as_number(call.params["id"])
    migration = None if number is None else server_migrations.find(connection, server.id, number)
    if migration is None:
        raise NotFound(f"Migration {call.params['id'][:64]} of instance {server.id} could not be found.")
    return migration


async def abort(cloud: Deployment, call: Call) -> Reply:
    """Stop one that runs; from 2.65 also one that has not begun to."""
    await cloud.database.run(_abort, cloud, call, cloud.clock.now())
    return Reply(202)


def _abort(connection: Connection, cloud: Deployment, call: Call, now: int) -> None:
    server = find_unlocked(connection, call, call.params["server_id"], "abort live migration")
    _require_migrating(server, "abort live migration")
    migration = _numbered(connection, call, server)
    _ask(connection, migration, Wish.ABORT, _ABORTABLE if call.version >= _QUEUED_SINCE else _RUNNING, now)
    record(connection, cloud, call, server.id, "live_migration_cancel")


async def force_complete(cloud: Deployment, call: Call) -> Reply:
    """Have one end soon that cannot keep up with its guest: the guest is paused or moved before its memory."""
    await cloud.database.run(_force_complete, cloud, call, cloud.clock.now())
    return Reply(202)


def _force_complete(connection: Connection, cloud: Deployment, call: Call, now: int) -> None:
    server = find_unlocked(connection, call, call.params["server_id"], "force_complete", {VmState.ACTIVE})
    _require_migrating(server, "force_complete")
    try:
        migration = _numbered(connection, call, server)
    except NotFound as error:
        raise Invalid(error.message) from None  # Nova's word for it here
    _ask(connection, migration, Wish.FORCE_COMPLETE, _RUNNING, now)
    record(connection, cloud, call, server.id, "live_migration_force_complete")


def _require_migrating(server: Server, doing: str) -> None:
    if server.task_state != _MIGRATING:
        raise Conflict(f"Cannot '{doing}' instance {server.id} while it is in task_state {server.task_state}")


def _ask(
    connection: Connection, migration: Migration, wish: Wish, within: tuple[MigrationStatus, ...], now: int
) -> None:
    if not server_migrations.ask(connection, migration.uuid, wish, within, now):
        raise Invalid(
            f"Migration {migration.id} state of instance {migration.server_id} is {migration.status}. "
            f"Cannot {str(wish).replace('_', ' ')} while the migration is in this state."
        )


def _view(call: Call, migration: Migration, *, shown: bool) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": migration.id,
        "server_uuid": migration.server_id,
        "status": migration.status,
        "created_at": iso_micros(migration.created_at),
        "updated_at": iso_micros(migration.updated_at),
        **places(migration, shown=shown),
    }
    for what in ("memory", "disk"):
        for part in ("total", "processed", "remaining"):
            view[f"{what}_{part}_bytes"] = getattr(migration, f"{what}_{part}") or None  # Nova's schema knows no 0
    if call.version >= _UUIDS_SINCE:
        view["uuid"] = migration.uuid
    if call.version >= _OWNERS_SINCE:
        view |= {"user_id": migration.user_id, "project_id": migration.project_id}
    return view


_FORCE: Schema = {
    "type": "object",
    "properties": {"force_complete": {"type": "null"}},
    "required": ["force_complete"],
    "additionalProperties": False,
}
_RULE = "os_compute_api:servers:migrations"
_PATH = "/servers/{server_id}/migrations"

ROUTES = [
    Route(
        method="GET",
        path=_PATH,
        handler=index,
        rule=f"{_RULE}:index",
        role="manager",
        since=23,
        query=queries(102),
        summary="List a server's live migrations under way",
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{id}}",
        handler=show,
        rule=f"{_RULE}:show",
        role="admin",
        since=23,
        query=queries(102),
        summary="Show one of them",
    ),
    Route(
        method="DELETE",
        path=f"{_PATH}/{{id}}",
        handler=abort,
        rule=f"{_RULE}:delete",
        role="manager",
        since=24,
        summary="Abort a live migration",
    ),
    Route(
        method="POST",
        path=f"{_PATH}/{{id}}/action",
        action="force_complete",
        handler=force_complete,
        rule=f"{_RULE}:force_complete",
        role="manager",
        since=22,
        body=always(_FORCE),
        summary="Force a live migration to end",
    ),
]
