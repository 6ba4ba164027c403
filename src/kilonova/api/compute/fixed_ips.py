"""``addFixedIp`` and ``removeFixedIp``, up to 2.43: one address more or less on a network that the server has a port on."""

from typing import Any

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import document
from kilonova.api.compute.submission import find, refuse_locked
from kilonova.model.server import Server
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Handler, Route
from kilonova.web.schema import Schema, always

_UNTIL = 43


async def add(cloud: Deployment, call: Call) -> Reply:
    """Any free address of the network."""
    server = await _unlocked(cloud, call)
    await cloud.networks.add_address(server.id, str(call.body["addFixedIp"]["networkId"]))
    return Reply(202)


async def remove(cloud: Deployment, call: Call) -> Reply:
    """The one that is named."""
    server = await _unlocked(cloud, call)
    await cloud.networks.remove_address(server.id, call.body["removeFixedIp"]["address"])
    return Reply(202)


async def _unlocked(cloud: Deployment, call: Call) -> Server:
    server = await cloud.database.run(find, call, call.params["id"])
    refuse_locked(call, server)
    return server


_NETWORK: Schema = {"type": ["string", "number"], "minLength": 1, "maxLength": 36}
_ADDRESS: Schema = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}


def _action(name: str, handler: Handler, verb: str, asked: dict[str, Any], summary: str) -> Route:
    (field,) = asked
    return Route(
        method="POST",
        path="/servers/{id}/action",
        action=name,
        handler=handler,
        rule=f"os_compute_api:os-multinic:{verb}",
        role="member",
        until=_UNTIL,
        body=always(document([name], {name: document([field], asked)})),
        summary=summary,
    )


ROUTES = [
    _action("addFixedIp", add, "add", {"networkId": _NETWORK}, "Give a server one more address of a network"),
    _action("removeFixedIp", remove, "remove", {"address": _ADDRESS}, "Take an address off a server"),
]
