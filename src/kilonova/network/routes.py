"""The network service's route table and its application. Reference: Networking API v2.0. Rules have the names of Neutron's."""

from typing import Any

from kilonova.network import (
    about,
    floating_ips,
    networks,
    ports,
    quotas,
    reference,
    router_interfaces,
    routers,
    schemas,
    security_group_rules,
    security_groups,
    subnets,
    tags,
    topology,
    trunks,
)
from kilonova.network.port_views import PORTS
from kilonova.network.resource import Resource, lists, shows
from kilonova.network.service import EmbeddedNetworks
from kilonova.network.settings import QUOTAS
from kilonova.web.application import Application, Family, TokenValidator
from kilonova.web.faults import network_fault
from kilonova.web.policy import NOBODY_NEEDED, Policy
from kilonova.web.routes import Handler, Route, RouteTable
from kilonova.web.schema import Schemas


def _row(method: str, path: str, handler: Handler, rule: str, role: str, body: Schemas = ()) -> Route:
    summary = f"{method} {path}"
    return Route(method=method, path=path, handler=handler, rule=rule, role=role, body=body, summary=summary)


def _noun(
    resource: Resource[Any],
    create: tuple[Handler, Schemas],
    update: tuple[Handler, Schemas] | None,
    delete: Handler,
    listing: Handler | None = None,
    showing: Handler | None = None,
) -> list[Route]:
    """The five operations that nearly every noun has."""
    path, name = f"/v2.0/{resource.plural}", resource.name
    rows = [
        _row("GET", path, listing or lists(resource), f"get_{name}", "reader"),
        _row("POST", path, create[0], f"create_{name}", "member", create[1]),
        _row("GET", f"{path}/{{id}}", showing or shows(resource), f"get_{name}", "reader"),
        _row("DELETE", f"{path}/{{id}}", delete, f"delete_{name}", "member"),
    ]
    if update is not None:
        rows.append(_row("PUT", f"{path}/{{id}}", update[0], f"update_{name}", "member", update[1]))
    return rows


def _tagged(resource: Resource[Any]) -> list[Route]:
    path, name = f"/v2.0/{resource.plural}/{{id}}/tags", resource.plural.replace("-", "_")
    return [
        _row("GET", path, tags.lists_tags(resource), f"get_{name}_tags", "reader"),
        _row("PUT", path, tags.replaces_tags(resource), f"update_{name}_tags", "member", schemas.TAGS),
        _row("POST", path, tags.adds_tags(resource), f"create_{name}_tags", "member", schemas.TAGS),
        _row("DELETE", path, tags.removes_tags(resource), f"delete_{name}_tags", "member"),
        _row("GET", f"{path}/{{tag}}", tags.shows_tag(resource), f"get_{name}_tags", "reader"),
        _row("PUT", f"{path}/{{tag}}", tags.adds_tag(resource), f"update_{name}_tags", "member"),
        _row("DELETE", f"{path}/{{tag}}", tags.removes_tag(resource), f"delete_{name}_tags", "member"),
    ]


def routes() -> list[Route]:
    """Every operation of the embedded network service."""
    groups, rules = security_groups, security_group_rules
    quota, auto = "/v2.0/quotas", "/v2.0/auto-allocated-topology/{project_id}"
    router = f"/v2.0/{routers.ROUTERS.plural}/{{id}}"
    trunk = f"/v2.0/{trunks.TRUNKS.plural}/{{id}}"
    return [
        _row("GET", "/", about.list_versions, "get_versions", NOBODY_NEEDED),
        _row("GET", "/v2.0", about.show_version, "get_versions", NOBODY_NEEDED),
        _row("GET", "/v2.0/extensions", about.list_extensions, "get_extension", "reader"),
        _row("GET", "/v2.0/extensions/{alias}", about.show_extension, "get_extension", "reader"),
        *_noun(
            networks.NETWORKS,
            (networks.create_network, schemas.NETWORK_CREATE),
            (networks.update_network, schemas.NETWORK_UPDATE),
            networks.delete_network,
        ),
        *_noun(
            subnets.SUBNETS,
            (subnets.create_subnet, schemas.SUBNET_CREATE),
            (subnets.update_subnet, schemas.SUBNET_UPDATE),
            subnets.delete_subnet,
        ),
        *_noun(
            PORTS,
            (ports.create_port, schemas.PORT_CREATE),
            (ports.update_port, schemas.PORT_UPDATE),
            ports.delete_port,
        ),
        *_noun(
            groups.GROUPS,
            (groups.create_security_group, schemas.SECURITY_GROUP_CREATE),
            (groups.update_security_group, schemas.SECURITY_GROUP_UPDATE),
            groups.delete_security_group,
            groups.list_security_groups,
            groups.show_security_group,
        ),
        *_noun(
            rules.RULES,
            (rules.create_security_group_rule, schemas.SECURITY_GROUP_RULE_CREATE),
            None,
            rules.delete_security_group_rule,
            rules.list_security_group_rules,
        ),
        *_noun(
            routers.ROUTERS,
            (routers.create_router, schemas.ROUTER_CREATE),
            (routers.update_router, schemas.ROUTER_UPDATE),
            routers.delete_router,
        ),
        _row(
            "PUT",
            f"{router}/add_router_interface",
            router_interfaces.add_router_interface,
            "add_router_interface",
            "member",
            schemas.ROUTER_INTERFACE,
        ),
        _row(
            "PUT",
            f"{router}/remove_router_interface",
            router_interfaces.remove_router_interface,
            "remove_router_interface",
            "member",
            schemas.ROUTER_INTERFACE,
        ),
        *_noun(
            floating_ips.FLOATING_IPS,
            (floating_ips.create_floatingip, schemas.FLOATING_IP_CREATE),
            (floating_ips.update_floatingip, schemas.FLOATING_IP_UPDATE),
            floating_ips.delete_floatingip,
        ),
        *_noun(
            trunks.TRUNKS,
            (trunks.create_trunk, schemas.TRUNK_CREATE),
            (trunks.update_trunk, schemas.TRUNK_UPDATE),
            trunks.delete_trunk,
        ),
        _row("GET", f"{trunk}/get_subports", trunks.get_subports, "get_subports", "reader"),
        _row("PUT", f"{trunk}/add_subports", trunks.add_subports, "add_subports", "member", schemas.SUB_PORTS_ADD),
        _row(
            "PUT",
            f"{trunk}/remove_subports",
            trunks.remove_subports,
            "delete_subports",
            "member",
            schemas.SUB_PORTS_REMOVE,
        ),
        *(row for resource in tags.TAGGED for row in _tagged(resource)),
        *(
            _row("GET", f"/v2.0/{plural}", about.list_nothing, f"get_{plural}", "reader")
            for plural in reference.NOT_OFFERED_LISTS
        ),
        _row("GET", "/v2.0/agents", about.list_agents, "get_agent", "reader"),
        _row("GET", "/v2.0/availability_zones", about.list_availability_zones, "get_availability_zone", "reader"),
        _row("GET", quota, quotas.list_quotas, "get_quotas", "admin"),
        _row("GET", f"{quota}/{{project_id}}", quotas.show_quota, "get_quota", "reader"),
        _row(
            "PUT",
            f"{quota}/{{project_id}}",
            quotas.update_quota,
            "update_quota",
            "admin",
            schemas.quota(list(QUOTAS)),
        ),
        _row("DELETE", f"{quota}/{{project_id}}", quotas.reset_quota, "delete_quota", "admin"),
        _row("GET", f"{quota}/{{project_id}}/default", quotas.show_default_quota, "get_quota", "reader"),
        _row("GET", f"{quota}/{{project_id}}/details", quotas.show_quota_details, "get_quota", "reader"),
        _row("GET", auto, topology.show_auto_allocated_topology, "get_auto_allocated_topology", "reader"),
        _row("DELETE", auto, topology.delete_auto_allocated_topology, "delete_auto_allocated_topology", "member"),
    ]


def application(
    networks: EmbeddedNetworks, *, tokens: TokenValidator, overrides: dict[str, str] | None = None
) -> Application:
    """The HTTP API of ``networks``; mount it at ``NetworkSettings.mount``. ``overrides`` are policy rules."""
    table = RouteTable(routes())
    return Application(
        Family(name="network", fault=network_fault),
        table,
        networks,
        tokens=tokens,
        policy=Policy({route.rule: route.role for route in table.routes}, overrides),
        clock=networks.clock,
        ids=networks.ids,
    )
