"""Whether a server, and the hypervisor under it, can do what is asked: looked up before an action is admitted, never tried."""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.rules_servers import UNLOCK_OVERRIDE
from kilonova.api.compute.submission import Intent, Plan, find
from kilonova.database import admission, membership
from kilonova.model.action import Kind
from kilonova.model.errors import Conflict, KilonovaError, Unsupported
from kilonova.model.server import Server
from kilonova.web.call import Call


async def look(cloud: Deployment, call: Call, kind: Kind) -> Server:
    """The server, if it is there and its state allows the action: told before what the request names is looked for."""

    def find_free(connection: Connection) -> Server:
        server = find(connection, call, call.params["id"])
        if server.locked and not call.allows(UNLOCK_OVERRIDE):
            raise Conflict(f"Instance {server.id} is locked")
        admission.check(server, kind)
        return server

    return await cloud.database.run(find_free)


def has(connection: Connection, server: Server, feature: str) -> bool:
    """Whether the driver of the server's host has the feature."""
    host = membership.find_host(connection, server.host) if server.host else None
    features = host.capabilities.get("features") if host is not None else None
    return isinstance(features, list) and feature in features


def require(connection: Connection, server: Server, feature: str, fault: type[KilonovaError] = Unsupported) -> None:
    """Raise ``fault`` unless it has."""
    if not has(connection, server, feature):
        raise fault(f"The hypervisor of instance {server.id} cannot do that ({feature}).")


def needs(feature: str, fault: type[KilonovaError] = Unsupported, **arguments: Any) -> Plan:
    """The plan of an action that asks for nothing but a driver that can."""

    def plan(connection: Connection, server: Server) -> Intent:
        require(connection, server, feature, fault)
        return Intent(arguments=arguments)

    return plan
