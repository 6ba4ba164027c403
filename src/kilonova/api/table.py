"""The Compute API's one route table, put together from the modules of its resources."""

from kilonova.api.compute import (
    aggregate_images,
    aggregates,
    extensions,
    flavors,
    hosts,
    hypervisors,
    instance_actions,
    interfaces,
    keypairs,
    limits,
    migrations,
    quotas,
    rules,
    rules_servers,
    server_actions,
    server_diagnostics,
    server_groups,
    server_ips,
    server_metadata,
    server_migrations,
    server_password,
    server_security_groups,
    server_tags,
    server_topology,
    servers,
    services,
    usage,
    usage_audit,
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
    migrations,
    server_migrations,
    quotas,
    services,
    usage,
    zones,
    server_metadata,
    server_tags,
    server_ips,
    server_groups,
    server_diagnostics,
    server_topology,
    server_password,
    aggregate_images,
    hosts,
    usage_audit,
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
