"""A server's administrator password as the guest posted it: encrypted, so that only the owner of the key can read it."""

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import queries
from kilonova.api.compute.submission import find
from kilonova.database import server_passwords
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route


async def show(cloud: Deployment, call: Call) -> Reply:
    """What was posted; an empty text if nothing was."""
    return Reply(200, {"password": await cloud.database.run(_password, call)})


def _password(connection: Connection, call: Call) -> str:
    return server_passwords.find(connection, find(connection, call, call.params["server_id"]).id)


async def clear(cloud: Deployment, call: Call) -> Reply:
    """Forget what was posted; the guest's password stays as it is."""
    await cloud.database.run(_clear, call)
    return Reply(204)


def _clear(connection: Connection, call: Call) -> None:
    server_passwords.clear(connection, find(connection, call, call.params["server_id"]).id)


_RULE = "os_compute_api:os-server-password"
_PATH = "/servers/{server_id}/os-server-password"
ROUTES = [
    Route(
        method="GET",
        path=_PATH,
        handler=show,
        rule=f"{_RULE}:show",
        role="reader",
        query=queries(102),
        summary="Show the encrypted password a guest posted",
    ),
    Route(method="DELETE", path=_PATH, handler=clear, rule=f"{_RULE}:clear", role="member", summary="Forget it"),
]
