"""What a move means for claims, quota, the server's row and the history of moves, as it goes on and ends. Decision 0005.

Nothing here begins or ends a transaction: the engine calls these in those that carry the action on. Each returns the columns
of ``servers`` that it sets. The move's id is its action's, its row's in ``server_migrations`` and that of the claim it holds.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import console_tokens, ledger, membership, server_migrations, servers, user_quotas
from kilonova.database.outgoing import quota_of
from kilonova.messaging.contract import MoveProgress
from kilonova.model.action import Action
from kilonova.model.kinds.evacuate import EVACUATE
from kilonova.model.kinds.live_migration import LIVE_MIGRATION
from kilonova.model.kinds.resize import MIGRATE, RESIZE
from kilonova.model.migration import MigrationStatus, MigrationType, Wish
from kilonova.model.server import PowerState, Server, VmState

_OFF = (PowerState.SHUTDOWN, PowerState.CRASHED)


# --- how it begins -----------------------------------------------------------------------------------------


def begin(
    connection: Connection, action: Action, server: Server, migration_type: MigrationType, status: MigrationStatus
) -> None:
    """A move was admitted: its row in the history."""
    server_migrations.insert(
        connection,
        uuid=action.id,
        action_id=action.id,
        server=server,
        migration_type=migration_type,
        status=status,
        now=action.started_at,
        new_flavor_id=action.input.get("flavor_id"),
        dest_compute=action.input.get("host"),
    )


def charge_both(
    connection: Connection, server: Server, flavor: Mapping[str, Any], defaults: Mapping[str, int]
) -> None:
    """From now on the server is charged with the larger of its own flavor and ``flavor``. Raises ``QuotaExceeded``."""
    old, new = quota_of(server.flavor), quota_of(dict(flavor))
    both = {resource: max(old[resource], new[resource]) for resource in old}
    more = {resource: both[resource] - old[resource] for resource in old if both[resource] > old[resource]}
    if more:
        ledger.use_quota(connection, server.project_id, more, defaults)
        user_quotas.check(connection, server.project_id, server.user_id, more)
    servers.update(connection, server.id, charged=both)


def charged(server: Server) -> dict[str, int]:
    """What the server uses of its project's quota."""
    return server.charged or quota_of(server.flavor)


# --- on its way --------------------------------------------------------------------------------------------


_ON_THE_WAY = {
    RESIZE.name: MigrationStatus.MIGRATING,
    MIGRATE.name: MigrationStatus.MIGRATING,
    EVACUATE.name: MigrationStatus.PRE_MIGRATING,
    LIVE_MIGRATION.name: MigrationStatus.PREPARING,
}


def destined(connection: Connection, move: str, kind: str, host: str, now: int) -> None:
    """The scheduler has chosen and claimed the destination."""
    known = membership.find_host(connection, host)
    address = None if known is None else known.address
    places = {"dest_compute": host, "dest_node": host, "dest_host": address}
    server_migrations.change_of_action(connection, move, now=now, status=str(_ON_THE_WAY[kind]), **places)


def under_way(connection: Connection, move: str, progress: MoveProgress, now: int) -> str:
    """Write down how far a live migration is; what an operator wishes of it, or nothing."""
    known = {name: value for name, value in msgspec.structs.asdict(progress).items() if value is not None}
    if known:
        server_migrations.change_of_action(connection, move, now=now, **known)
    row = server_migrations.of_action(connection, move)
    return (row.wish or "") if row is not None else ""


def stage(connection: Connection, action: Action, status: MigrationStatus, now: int) -> None:
    """The move's row says where it stands."""
    server_migrations.change_of_action(connection, action.id, now=now, status=str(status))


def switched(connection: Connection, action: Action) -> dict[str, Any]:
    """The server is on the destination now, and its claim there is its own."""
    ledger.change_places(connection, action.server_id, action.id)
    console_tokens.forget_server(connection, action.server_id)
    return {"host": action.work["destination"], "availability_zone": action.work["zone"]}


# --- resize and cold migration -----------------------------------------------------------------------------


def resized(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The guest is ready on the destination, as large as was asked for; the source keeps its copy until somebody confirms."""
    server = _server(connection, action)
    stage(connection, action, MigrationStatus.FINISHED, now)
    columns = switched(connection, action)
    columns["resized_from"] = {
        "move": action.id,
        "since": now,
        "host": server.host,
        "zone": server.availability_zone,
        "flavor": server.flavor,
        "flavor_id": server.flavor_id,
        "vm_state": action.before["vm_state"],
    }
    if "flavor" in action.input:
        columns |= {"flavor": action.input["flavor"], "flavor_id": action.input["flavor_id"]}
    return columns


def not_resized(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """It stays where and as large as it was."""
    ledger.let_go(connection, action.id)
    stage(connection, action, MigrationStatus.ERROR, now)
    server = _server(connection, action)
    return _charge_only(connection, server, server.flavor)


def confirming(connection: Connection, server: Server, now: int) -> dict[str, Any]:
    """A confirmation was asked for: what it begins with."""
    before = server.resized_from or {}
    server_migrations.change_of_action(connection, before["move"], now=now, status=str(MigrationStatus.CONFIRMING))
    return {"move": before["move"], "source": before["host"], "destination": server.host}


def confirmed(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """There is no way back, and nothing is held for it any more."""
    server = _server(connection, action)
    move = action.work["move"]
    ledger.let_go(connection, move)
    server_migrations.change_of_action(connection, move, now=now, status=str(MigrationStatus.CONFIRMED))
    vm_state = VmState.STOPPED if server.power_state in _OFF else VmState.ACTIVE
    return {"vm_state": str(vm_state), "resized_from": None, **_charge_only(connection, server, server.flavor)}


def went_back(connection: Connection, action: Action) -> dict[str, Any]:
    """The guest on the destination is off: the server is on the source again, as large as it was."""
    server = _server(connection, action)
    before = server.resized_from or {}
    ledger.change_places(connection, server.id, action.work["move"])
    console_tokens.forget_server(connection, server.id)
    return {
        "host": before["host"],
        "availability_zone": before["zone"],
        "flavor": before["flavor"],
        "flavor_id": before["flavor_id"],
    }


def reverted(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """All is as it was before the move."""
    server = _server(connection, action)
    move = action.work["move"]
    ledger.let_go(connection, move)
    server_migrations.change_of_action(connection, move, now=now, status=str(MigrationStatus.REVERTED))
    vm_state = (server.resized_from or {}).get("vm_state", VmState.ACTIVE)
    power_state = PowerState.SHUTDOWN if vm_state == VmState.STOPPED else PowerState.RUNNING
    charge = _charge_only(connection, server, server.flavor)
    return {"vm_state": vm_state, "power_state": int(power_state), "resized_from": None, **charge}


def still_resized(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """A revert that failed before anything had changed: it may be asked for again."""
    move = action.work["move"]
    server_migrations.change_of_action(connection, move, now=now, status=str(MigrationStatus.FINISHED))
    return {}


def way_back_given_up(connection: Connection, server: Server, now: int) -> dict[str, Any]:
    """An administrator says that the server is something else than resized: it stays what and where it is now."""
    move = (server.resized_from or {})["move"]
    ledger.let_go(connection, move)
    server_migrations.change_of_action(connection, move, now=now, status=str(MigrationStatus.ERROR))
    return {"resized_from": None, **_charge_only(connection, server, server.flavor)}


# --- live migration ----------------------------------------------------------------------------------------


def handed_over(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The source's guest stands, the destination's has its memory: from here on the server is there."""
    stage(connection, action, MigrationStatus.POST_MIGRATING, now)
    return switched(connection, action)


def migrated_live(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The guest goes on, and nothing is left where it was."""
    ledger.let_go(connection, action.id)
    stage(connection, action, MigrationStatus.COMPLETED, now)
    return {}


def not_migrated_live(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The guest goes on where it was."""
    ledger.let_go(connection, action.id)
    row = server_migrations.of_action(connection, action.id)
    aborted = row is not None and row.wish == Wish.ABORT
    begun = "destination" in action.work
    status = MigrationStatus.CANCELLED if aborted else MigrationStatus.FAILED if begun else MigrationStatus.ERROR
    stage(connection, action, status, now)
    if begun:
        membership.compare_soon(connection, action.work["destination"])  # a guest may be waiting there
    return {}


# --- evacuation --------------------------------------------------------------------------------------------


def evacuated(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The server was made anew. Nothing is held on the old host: what it still has of the server, it destroys when it is back."""
    stage(connection, action, MigrationStatus.DONE, now)
    if (left := _server(connection, action).host) is not None:
        membership.compare_soon(connection, left)  # perhaps it is back already
    columns = switched(connection, action)
    ledger.let_go(connection, action.id)
    vm_state = VmState.STOPPED if action.work.get("stays_off") else VmState.ACTIVE
    return {**columns, "vm_state": str(vm_state), "fault": None, "launched_at": now}


def not_evacuated(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The server stays on its dead host, and in ERROR, as Nova leaves it; it may be evacuated again."""
    ledger.let_go(connection, action.id)
    stage(connection, action, MigrationStatus.ERROR, now)
    return {}


# --- the end of the server ---------------------------------------------------------------------------------


def ended(connection: Connection, server: Server, now: int) -> dict[str, Any]:
    """A delete gives back whatever the server, and a move of it, has claimed and is charged with."""
    ledger.give_back(connection, server.id)
    if server.vm_state != VmState.SOFT_DELETED:  # it counts no more since then
        ledger.drop_quota(connection, server.project_id, charged(server))
    server_migrations.abandon(connection, server.id, now)
    return {"charged": None, "resized_from": None}


def _charge_only(connection: Connection, server: Server, flavor: Mapping[str, Any]) -> dict[str, Any]:
    now_charged, needed = charged(server), quota_of(dict(flavor))
    less = {
        resource: amount - needed[resource] for resource, amount in now_charged.items() if amount > needed[resource]
    }
    if less:
        ledger.drop_quota(connection, server.project_id, less)
    return {"charged": None}


def _server(connection: Connection, action: Action) -> Server:
    server = servers.find(connection, action.server_id)
    assert server is not None, f"server {action.server_id} of action {action.id} is gone"
    return server
