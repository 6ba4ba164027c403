"""The Compute API's one route table, put together from the modules of its resources."""

from kilonova.api.compute import (
    aggregates,
    extensions,
    flavors,
    hypervisors,
    instance_actions,
    interfaces,
    keypairs,
    limits,
    quotas,
    rules,
    rules_servers,
    server_actions,
    server_security_groups,
    servers,
    services,
    usage,
    versions,
    zones,
)
from kilonova.api.compute.deployment import Deployment
from kilonova.api.family import COMPUTE
from kilonova.web.application import Application, TokenValidator
from kilonova.web.policy import Policy
from kilonova.web.routes import RouteTable

_MODULES = (
    versions,
    extensions,
    aggregates,
    servers,
    server_actions,
    server_security_groups,
    flavors,
    hypervisors,
    instance_actions,
    interfaces,
    keypairs,
    limits,
    quotas,
    services,
    usage,
    zones,
)


def compute_routes() -> RouteTable:
    """Every operation of the Compute API."""
    return RouteTable(route for module in _MODULES for route in module.ROUTES)


def policy_defaults(table: RouteTable) -> dict[str, str]:
    """Each rule's least role: those of the routes, and those of single options."""
    return {**{route.rule: route.role for route in table.routes}, **rules.RULES, **rules_servers.RULES}


def compute_application(
    cloud: Deployment, tokens: TokenValidator, overrides: dict[str, str] | None = None
) -> Application:
    """The Compute API over ``cloud``; mount it at ``/compute``."""
    table = compute_routes()
    return Application(
        COMPUTE,
        table,
        cloud,
        tokens=tokens,
        policy=Policy(policy_defaults(table), overrides),
        clock=cloud.clock,
        ids=cloud.ids,
    )
