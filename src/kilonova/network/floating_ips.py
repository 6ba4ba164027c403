"""Floating addresses. Reference: Networking API v2.0, "Floating IPs". They are records: no packet follows them yet.

One is an address of an external network, held by a port there, which may stand for one IPv4 address of another port.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import floating_ips as floating
from kilonova.database import networks as queries
from kilonova.model.clock import Ids
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Invalid, NotFound
from kilonova.model.network import FixedIp, FloatingIp, Port, Router
from kilonova.network import quotas, server_rows
from kilonova.network.addresses import read_address
from kilonova.network.allocation import Segment, WantedIp, create_port, free_mac
from kilonova.network.networks import NETWORKS
from kilonova.network.port_views import PORTS
from kilonova.network.resource import Resource, View, owner_of, written
from kilonova.network.service import EmbeddedNetworks
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_z

_HOLDER = "network:floatingip"


def _views(connection: Connection, found: Sequence[FloatingIp], admin: bool) -> list[View]:
    ids = sorted({entry.port_id for entry in found if entry.port_id is not None})
    ports = {}
    if ids:
        asked = queries.Question(filters={"id": ids}, limit=len(ids))
        ports = {port.id: port for port in queries.find(connection, Port, asked)}
    tags = queries.tags_of(connection, [entry.id for entry in found])
    return [_view(entry, ports.get(entry.port_id or ""), tags[entry.id]) for entry in found]


def _view(entry: FloatingIp, port: Port | None, tags: list[str]) -> View:
    details = None
    if port is not None:
        names = ("name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner")
        details = {name: getattr(port, name) for name in names}
    return {
        "id": entry.id,
        "tenant_id": entry.project_id,
        "project_id": entry.project_id,
        "floating_network_id": entry.floating_network_id,
        "floating_ip_address": entry.floating_ip_address,
        "port_id": entry.port_id,
        "fixed_ip_address": entry.fixed_ip_address,
        "router_id": entry.router_id,
        "status": entry.status,
        "port_details": details,
        "dns_name": entry.dns_name,
        "dns_domain": entry.dns_domain,
        "description": entry.description,
        "tags": tags,
        "revision_number": entry.revision,
        "created_at": iso_z(entry.created_at),
        "updated_at": iso_z(entry.updated_at),
    }


FLOATING_IPS = Resource(
    kind=FloatingIp, name="floatingip", title="Floating IP", missing="FloatingIPNotFound", views=_views
)


# --- create ------------------------------------------------------------------------------------------------


async def create_floatingip(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``POST /v2.0/floatingips``"""
    body = written(call, "floatingip")
    view = await networks.database.run(
        _create,
        networks.ids,
        call.caller,
        owner_of(call, body),
        body,
        networks.clock.now(),
        networks.settings.quotas,
    )
    return Reply(201, {"floatingip": view})


def _create(
    connection: Connection,
    ids: Ids,
    caller: Caller,
    project_id: str,
    body: dict[str, Any],
    now: int,
    limits: dict[str, int],
) -> View:
    network = NETWORKS.visible(connection, caller, body["floating_network_id"])
    quotas.admit(connection, limits, FloatingIp, project_id)
    segment = Segment.lock(connection, network.id)
    if not segment.network.external:
        raise Invalid(
            f"Bad floatingip request: Network {network.id} is not a valid external network.", name="BadRequest"
        )
    floating_id = ids.uuid()
    holder = Port(
        id=ids.uuid(),
        network_id=network.id,
        project_id="",
        mac_address=free_mac(connection, network.id, ids),
        device_id=floating_id,
        device_owner=_HOLDER,
        status="N/A",
        port_security_enabled=False,
        created_at=now,
        updated_at=now,
    )
    (address,) = create_port(connection, segment, holder, [_wanted(segment, body)])
    entry = FloatingIp(
        id=floating_id,
        project_id=project_id,
        floating_network_id=network.id,
        floating_ip_address=address.ip_address,
        floating_port_id=holder.id,
        dns_name=body.get("dns_name", ""),
        dns_domain=body.get("dns_domain", ""),
        description=body.get("description", ""),
        created_at=now,
        updated_at=now,
    )
    queries.insert(connection, entry)
    if body.get("port_id") is not None:
        entry = associate(connection, caller, entry, body["port_id"], body.get("fixed_ip_address"), now)
    return FLOATING_IPS.view(connection, caller, entry)


def _wanted(segment: Segment, body: dict[str, Any]) -> WantedIp:
    """The address or subnet asked for, else any of the network's IPv4 subnets that has room."""
    if body.get("floating_ip_address") is not None or body.get("subnet_id") is not None:
        return WantedIp(subnet_id=body.get("subnet_id"), ip_address=body.get("floating_ip_address"))
    for subnet in segment.subnets:
        if subnet.ip_version == 4:
            return WantedIp(subnet_id=subnet.id)
    raise Invalid(
        f"Bad floatingip request: Network {segment.network.id} does not contain any IPv4 subnet.", name="BadRequest"
    )


# --- what it stands for ------------------------------------------------------------------------------------


async def update_floatingip(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/floatingips/{id}``"""
    body = written(call, "floatingip")
    view = await networks.database.run(_update, call.caller, call.params["id"], body, networks.clock.now())
    return Reply(200, {"floatingip": view})


def _update(connection: Connection, caller: Caller, floating_id: str, body: dict[str, Any], now: int) -> View:
    entry = FLOATING_IPS.owned(connection, caller, floating_id)
    if "description" in body:
        entry = queries.revise(connection, entry, {"description": body["description"]}, now)
    port_id = body.get("port_id")
    if port_id is not None:
        entry = associate(connection, caller, entry, port_id, body.get("fixed_ip_address"), now)
    elif "port_id" in body:
        entry = disassociate(connection, entry, now)
    elif body.get("fixed_ip_address") is not None:
        if entry.port_id is None:
            raise Invalid(
                "Bad floatingip request: fixed_ip_address cannot be specified without a port_id.", name="BadRequest"
            )
        entry = associate(connection, caller, entry, entry.port_id, body["fixed_ip_address"], now)
    return FLOATING_IPS.view(connection, caller, entry)


def associate(
    connection: Connection, caller: Caller, entry: FloatingIp, port_id: str, fixed_ip: str | None, now: int
) -> FloatingIp:
    """Let the (locked) floating address stand for one of a port's. Raises ``NotFound``, ``Invalid`` or ``Conflict``."""
    port = PORTS.owned(connection, caller, port_id)
    address = _address(connection, port, fixed_ip)
    router_id = _router(connection, address.subnet_id, entry.floating_network_id)
    if router_id is None:
        raise NotFound(
            f"External network {entry.floating_network_id} is not reachable from subnet {address.subnet_id}. "
            f"Therefore, cannot associate Port {port.id} with a Floating IP.",
            name="ExternalGatewayForFloatingIPNotFound",
        )
    same = queries.Question(filters={"port_id": [port.id], "fixed_ip_address": [address.ip_address]})
    if any(other.id != entry.id for other in queries.find(connection, FloatingIp, same)):
        raise Conflict(
            f"Cannot associate floating IP {entry.floating_ip_address} ({entry.id}) with port {port.id} using fixed IP "
            f"{address.ip_address}, as that fixed IP already has a floating IP on external network.",
            name="FloatingIPPortAlreadyAssociated",
        )
    changes = {
        "port_id": port.id,
        "fixed_ip_address": address.ip_address,
        "router_id": router_id,
        "status": "ACTIVE",
    }
    changed = queries.revise(connection, entry, changes, now)
    _tell_servers(connection, entry.port_id, port.id)
    return changed


def _router(connection: Connection, subnet_id: str, external_network_id: str) -> str | None:
    """A router between the two, which stays so: who would take it off one of them waits, and finds the floating address."""
    found = floating.router_between(connection, subnet_id, external_network_id)
    if found is not None:
        queries.get(connection, Router, found, lock=True)
        found = floating.router_between(connection, subnet_id, external_network_id)
    return found


def _address(connection: Connection, port: Port, wanted: str | None) -> FixedIp:
    """The IPv4 address of the port that is meant."""
    own = [entry for entry in held.addresses_of(connection, [port.id])[port.id] if ":" not in entry.ip_address]
    if wanted is not None:
        text = str(read_address(wanted, "fixed_ip_address"))
        own = [entry for entry in own if entry.ip_address == text]
        if not own:
            raise Invalid(f"Bad floatingip request: Port {port.id} does not have fixed ip {text}.", name="BadRequest")
    if not own:
        raise Invalid(
            f"Bad floatingip request: Cannot add floating IP to port {port.id} that has no fixed IPv4 addresses.",
            name="BadRequest",
        )
    if len(own) > 1:
        raise Invalid(
            f"Bad floatingip request: Port {port.id} has multiple fixed IPv4 addresses. Must provide a specific IPv4 "
            "address when assigning a floating IP.",
            name="BadRequest",
        )
    return own[0]


def disassociate(connection: Connection, entry: FloatingIp, now: int) -> FloatingIp:
    """Let the (locked) floating address stand for nothing."""
    nothing = {"port_id": None, "fixed_ip_address": None, "router_id": None, "status": "DOWN"}
    changed = queries.revise(connection, entry, nothing, now)
    _tell_servers(connection, entry.port_id)
    return changed


def _tell_servers(connection: Connection, *port_ids: str | None) -> None:
    """The servers of these ports show the address, or do not any more."""
    for port_id in {port_id for port_id in port_ids if port_id is not None}:
        port = queries.get(connection, Port, port_id)
        if port is not None and port.binding:
            server_rows.refresh(connection, port.device_id)


async def delete_floatingip(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/floatingips/{id}``"""
    await networks.database.run(_delete, call.caller, call.params["id"], networks.clock.now())
    return Reply(204)


def _delete(connection: Connection, caller: Caller, floating_id: str, now: int) -> None:
    entry = FLOATING_IPS.owned(connection, caller, floating_id)
    disassociate(connection, entry, now)
    held.remove_port(connection, entry.floating_port_id)
    queries.remove(connection, FloatingIp, entry.id)
