"""Events that other services tell of a server: a port is plugged, a volume has grown, the power has changed.

Nothing here waits for one: ports are ours to plug, and steps end when their host says so. An event is checked, answered by what
became of it, and written into the timeline of the action that changes the server just then, where an operator finds it.
"""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import document
from kilonova.database import actions, servers
from kilonova.messaging.contract import TimelineEvent
from kilonova.model.server import Server
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import Schema, Versioned

_NEED_A_TAG = {"volume-extended", "power-update", "accelerator-request-bound"}


async def create(cloud: Deployment, call: Call) -> Reply:
    """200 if all were taken, 207 if some were not; each says for itself."""
    events: list[dict[str, Any]] = call.body["events"]
    answered = await cloud.database.run(_take, cloud, events)
    mixed = any(event["code"] != 200 for event in answered)
    return Reply(207 if mixed else 200, {"events": answered})


def _take(connection: Connection, cloud: Deployment, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_one(connection, cloud, event) for event in events]


def _one(connection: Connection, cloud: Deployment, event: dict[str, Any]) -> dict[str, Any]:
    server = servers.find(connection, event["server_uuid"])
    if server is None or server.deleted_at is not None:
        code = 404
    elif event["name"] in _NEED_A_TAG and event.get("tag") is None:
        code = 400
    elif server.host is None:
        code = 422
    else:
        code = 200
        _note(connection, cloud, server, event)
    return {**event, "status": "completed" if code == 200 else "failed", "code": code}


def _note(connection: Connection, cloud: Deployment, server: Server, event: dict[str, Any]) -> None:
    if server.action_id is None:
        return
    now = cloud.clock.now()
    details = {"status": event.get("status", "completed"), "tag": event.get("tag")}
    noted = TimelineEvent(
        name=f"external.{event['name']}",
        service="nova-api",
        host=cloud.host,
        started_at=now,
        finished_at=now,
        result="Success" if details["status"] == "completed" else "Error",
        details=details,
    )
    actions.record(connection, server.action_id, [noted])


_NAMES = [
    (0, "network-changed"),
    (0, "network-vif-plugged"),
    (0, "network-vif-unplugged"),
    (0, "network-vif-deleted"),
    (51, "volume-extended"),
    (76, "power-update"),
    (82, "accelerator-request-bound"),
    (93, "volume-reimaged"),
]


def _body(version: int) -> Schema:
    event = document(
        ["name", "server_uuid"],
        {
            "name": {"type": "string", "enum": [name for since, name in _NAMES if since <= version]},
            "server_uuid": {"type": "string", "format": "uuid"},
            "status": {"type": "string", "enum": ["failed", "completed", "in-progress"]},
            "tag": {"type": "string", "maxLength": 255},
        },
    )
    return document(["events"], {"events": {"type": "array", "items": event, "minItems": 1}})


ROUTES = [
    Route(
        method="POST",
        path="/os-server-external-events",
        handler=create,
        rule="os_compute_api:os-server-external-events:create",
        role="service",
        body=(
            Versioned(_body(1), 0, 50),
            Versioned(_body(51), 51, 75),
            Versioned(_body(76), 76, 81),
            Versioned(_body(82), 82, 92),
            Versioned(_body(93), 93),
        ),
        summary="Tell of events of servers",
    ),
]
