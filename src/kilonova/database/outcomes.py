"""What the end of an action, or of a step of it, means for the ledger and the server's row, beyond what its ``Kind`` says.

Each function runs in the transaction that ends the action or the step and returns the columns of ``servers`` it sets.
``database/engine.py`` calls them; a kind that is missing here needs nothing.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import (
    addresses,
    console_tokens,
    host_builds,
    ledger,
    moves,
    port_groups,
    server_passwords,
    servers,
)
from kilonova.database.outgoing import quota_of
from kilonova.model.action import Action
from kilonova.model.kinds.create import CREATE
from kilonova.model.kinds.delete import DELETE
from kilonova.model.kinds.evacuate import EVACUATE
from kilonova.model.kinds.interfaces import ATTACH_INTERFACE, DETACH_INTERFACE, asked_for, without
from kilonova.model.kinds.live_migration import LIVE_MIGRATION
from kilonova.model.kinds.rebuild import REBUILD
from kilonova.model.kinds.resize import CONFIRM, MIGRATE, RESIZE, REVERT
from kilonova.model.kinds.shelve import SHELVE
from kilonova.model.kinds.soft_delete import RESTORE, SOFT_DELETE
from kilonova.model.kinds.unshelve import SHELVE_OFFLOAD, UNSHELVE, UNSHELVE_IN_PLACE
from kilonova.model.migration import MigrationStatus
from kilonova.model.server import PowerState, VmState

Outcome = Callable[[Connection, Action, int], dict[str, Any]]


def succeeded(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The action has succeeded; ``work`` holds what its last step reported as well."""
    outcome = _SUCCEEDED.get(action.kind)
    return outcome(connection, action, now) if outcome else {}


def undone(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The action has failed for good, and its performers have undone what they did."""
    outcome = _UNDONE.get(action.kind)
    return outcome(connection, action, now) if outcome else {}


def passed(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The action's current step has succeeded, or was skipped, and another one follows."""
    outcome = _PASSED.get((action.kind, action.step))
    return outcome(connection, action, now) if outcome else {}


def _created(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    if action.on_host is not None:
        host_builds.succeeded(connection, action.on_host)
    return {"launched_at": now}


def _on_no_host(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """What was claimed is given back, and the server is on no host."""
    ledger.give_back(connection, action.server_id)
    console_tokens.forget_server(connection, action.server_id)
    return {"host": None}


def _unshelved(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    return {"launched_at": now, "shelved_image_id": None}


def _deleted(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """Everything the server held is given back."""
    server = servers.find(connection, action.server_id)
    if server is None or server.deleted_at is not None:
        return {}
    ended = moves.ended(connection, server, now)
    console_tokens.forget_server(connection, server.id)
    server_passwords.clear(connection, server.id)
    return {"deleted_at": now, "terminated_at": now, "host": None, "soft_deleted_at": None, **ended}


def _rebuilt(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """A server that was off stays off."""
    vm_state = VmState.STOPPED if action.work.get("stays_off") else VmState.ACTIVE
    return {"vm_state": str(vm_state), "launched_at": now, "fault": None}


def _shelved(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """It keeps its host until it is offloaded, and knows the image that it will be made of."""
    return {"shelved_image_id": action.input["image"]["id"]}


def _put_away(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """A soft-deleted server keeps its host and its addresses, and counts no more."""
    server = servers.find(connection, action.server_id)
    if (
        server is not None and server.vm_state != VmState.SOFT_DELETED
    ):  # or it was put away twice, by two deletes at once
        ledger.drop_quota(connection, server.project_id, quota_of(server.flavor))
    return {"soft_deleted_at": now}


def _unplugged(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The port is given back, and the server does without it from now on."""
    port_id = action.input["port_id"]
    servers.hold(connection, action.server_id)  # whoever changes its other ports writes its addresses as well
    server = servers.find(connection, action.server_id)
    addresses.give_back(connection, action.server_id, port_id)
    if server is None:
        return {}
    return {
        "addresses": without(server.addresses, port_id),
        "networks": asked_for(server.addresses, server.networks, port_id),
        "security_groups": port_groups.names_of(connection, server.id),
    }


def _restored_but_off(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """It counts again since it was asked for; its guest did not come up."""
    return {"vm_state": str(VmState.STOPPED), "power_state": int(PowerState.SHUTDOWN)}


def _departed(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    moves.stage(connection, action, MigrationStatus.POST_MIGRATING, now)
    return {}


def _received(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    moves.stage(connection, action, MigrationStatus.RUNNING, now)
    return {}


def _retreated(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    return moves.went_back(connection, action)


_SUCCEEDED: dict[str, Outcome] = {
    CREATE.name: _created,
    DELETE.name: _deleted,
    RESIZE.name: moves.resized,
    MIGRATE.name: moves.resized,
    CONFIRM.name: moves.confirmed,
    REVERT.name: moves.reverted,
    EVACUATE.name: moves.evacuated,
    REBUILD.name: _rebuilt,
    SHELVE.name: _shelved,
    LIVE_MIGRATION.name: moves.migrated_live,
    SHELVE_OFFLOAD.name: _on_no_host,
    UNSHELVE.name: _unshelved,
    UNSHELVE_IN_PLACE.name: _unshelved,
    SOFT_DELETE.name: _put_away,
    DETACH_INTERFACE.name: _unplugged,
}
_UNDONE: dict[str, Outcome] = {
    CREATE.name: _on_no_host,
    RESIZE.name: moves.not_resized,
    MIGRATE.name: moves.not_resized,
    CONFIRM.name: moves.still_resized,
    REVERT.name: moves.still_resized,
    EVACUATE.name: moves.not_evacuated,
    LIVE_MIGRATION.name: moves.not_migrated_live,
    UNSHELVE.name: _on_no_host,
    RESTORE.name: _restored_but_off,
    ATTACH_INTERFACE.name: _unplugged,
}
_PASSED: dict[tuple[str, str], Outcome] = {
    (RESIZE.name, "depart"): _departed,
    (MIGRATE.name, "depart"): _departed,
    (REVERT.name, "retreat"): _retreated,
    (LIVE_MIGRATION.name, "receive"): _received,
    (LIVE_MIGRATION.name, "transfer"): moves.handed_over,
}
