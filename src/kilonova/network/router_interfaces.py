"""Joining subnets to a router and taking them off. Reference: Networking API v2.0, "Routers"."""

from ipaddress import ip_network

from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import floating_ips as floating
from kilonova.database import networks as queries
from kilonova.model.clock import Ids
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Invalid, NotFound
from kilonova.model.network import Network, Port, Router, Subnet
from kilonova.network import trunk_ports
from kilonova.network.allocation import Segment, WantedIp, create_port
from kilonova.network.port_views import PORTS
from kilonova.network.resource import View
from kilonova.network.routers import INTERFACE, ROUTERS, new_interface, ports_of, subnets_at
from kilonova.network.service import EmbeddedNetworks
from kilonova.network.subnets import SUBNETS
from kilonova.web.call import Call, Reply


async def add_router_interface(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/routers/{id}/add_router_interface``"""
    if len(call.body) != 1:
        raise Invalid("Bad router request: Cannot specify both subnet-id and port-id.", name="BadRequest")
    view = await networks.database.run(
        add_interface, networks.ids, call.caller, call.params["id"], call.body, networks.clock.now()
    )
    return Reply(200, view)


def add_interface(
    connection: Connection, ids: Ids, caller: Caller, router_id: str, wanted: dict[str, str], now: int
) -> View:
    """Join a subnet by its gateway address, or by a port that somebody made. Raises as the API does."""
    router = ROUTERS.owned(connection, caller, router_id)
    if "port_id" in wanted:
        port = _take_port(connection, caller, router, wanted["port_id"])
    else:
        port = _make_port(connection, ids, caller, router, wanted["subnet_id"], now)
    queries.touch(connection, router, now)
    return _answer(router, port, subnets_at(connection, port))


def _take_port(connection: Connection, caller: Caller, router: Router, port_id: str) -> Port:
    known = PORTS.visible(connection, caller, port_id)
    queries.get(connection, Network, known.network_id, lock=True)  # as whoever binds the port to a server does
    port = PORTS.owned(connection, caller, port_id)
    if port.device_id:
        raise Conflict(f"Port {port.id} is already acquired by another device {port.device_id}.", name="PortInUse")
    trunk_ports.refuse_carried(connection, port)
    subnets = subnets_at(connection, port)
    if not subnets:
        raise Invalid(f"Bad router request: Port {port.id} has no address.", name="BadRequest")
    _check_new(connection, router, subnets)
    changes = {"device_id": router.id, "device_owner": INTERFACE, "status": "ACTIVE"}
    taken = queries.update(connection, Port, port.id, changes)
    assert taken is not None
    return taken


def _make_port(connection: Connection, ids: Ids, caller: Caller, router: Router, subnet_id: str, now: int) -> Port:
    segment = Segment.lock(connection, SUBNETS.visible(connection, caller, subnet_id).network_id)
    subnet = SUBNETS.visible(connection, caller, subnet_id)  # as it stays now
    if subnet.gateway_ip is None:
        raise Invalid("Bad router request: Subnet for router interface must have a gateway IP.", name="BadRequest")
    _check_new(connection, router, [subnet])
    if held.is_taken(connection, subnet.id, subnet.gateway_ip):
        raise Conflict(
            f"IP address {subnet.gateway_ip} is in use on network {subnet.network_id}.", name="IpAddressInUse"
        )
    port = new_interface(ids, connection, router, subnet.network_id, now)
    create_port(connection, segment, port, [WantedIp(subnet_id=subnet.id, ip_address=subnet.gateway_ip)])
    return port


def _check_new(connection: Connection, router: Router, wanted: list[Subnet]) -> None:
    """One router cannot tell apart two subnets with the same addresses."""
    for port in ports_of(connection, router.id):
        for have in subnets_at(connection, port):
            for subnet in wanted:
                if have.id == subnet.id:
                    raise Invalid(
                        f"Bad router request: Router already has a port on subnet {subnet.id}.", name="BadRequest"
                    )
                if ip_network(have.cidr).overlaps(ip_network(subnet.cidr)):
                    raise Invalid(
                        f"Bad router request: Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {have.cidr} "
                        f"of subnet {have.id}.",
                        name="BadRequest",
                    )


def _answer(router: Router, port: Port, subnets: list[Subnet]) -> View:
    return {
        "id": router.id,
        "tenant_id": router.project_id,
        "project_id": router.project_id,
        "port_id": port.id,
        "network_id": port.network_id,
        "subnet_id": subnets[0].id if subnets else None,
        "subnet_ids": [subnet.id for subnet in subnets],
        "tags": [],
    }


async def remove_router_interface(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/routers/{id}/remove_router_interface``"""
    view = await networks.database.run(
        remove_interface, call.caller, call.params["id"], call.body, networks.clock.now()
    )
    return Reply(200, view)


def remove_interface(
    connection: Connection, caller: Caller, router_id: str, wanted: dict[str, str], now: int
) -> View:
    """Take a subnet off, named by itself or by the port. Raises ``NotFound``, or ``Conflict`` while it is needed."""
    router = ROUTERS.owned(connection, caller, router_id)
    port = _find(connection, router, wanted)
    subnets = subnets_at(connection, port)
    if "subnet_id" in wanted and wanted["subnet_id"] not in [subnet.id for subnet in subnets]:
        raise Conflict(
            f"Subnet {wanted['subnet_id']} is not the one of port {port.id} of router {router.id}.",
            name="SubnetMismatchForPort",
        )
    for subnet in subnets:
        if floating.any_to(connection, router.id, subnet.id):
            raise Conflict(
                f"Router interface for subnet {subnet.id} on router {router.id} cannot be deleted, "
                "as it is required by one or more floating IPs.",
                name="RouterInterfaceInUseByFloatingIP",
            )
    held.remove_port(connection, port.id)
    queries.touch(connection, router, now)
    return _answer(router, port, subnets)


def _find(connection: Connection, router: Router, wanted: dict[str, str]) -> Port:
    for port in ports_of(connection, router.id):
        if port.id == wanted.get("port_id"):
            return port
        if "port_id" not in wanted and wanted["subnet_id"] in [s.id for s in subnets_at(connection, port)]:
            return port
    if "port_id" in wanted:
        raise NotFound(
            f"Router {router.id} does not have an interface with id {wanted['port_id']}",
            name="RouterInterfaceNotFound",
        )
    raise NotFound(
        f"Router {router.id} has no interface on subnet {wanted['subnet_id']}",
        name="RouterInterfaceNotFoundForSubnet",
    )
