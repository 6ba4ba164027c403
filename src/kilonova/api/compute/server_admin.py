"""``POST /servers/{id}/action`` for administrators: os-resetState and injectNetworkInfo."""

from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import document
from kilonova.api.compute.rules_servers import UNLOCK_OVERRIDE
from kilonova.api.compute.server_schemas import word
from kilonova.api.compute.submission import find, record
from kilonova.database import actions, reset
from kilonova.database.admission import Raced
from kilonova.image.protocol import NewImage
from kilonova.model.errors import Conflict
from kilonova.model.server import VmState
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import always

_RACES = 20  # steps the engine may take on the server meanwhile
_STATES = {"active": VmState.ACTIVE, "error": VmState.ERROR}


async def reset_state(cloud: Deployment, call: Call) -> Reply:
    """The server is what the administrator says; what ran on it is ended. A delete goes on."""
    for left in reversed(range(_RACES)):
        try:
            left_over = await cloud.database.run(_reset, cloud, call)
            break
        except Raced:
            if not left:
                raise
    for image in left_over:
        if not await cloud.images.uploaded(image["id"]):
            await cloud.images.reserve(msgspec.convert(image, NewImage))  # its id is used then: nobody late makes it
            await cloud.images.discard(image["id"])
    return Reply(202)


def _reset(connection: Connection, cloud: Deployment, call: Call) -> list[dict[str, Any]]:
    """The images that what was ended here may have left behind."""
    server = find(connection, call, call.params["id"])
    if reset.is_leaving(connection, server):
        record(connection, cloud, call, server.id, "resetState", "the server is being deleted, and stays so")
        return []
    reset.reset(connection, server, _STATES[call.body["os-resetState"]["state"]], cloud.clock.now())
    record(connection, cloud, call, server.id, "resetState")
    return actions.images_not_made(connection, server.id)


async def inject_network_info(cloud: Deployment, call: Call) -> Reply:
    """Nothing has to be injected here: guests learn their addresses from their config drive."""
    await cloud.database.run(_may_inject, call)
    return Reply(202)


def _may_inject(connection: Connection, call: Call) -> None:
    server = find(connection, call, call.params["id"])
    if server.locked and not call.allows(UNLOCK_OVERRIDE):
        raise Conflict(f"Instance {server.id} is locked")


_RESET = always(
    document(
        ["os-resetState"],
        {"os-resetState": document(["state"], {"state": {"type": "string", "enum": list(_STATES)}})},
    )
)
_RULE = "os_compute_api:os-admin-actions"

ROUTES = [
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="os-resetState",
        handler=reset_state,
        rule=f"{_RULE}:reset_state",
        role="admin",
        body=_RESET,
        summary="Say what state a server is in",
    ),
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="injectNetworkInfo",
        handler=inject_network_info,
        rule=f"{_RULE}:inject_network_info",
        role="admin",
        body=word("injectNetworkInfo"),
        summary="Write addresses into a guest: nothing to do here",
    ),
]
