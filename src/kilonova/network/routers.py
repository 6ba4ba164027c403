"""Routers. Reference: Networking API v2.0, "Routers". They are records: checked and kept, but no packet follows them yet.

A router's place on a network is a port that it holds: its interfaces, and its gateway on an external network.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import floating_ips as floating
from kilonova.database import networks as queries
from kilonova.model.clock import Ids
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Invalid
from kilonova.model.network import Port, Router
from kilonova.network import quotas
from kilonova.network.addresses import read_address, read_prefix
from kilonova.network.allocation import Segment, WantedIp, create_port, free_mac
from kilonova.network.networks import NETWORKS
from kilonova.network.resource import Resource, View, only_admins, owner_of, written
from kilonova.network.service import EmbeddedNetworks
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_z

GATEWAY, INTERFACE = "network:router_gateway", "network:router_interface"
_ADMINS = ("distributed", "ha")
_PLAIN = ("name", "description", "admin_state_up", "distributed", "ha")


def _views(connection: Connection, found: Sequence[Router], admin: bool) -> list[View]:
    ids = [router.id for router in found]
    outside: dict[str, list[View]] = {router_id: [] for router_id in ids}
    if ids:
        asked = queries.Question(filters={"device_id": ids, "device_owner": [GATEWAY]}, limit=100_000)
        ports = {port.id: port.device_id for port in queries.find(connection, Port, asked)}
        for port_id, addresses in held.addresses_of(connection, list(ports)).items():
            outside[ports[port_id]] += [{"subnet_id": a.subnet_id, "ip_address": a.ip_address} for a in addresses]
    tags = queries.tags_of(connection, ids)
    return [_view(router, outside[router.id], tags[router.id]) for router in found]


def _view(router: Router, outside: list[View], tags: list[str]) -> View:
    gateway: View | None = None
    if router.external_network_id is not None:
        gateway = {
            "network_id": router.external_network_id,
            "enable_snat": router.enable_snat,
            "external_fixed_ips": outside,
        }
    return {
        "id": router.id,
        "name": router.name,
        "tenant_id": router.project_id,
        "project_id": router.project_id,
        "admin_state_up": router.admin_state_up,
        "status": "ACTIVE",
        "external_gateway_info": gateway,
        "routes": router.routes,
        "availability_zone_hints": [],
        "availability_zones": ["nova"],
        "flavor_id": None,
        "distributed": router.distributed,
        "ha": router.ha,
        "description": router.description,
        "tags": tags,
        "revision_number": router.revision,
        "created_at": iso_z(router.created_at),
        "updated_at": iso_z(router.updated_at),
    }


ROUTERS = Resource(kind=Router, name="router", title="Router", missing="RouterNotFound", views=_views)


async def create_router(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``POST /v2.0/routers``"""
    body = written(call, "router")
    only_admins(call.caller, "router", body, _ADMINS)
    now = networks.clock.now()
    router = Router(
        id=networks.ids.uuid(),
        project_id=owner_of(call, body),
        name=body.get("name", ""),
        description=body.get("description", ""),
        admin_state_up=body.get("admin_state_up", True),
        distributed=bool(body.get("distributed")),
        ha=bool(body.get("ha")),
        routes=_routes(body.get("routes")),
        created_at=now,
        updated_at=now,
    )
    gateway = body.get("external_gateway_info") or {}
    view = await networks.database.run(_create, networks.ids, call.caller, router, gateway, networks.settings.quotas)
    return Reply(201, {"router": view})


def _routes(wanted: list[dict[str, str]] | None) -> list[dict[str, str]]:
    found = []
    for route in wanted or []:
        target, hop = read_prefix(route["destination"], "routes"), read_address(route["nexthop"], "routes")
        if target.version != hop.version:
            raise Invalid(f"Invalid format for routes: {target} cannot be reached over {hop}.", name="InvalidRoutes")
        found.append({"destination": str(target), "nexthop": str(hop)})
    return found


def _create(
    connection: Connection,
    ids: Ids,
    caller: Caller,
    router: Router,
    gateway: dict[str, Any],
    limits: dict[str, int],
) -> View:
    quotas.admit(connection, limits, Router, router.project_id)
    queries.insert(connection, router)
    if gateway:
        router = set_gateway(connection, ids, caller, router, gateway, router.created_at)
    return ROUTERS.view(connection, caller, router)


async def update_router(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/routers/{id}``"""
    body = written(call, "router")
    only_admins(call.caller, "router", body, _ADMINS)
    view = await networks.database.run(
        _update, networks.ids, call.caller, call.params["id"], body, networks.clock.now()
    )
    return Reply(200, {"router": view})


def _update(connection: Connection, ids: Ids, caller: Caller, router_id: str, body: dict[str, Any], now: int) -> View:
    router = ROUTERS.owned(connection, caller, router_id)
    changes: dict[str, Any] = {name: body[name] for name in _PLAIN if body.get(name) is not None}
    if "routes" in body:
        changes["routes"] = _routes(body["routes"])
        _check_hops(connection, router, changes["routes"])
    router = queries.revise(connection, router, changes, now)
    if "external_gateway_info" in body:
        gateway = body["external_gateway_info"] or {}
        router = (
            set_gateway(connection, ids, caller, router, gateway, now)
            if gateway
            else clear_gateway(connection, router, now)
        )
    return ROUTERS.view(connection, caller, router)


def _check_hops(connection: Connection, router: Router, routes: list[dict[str, str]]) -> None:
    places = [port for owner in (INTERFACE, GATEWAY) for port in ports_of(connection, router.id, owner)]
    reached = [subnet for port in places for subnet in subnets_at(connection, port)]
    for route in routes:
        hop = read_address(route["nexthop"])
        if not any(hop in read_prefix(subnet.cidr, "cidr") for subnet in reached):
            raise Invalid(
                f"Invalid format for routes: the nexthop {hop} is not connected with router.", name="InvalidRoutes"
            )


# --- the gateway -------------------------------------------------------------------------------------------


def set_gateway(
    connection: Connection, ids: Ids, caller: Caller, router: Router, wanted: dict[str, Any], now: int
) -> Router:
    """Put the router on an external network, or change how it is there. Raises ``Invalid``, ``NotFound`` or ``Conflict``."""
    network_id = wanted.get("network_id", router.external_network_id)
    if network_id is None:
        raise Invalid("Invalid input for external_gateway_info: network_id is missing.")
    addresses = wanted.get("external_fixed_ips")
    changes: dict[str, Any] = {"external_network_id": network_id, "enable_snat": wanted.get("enable_snat", True)}
    if network_id == router.external_network_id and not addresses:
        return queries.revise(connection, router, changes, now)
    network = NETWORKS.visible(connection, caller, network_id)
    segment = Segment.lock(connection, network.id)
    if not segment.network.external:
        raise Invalid(f"Bad router request: Network {network_id} is not an external network.", name="BadRequest")
    router = clear_gateway(connection, router, now)
    port = _new_port(ids, connection, router, network.id, GATEWAY, now)
    asked = [WantedIp(subnet_id=a.get("subnet_id"), ip_address=a.get("ip_address")) for a in addresses or []]
    create_port(connection, segment, port, asked or None)
    return queries.revise(connection, router, changes, now)


def clear_gateway(connection: Connection, router: Router, now: int) -> Router:
    """Take the router off its external network. Raises ``Conflict`` while a floating address needs it."""
    if router.external_network_id is None:
        return router
    if floating.any_through(connection, router.id):
        raise Conflict(
            f"Gateway cannot be updated for router {router.id}, since a gateway to external network "
            f"{router.external_network_id} is required by one or more floating IPs.",
            name="RouterExternalGatewayInUseByFloatingIp",
        )
    for port in ports_of(connection, router.id, GATEWAY):
        held.remove_port(connection, port.id)
    return queries.revise(connection, router, {"external_network_id": None, "enable_snat": True}, now)


def _new_port(ids: Ids, connection: Connection, router: Router, network_id: str, owner: str, now: int) -> Port:
    return Port(
        id=ids.uuid(),
        network_id=network_id,
        project_id="" if owner == GATEWAY else router.project_id,
        mac_address=free_mac(connection, network_id, ids),
        device_id=router.id,
        device_owner=owner,
        status="ACTIVE",
        port_security_enabled=False,
        created_at=now,
        updated_at=now,
    )


def new_interface(ids: Ids, connection: Connection, router: Router, network_id: str, now: int) -> Port:
    """A port that holds the router's place on a network (whose row is locked)."""
    return _new_port(ids, connection, router, network_id, INTERFACE, now)


def ports_of(connection: Connection, router_id: str, owner: str = INTERFACE) -> list[Port]:
    """The router's interfaces, or its gateway."""
    asked = queries.Question(filters={"device_id": [router_id], "device_owner": [owner]}, limit=10_000)
    return queries.find(connection, Port, asked)


def subnets_at(connection: Connection, port: Port) -> list[Any]:
    """The subnets a port has addresses of."""
    ids = {entry.subnet_id for entry in held.addresses_of(connection, [port.id])[port.id]}
    return [subnet for subnet in held.subnets_of(connection, port.network_id) if subnet.id in ids]


async def delete_router(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/routers/{id}``"""
    await networks.database.run(_delete, call.caller, call.params["id"], networks.clock.now())
    return Reply(204)


def _delete(connection: Connection, caller: Caller, router_id: str, now: int) -> None:
    router = ROUTERS.owned(connection, caller, router_id)
    if ports_of(connection, router.id):
        raise Conflict(f"Router {router.id} still has ports", name="RouterInUse")
    clear_gateway(connection, router, now)
    queries.remove(connection, Router, router.id)
