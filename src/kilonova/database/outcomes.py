"""What the end of an action means for the ledger and the server's row, by kind, beyond what its ``Kind`` says.

Each function runs in the transaction that ends the action and returns the columns of ``servers`` it sets. ``database/engine.py``
calls them; a kind that is missing here needs nothing.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import addresses, ledger, port_groups, servers
from kilonova.database.outgoing import quota_of
from kilonova.model.action import Action
from kilonova.model.kinds.create import CREATE
from kilonova.model.kinds.delete import DELETE
from kilonova.model.kinds.interfaces import ATTACH_INTERFACE, DETACH_INTERFACE, asked_for, without

Outcome = Callable[[Connection, Action, int], dict[str, Any]]


def succeeded(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The action has succeeded; ``work`` holds what its last step reported as well."""
    outcome = _SUCCEEDED.get(action.kind)
    return outcome(connection, action, now) if outcome else {}


def undone(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The action has failed for good, and its performers have undone what they did."""
    outcome = _UNDONE.get(action.kind)
    return outcome(connection, action, now) if outcome else {}


def _created(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    return {"launched_at": now}


def _not_created(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    ledger.give_back(connection, action.server_id)
    return {"host": None}


def _deleted(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """Everything the server held is given back."""
    server = servers.find(connection, action.server_id)
    if server is not None and server.deleted_at is None:
        ledger.give_back(connection, action.server_id)
        ledger.drop_quota(connection, server.project_id, quota_of(server.flavor))
    return {"deleted_at": now, "terminated_at": now, "host": None}


def _unplugged(connection: Connection, action: Action, now: int) -> dict[str, Any]:
    """The port is given back, and the server does without it from now on."""
    port_id = action.input["port_id"]
    server = servers.find(connection, action.server_id)
    addresses.give_back(connection, action.server_id, port_id)
    if server is None:
        return {}
    return {
        "addresses": without(server.addresses, port_id),
        "networks": asked_for(server.addresses, server.networks, port_id),
        "security_groups": port_groups.names_of(connection, server.id),
    }


_SUCCEEDED: dict[str, Outcome] = {
    CREATE.name: _created,
    DELETE.name: _deleted,
    DETACH_INTERFACE.name: _unplugged,
}
_UNDONE: dict[str, Outcome] = {CREATE.name: _not_created, ATTACH_INTERFACE.name: _unplugged}
