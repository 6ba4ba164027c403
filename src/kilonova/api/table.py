"""The Compute API's one route table, put together from the modules of its resources."""

from kilonova.api.compute import (
    aggregate_images,
    aggregates,
    baremetal,
    console_tokens,
    deferred_delete,
    evacuation,
    extensions,
    external_events,
    fixed_ips,
    flavors,
    floating_ips,
    gone,
    hosts,
    hypervisors,
    image_proxy,
    instance_actions,
    interfaces,
    keypairs,
    limits,
    live_migration,
    migrations,
    network_proxy,
    quotas,
    rebuild,
    remote_consoles,
    rules,
    rules_servers,
    security_groups,
    server_actions,
    server_admin,
    server_diagnostics,
    server_groups,
    server_images,
    server_ips,
    server_locks,
    server_metadata,
    server_migrations,
    server_moves,
    server_password,
    server_rescue,
    server_security_groups,
    server_states,
    server_tags,
    server_topology,
    servers,
    services,
    unshelving,
    usage,
    usage_audit,
    versions,
    volumes_boot,
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
    server_states,
    server_locks,
    server_admin,
    deferred_delete,
    rebuild,
    server_rescue,
    server_images,
    server_moves,
    evacuation,
    live_migration,
    unshelving,
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
    remote_consoles,
    console_tokens,
    external_events,
    gone,
    image_proxy,
    network_proxy,
    security_groups,
    floating_ips,
    fixed_ips,
    baremetal,
)


def compute_routes() -> RouteTable:
    """Every operation of the Compute API."""
    routes = [route for module in _MODULES for route in module.ROUTES]
    return RouteTable([*routes, *volumes_boot.aliases(routes)])


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
