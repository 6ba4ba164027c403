"""How an action is born: in one transaction with the change of the server that asks for it."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import actions, ledger, outcomes, servers
from kilonova.database.tables import servers as table
from kilonova.messaging.contract import TimelineEvent
from kilonova.model.action import (
    Action,
    ActionState,
    Kind,
    Performer,
    Place,
    Remedy,
    host_of_step,
    next_step,
    without,
)
from kilonova.model.errors import Conflict
from kilonova.model.kinds.catalog import KINDS
from kilonova.model.kinds.interfaces import ATTACH_INTERFACE
from kilonova.model.server import Server, TaskState

_OPEN = (ActionState.PENDING, ActionState.RUNNING)
_SEIZE = (
    table.update()
    .where(
        table.c.id == sa.bindparam("the_server"),
        table.c.action_id.is_not_distinct_from(sa.bindparam("read_action", type_=table.c.action_id.type)),
        table.c.vm_state == sa.bindparam("read_state"),
        # An action that was read after the server may have moved it: a delete would look for the guest where it was.
        table.c.host.is_not_distinct_from(sa.bindparam("read_host", type_=table.c.host.type)),
        table.c.deleted_at.is_(None),
    )
    .values(
        action_id=sa.bindparam("next_action"), task_state=sa.bindparam("next_task"), updated_at=sa.bindparam("now")
    )
)


class Raced(Conflict):
    """Another transaction changed the server between our read and our write; the same request may be tried again."""

    def __init__(self, server_id: str) -> None:
        super().__init__(f"Instance {server_id} was changed by another request at this moment; ask again.")


def create(
    connection: Connection,
    *,
    server_rows: Sequence[Mapping[str, Any]],
    action_rows: Sequence[dict[str, Any]],
    quota: Mapping[str, int],
    quota_defaults: Mapping[str, int],
    events: Mapping[str, Sequence[TimelineEvent]],
) -> None:
    """Admit new servers, each with the action that builds it, within the project's quota (``QuotaExceeded``).

    ``events`` by action id. One request is one transaction: all of its servers, or none.
    """
    project_id = server_rows[0]["project_id"]
    servers.insert(connection, server_rows)
    actions.insert(connection, action_rows)
    for action_id, of_action in events.items():
        actions.record(connection, action_id, of_action)
    ledger.use_quota(connection, project_id, quota, quota_defaults)


def request(
    connection: Connection,
    *,
    server: Server,
    row: dict[str, Any],
    task_state: TaskState | None,
    host_up: bool,
    events: Sequence[TimelineEvent],
) -> Action | None:
    """Admit one action on a server that exists; ``row`` is its row, but for the step it begins with.

    A delete preempts whatever runs, and is None if the server is being deleted already; anything else finds the server
    free and in a state that allows it, or ``Conflict``; ``Raced`` if it changed just now.
    """
    kind = KINDS[row["kind"]]
    now = row["started_at"]
    work = row["work"]
    if kind.preempts:
        if not _preempt(connection, server, kind, now):
            return None
        work = {**work, **_copy(connection, server)}
    else:
        check(server, kind)
    first = kind.steps[0]
    if first.performer is Performer.COMPUTE and first.place is Place.HOST and (server.host is None or not host_up):
        # Nobody there to ask: a delete goes on without, and reconcile removes the guest when the host is back.
        around = next_step(kind, first.name, server.host, work) if first.if_host_lost is Remedy.SKIP else None
        if around is not None:
            first, work = around, without(server.host, work)
    row = {**row, "work": work, "step": first.name, "on_host": host_of_step(first, server.host, work)}
    row["epoch"] = (
        actions.last_epoch(connection, server.id) + 1
    )  # of two guests of a server the newer has the higher one
    seize(connection, server, row["id"], task_state, now)
    actions.insert(connection, [row])
    actions.record(connection, row["id"], events)
    return actions.find(connection, row["id"])


def check(server: Server, kind: Kind) -> None:
    """Raise ``Conflict`` unless the server is free and in a state that allows such an action."""
    if server.action_id is not None or server.task_state is not None:
        raise Conflict(
            f"Cannot '{kind.name}' instance {server.id} while it is in task_state {server.task_state or 'locked'}"
        )
    if kind.vm_states and server.vm_state not in kind.vm_states:
        raise Conflict(f"Cannot '{kind.name}' instance {server.id} while it is in vm_state {server.vm_state}")
    if kind.needs_host and server.host is None:
        raise Conflict(f"Cannot '{kind.name}' instance {server.id}: it is on no host")


def _copy(connection: Connection, server: Server) -> dict[str, Any]:
    """Where else, by the ledger, something of the server may be: the other side of a move."""
    hosts = [host for host in ledger.held_elsewhere(connection, server.id) if host != server.host]
    return {"copy": hosts[0]} if hosts else {}


def seize(
    connection: Connection, server: Server, action_id: str | None, task_state: TaskState | None, now: int
) -> None:
    """Compare-and-set on the server as it was read: of two requests at once, one gets it, the other ``Raced``."""
    read = {"the_server": server.id, "read_action": server.action_id, "read_state": server.vm_state}
    read["read_host"] = server.host
    values = {"next_action": action_id, "next_task": task_state, "now": now}
    if connection.execute(_SEIZE, {**read, **values}).rowcount != 1:
        raise Raced(server.id)


def _preempt(connection: Connection, server: Server, kind: Kind, now: int) -> bool:
    """End what runs on the server; its performer finds its epoch stale and undoes its own work. False: as good a delete runs."""
    if server.action_id is None:
        return True
    running = actions.find(connection, server.action_id)
    if running is None or running.finished_at is not None:
        return True
    other = KINDS[running.kind]
    if other.preempts and (other.forward_only or other.name == kind.name):
        return False
    undone = {
        "state": ActionState.UNDONE,
        "epoch": running.epoch + 1,
        "lease_until": None,
        "finished_at": now,
        "updated_at": now,
        "message": "preempted by a delete",
    }
    if not actions.change(connection, running.id, undone, epoch=running.epoch, states=_OPEN):
        raise Raced(server.id)
    if running.kind == ATTACH_INTERFACE.name:  # a delete may be taken back, and the server has what it had before
        servers.update(connection, server.id, **outcomes.undone(connection, running, now))
    return True
