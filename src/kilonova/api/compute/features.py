"""Whether the hypervisor under a server can do what is asked: looked up before an action is admitted, never tried."""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.submission import Intent, Plan
from kilonova.database import membership
from kilonova.model.errors import KilonovaError, Unsupported
from kilonova.model.server import Server


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
