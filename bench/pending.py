"""Servers that wait for a host, written straight into a database: a scheduler's work without the services that make it."""

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from kilonova.database import actions, server_groups, servers
from kilonova.database.tables import server_group_members
from kilonova.database.tables import server_groups as groups
from kilonova.messaging.bus import Delivery
from kilonova.messaging.contract import SCHEDULER, ScheduleServer
from kilonova.model.context import RequestContext
from kilonova.model.kinds.create import CREATE
from kilonova.model.server import TaskState, VmState
from kilonova.simulation.fleet.hosts import NOW
from kilonova.simulation.fleet.workload import Wish

DISPATCH = 60_000_000
_AT_ONCE = 1_000


def ask(connection: Connection, wishes: Sequence[Wish], first: int = 0) -> list[ScheduleServer]:
    """Write their rows, their actions and their groups; returns the requests that nova-api would send now."""
    requests = [wish.request(first + number) for number, wish in enumerate(wishes)]
    for start in range(0, len(wishes), _AT_ONCE):
        part = list(zip(requests[start : start + _AT_ONCE], wishes[start : start + _AT_ONCE], strict=True))
        servers.insert(connection, [_server(request, wish) for request, wish in part])
        actions.insert(connection, [_action(request, wish) for request, wish in part])
    _join(connection, requests, wishes)
    return requests


def delivery(request: ScheduleServer) -> Delivery:
    """The request as it comes out of the queue."""
    context = RequestContext(request_id=f"req-{request.action_id}")
    return Delivery(message=request, context=context, queue=SCHEDULER, sent_at=NOW, received_at=NOW)


def _join(connection: Connection, requests: Sequence[ScheduleServer], wishes: Sequence[Wish]) -> None:
    members = [
        {"group_id": wish.group, "server_id": request.guest.server_id}
        for request, wish in zip(requests, wishes, strict=True)
        if wish.group is not None
    ]
    for group in dict.fromkeys(str(member["group_id"]) for member in members):
        if server_groups.find(connection, group) is None:
            row = {"id": group, "project_id": "p", "user_id": "u", "name": group, "policy": group.split("/")[0]}
            connection.execute(groups.insert(), {**row, "rules": {}, "placements": 0, "created_at": NOW})
    if members:
        connection.execute(server_group_members.insert(), members)


def _server(request: ScheduleServer, wish: Wish) -> dict[str, object]:
    guest = request.guest
    return {
        "id": guest.server_id,
        "project_id": guest.project_id,
        "user_id": guest.user_id,
        "name": guest.name,
        "hostname": guest.hostname,
        "vm_state": str(VmState.BUILDING),
        "task_state": str(TaskState.SCHEDULING),
        "power_state": 0,
        "action_id": request.action_id,
        "flavor_id": wish.size.name,
        "flavor": {
            "name": wish.size.name,
            "vcpus": wish.size.vcpus,
            "memory_mb": wish.size.memory_mb,
            "disk_gb": wish.size.disk_gb,
        },
        "config_drive": False,
        "metadata": {},
        "tags": [],
        "networks": [],
        "addresses": [],
        "security_groups": [],
        "scheduler_hints": dict(request.hints),
        "reservation_id": "r-1",
        "launch_index": 0,
        "disk_config": "MANUAL",
        "locked": False,
        "progress": 0,
        "created_at": NOW,
        "requested_zone": wish.zone,
    }


def _action(request: ScheduleServer, wish: Wish) -> dict[str, object]:
    return actions.new_row(
        action_id=request.action_id,
        server_id=request.guest.server_id,
        kind=CREATE,
        request_id=f"req-{request.action_id}",
        user_id=wish.project,
        project_id=wish.project,
        before={},
        now=NOW,
        dispatch=DISPATCH,
    )
