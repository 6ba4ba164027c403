"""``os-resetState``: an administrator says what a server is, whatever runs on it.

The action that runs is ended by raising its epoch: its performer finds out at its next word and undoes its own work. What
the database holds for it is given back here. A delete is not ended: it only goes forward.
"""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import actions, admission, ledger, moves, outcomes, servers
from kilonova.database.admission import Raced
from kilonova.database.outgoing import quota_of
from kilonova.model.action import Action, ActionState
from kilonova.model.kinds.catalog import KINDS
from kilonova.model.server import PowerState, Server, VmState

_OPEN = (ActionState.PENDING, ActionState.RUNNING)


def ended_by_reset(connection: Connection, server: Server, now: int) -> Action | None:
    """End what runs on the server; the action that was ended. Raises ``Raced`` if it took a step just now."""
    running = actions.find(connection, server.action_id) if server.action_id is not None else None
    if running is None or running.finished_at is not None:
        return None
    ended = {
        "state": ActionState.UNDONE,
        "epoch": running.epoch + 1,
        "lease_until": None,
        "finished_at": now,
        "updated_at": now,
        "message": "ended by an administrator, who has reset the server's state",
    }
    if not actions.change(connection, running.id, ended, epoch=running.epoch, states=_OPEN):
        raise Raced(server.id)
    return running


def is_leaving(connection: Connection, server: Server) -> bool:
    """Whether a delete is at work, which nothing ends."""
    running = actions.find(connection, server.action_id) if server.action_id is not None else None
    return running is not None and running.finished_at is None and KINDS[running.kind].forward_only


def reset(connection: Connection, server: Server, vm_state: VmState, now: int) -> Action | None:
    """Put the server into a state with nothing running on it; the action that was ended for it.

    Raises ``Raced`` if another request has taken the server since it was read: what that one began would be orphaned.
    """
    ended = ended_by_reset(connection, server, now)
    admission.seize(connection, server, None, None, now)
    server = servers.get(connection, server.id, None)  # as it is now that nobody else changes it
    values: dict[str, Any] = outcomes.undone(connection, ended, now) if ended is not None else {}
    if server.resized_from is not None:
        values |= moves.way_back_given_up(connection, server, now)
    if server.vm_state == VmState.SOFT_DELETED:
        ledger.use_quota(connection, server.project_id, quota_of(server.flavor), {}, limited=False)
    values |= {
        "vm_state": str(vm_state),
        "power_state": int(PowerState.NOSTATE),  # unknown: the host's next comparison says what the guest does
        "task_state": None,
        "action_id": None,
        "soft_deleted_at": None,
        "updated_at": now,
        "fault": _FAULT | {"created": now} if vm_state == VmState.ERROR else None,
    }
    servers.update(connection, server.id, **values)
    return ended


_FAULT = {"code": 500, "message": "An administrator has reset the state of this server to error.", "details": ""}
