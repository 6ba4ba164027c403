"""The network service's route table and its application. Reference: Networking API v2.0."""

from kilonova.network import handlers as h
from kilonova.network import ports, reference, schemas
from kilonova.network.service import EmbeddedNetworks
from kilonova.web.application import Application, Family, TokenValidator
from kilonova.web.faults import network_fault
from kilonova.web.policy import NOBODY_NEEDED, Policy
from kilonova.web.routes import Handler, Route, RouteTable
from kilonova.web.schema import Schemas


def _row(method: str, path: str, handler: Handler, role: str, body: Schemas = ()) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        rule=f"network:{handler.__name__}",
        role=role,
        body=body,
        summary=(handler.__doc__ or "").strip().splitlines()[0],
    )


# Writes that exist in the API and not here.
_REFUSED = (
    ("networks", ("POST",), ("PUT", "DELETE")),
    ("subnets", ("POST",), ("PUT", "DELETE")),
    ("security-groups", ("POST",), ("PUT",)),
    ("security-group-rules", ("POST",), ("DELETE",)),
    *((plural, ("POST",), ("PUT", "DELETE")) for plural in reference.NOT_OFFERED_LISTS),
    ("quotas", (), ("PUT",)),
)


def _refused() -> list[Route]:
    return [
        _row(method, f"/v2.0/{plural}{tail}", h.refuse, "member")
        for plural, on_list, on_one in _REFUSED
        for tail, methods in (("", on_list), ("/{id}", on_one))
        for method in methods
    ]


def routes() -> list[Route]:
    """Every operation of the embedded network service."""
    return [
        _row("GET", "/", h.list_versions, NOBODY_NEEDED),
        _row("GET", "/v2.0", h.show_version, NOBODY_NEEDED),
        _row("GET", "/v2.0/extensions", h.list_extensions, "reader"),
        _row("GET", "/v2.0/extensions/{alias}", h.show_extension, "reader"),
        _row("GET", "/v2.0/networks", h.list_networks, "reader"),
        _row("GET", "/v2.0/networks/{network_id}", h.show_network, "reader"),
        _row("GET", "/v2.0/subnets", h.list_subnets, "reader"),
        _row("GET", "/v2.0/subnets/{subnet_id}", h.show_subnet, "reader"),
        _row("GET", "/v2.0/ports", ports.list_ports, "reader"),
        _row("POST", "/v2.0/ports", ports.create_port, "member", schemas.PORT_CREATE),
        _row("GET", "/v2.0/ports/{port_id}", ports.show_port, "reader"),
        _row("PUT", "/v2.0/ports/{port_id}", ports.update_port, "member", schemas.PORT_UPDATE),
        _row("DELETE", "/v2.0/ports/{port_id}", ports.delete_port, "member"),
        _row("GET", "/v2.0/security-groups", h.list_security_groups, "reader"),
        _row("GET", "/v2.0/security-groups/{group_id}", h.show_security_group, "reader"),
        _row("DELETE", "/v2.0/security-groups/{group_id}", h.delete_security_group, "member"),
        _row("GET", "/v2.0/security-group-rules", h.list_security_group_rules, "reader"),
        *(_row("GET", f"/v2.0/{plural}", h.list_nothing, "reader") for plural in reference.NOT_OFFERED_LISTS),
        _row("GET", "/v2.0/agents", h.list_agents, "admin"),
        _row("GET", "/v2.0/availability_zones", h.list_availability_zones, "reader"),
        _row("GET", "/v2.0/quotas/{project_id}", h.show_quota, "reader"),
        _row("DELETE", "/v2.0/quotas/{project_id}", h.reset_quota, "admin"),
        _row("GET", "/v2.0/quotas/{project_id}/default", h.show_quota, "reader"),
        _row("GET", "/v2.0/quotas/{project_id}/details", h.show_quota_details, "reader"),
        _row("GET", "/v2.0/auto-allocated-topology/{project_id}", h.show_auto_allocated_topology, "reader"),
        *_refused(),
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
