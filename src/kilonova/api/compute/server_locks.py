"""``POST /servers/{id}/action``: lock and unlock. A locked server refuses its users' changes; administrators may go on."""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import document
from kilonova.api.compute.rules_servers import UNLOCK_OVERRIDE
from kilonova.api.compute.server_schemas import word
from kilonova.api.compute.submission import find, record
from kilonova.database import servers
from kilonova.model.server import Server
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import Schema, Versioned


async def lock(cloud: Deployment, call: Call) -> Reply:
    """Lock it, from 2.73 with a reason. An owner who finds it locked changes nothing."""
    asked = call.body["lock"] if call.version >= 73 else None
    await cloud.database.run(_lock, cloud, call, (asked or {}).get("locked_reason"))
    return Reply(202)


def _lock(connection: Connection, cloud: Deployment, call: Call, reason: str | None) -> None:
    server = _held(connection, call)
    who = _side(call, server)
    if server.locked and who == "owner":
        return
    values: dict[str, Any] = {"locked": True, "locked_by": who, "updated_at": cloud.clock.now()}
    if reason:
        values["locked_reason"] = reason
    servers.update(connection, server.id, **values)
    record(connection, cloud, call, server.id, "lock")


async def unlock(cloud: Deployment, call: Call) -> Reply:
    """Unlock it; what an administrator has locked, its owner may not unlock."""
    await cloud.database.run(_unlock, cloud, call)
    return Reply(202)


def _unlock(connection: Connection, cloud: Deployment, call: Call) -> None:
    server = _held(connection, call)
    if server.locked_by is not None and server.locked_by != _side(call, server):
        call.require(UNLOCK_OVERRIDE)
    servers.update(
        connection, server.id, locked=False, locked_by=None, locked_reason=None, updated_at=cloud.clock.now()
    )
    record(connection, cloud, call, server.id, "unlock")


def _held(connection: Connection, call: Call) -> Server:
    """The server, its row taken first: an owner does not pass over the lock that an administrator sets in the same moment."""
    servers.hold(connection, call.params["id"])
    return find(connection, call, call.params["id"])


def _side(call: Call, server: Server) -> str:
    return "owner" if server.project_id == call.caller.project_id else "admin"


_REASON: Schema = document([], {"locked_reason": {"type": "string", "minLength": 1, "maxLength": 255}})
_LOCK = (
    Versioned(word("lock")[0].schema, 1, 72),
    Versioned(document(["lock"], {"lock": {"anyOf": [{"type": "null"}, _REASON]}}), 73),
)
_RULE = "os_compute_api:os-lock-server"

ROUTES = [
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="lock",
        handler=lock,
        rule=f"{_RULE}:lock",
        role="member",
        body=_LOCK,
        summary="Refuse changes by users",
    ),
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="unlock",
        handler=unlock,
        rule=f"{_RULE}:unlock",
        role="member",
        body=word("unlock"),
        summary="Take changes again",
    ),
]
