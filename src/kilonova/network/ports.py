"""Ports that users make, change and delete themselves. Reference: Networking API v2.0, "Ports".

A port that Compute has bound to a server can be neither changed in what matters nor deleted: its address is in use.
"""

from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.model.clock import Ids
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Forbidden, Invalid, NotFound
from kilonova.model.network import FixedIp, Network, Port
from kilonova.network import allocation
from kilonova.network.listing import page, paged, selected
from kilonova.network.service import EmbeddedNetworks
from kilonova.network.views import port_view, security_group_id
from kilonova.web.call import Call, Reply

RESERVED_OWNERS = ("compute:", "network:", "baremetal:")


def _find(connection: Connection, /, **question: Any) -> tuple[list[Port], dict[str, list[FixedIp]]]:
    found = queries.find(connection, Port, **question)
    return found, queries.addresses_of(connection, [port.id for port in found])


def _show(connection: Connection, caller: Caller, port_id: str) -> tuple[Port, list[FixedIp]]:
    port = queries.get(connection, Port, port_id)
    if port is None or not (caller.is_admin or port.project_id == caller.project_id):
        raise NotFound(f"Port {port_id[:64]} could not be found.")
    return port, queries.addresses_of(connection, [port.id])[port.id]


async def list_ports(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/ports``"""
    wanted = page(call, "ports", networks.settings.max_limit)
    found, addresses = await networks.database.run(
        _find,
        filters=wanted.filters,
        limit=wanted.limit + 1,
        marker=wanted.marker,
        project_id=None if call.caller.is_admin else call.project_id,
        addresses=wanted.addresses,
        subnets=wanted.subnets,
    )
    ports = found[: wanted.limit]
    more = ports[-1].id if len(found) > wanted.limit else None
    views = [port_view(port, addresses[port.id], call.caller.is_admin) for port in ports]
    return Reply(200, paged(call, "ports", views, more))


async def show_port(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/ports/{id}``"""
    port, addresses = await networks.database.run(_show, call.caller, call.params["port_id"])
    return Reply(200, {"port": selected(call, port_view(port, addresses, call.caller.is_admin))})


async def create_port(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``POST /v2.0/ports``"""
    body = call.body["port"]
    project_id = body.get("project_id") or body.get("tenant_id") or call.project_id
    if project_id != call.caller.project_id and not call.caller.is_admin:
        raise Forbidden("Only administrators may make ports for other projects.")
    _check_attributes(call.caller, project_id, body)
    port = Port(
        id=networks.ids.uuid(),
        network_id=body["network_id"],
        project_id=project_id,
        name=body.get("name", ""),
        mac_address=body.get("mac_address", "").lower(),
        device_id=body.get("device_id", ""),
        device_owner=body.get("device_owner", ""),
        admin_state_up=body.get("admin_state_up", True),
        created_at=networks.clock.now(),
    )
    fixed_ips = body.get("fixed_ips", [])
    made, addresses = await networks.database.run(
        _create, networks.ids, call.caller, port, fixed_ips[0] if fixed_ips else {}, networks.settings.port_quota
    )
    return Reply(201, {"port": port_view(made, addresses, call.caller.is_admin)})


def _create(
    connection: Connection, ids: Ids, caller: Caller, port: Port, fixed_ip: dict[str, str], quota: int
) -> tuple[Port, list[FixedIp]]:
    network = queries.get(connection, Network, port.network_id)
    if network is None or not (network.shared or caller.is_admin or network.project_id == caller.project_id):
        raise NotFound(f"Network {port.network_id} could not be found.")
    subnet = queries.subnet_of(connection, network.id, lock=True)  # also makes the count below exact
    if subnet is None or fixed_ip.get("subnet_id", subnet.id) != subnet.id:
        raise Invalid("The subnet is not one of the network's.")
    if queries.count_ports(connection, port.project_id) >= quota:
        raise Conflict("Quota exceeded for resources: ['port'].")
    if not port.mac_address:
        port = msgspec.structs.replace(port, mac_address=allocation.free_mac(connection, network.id, ids))
    return port, [allocation.create_port(connection, subnet, port, fixed_ip.get("ip_address"))]


def _check_attributes(caller: Caller, project_id: str, body: dict[str, Any]) -> None:
    if body.get("device_owner", "").startswith(RESERVED_OWNERS) and not caller.is_admin:
        raise Forbidden("This device_owner is the services' own.")
    if body.get("binding:host_id") and not caller.is_admin:
        raise Forbidden("Only administrators choose the host a port is bound to.")
    for group in body.get("security_groups") or []:
        if group != security_group_id(project_id):
            raise NotFound(f"Security group {group} does not exist.")


_KEPT = ("name", "admin_state_up", "device_id", "device_owner")  # the rest is accepted because it says what is so


async def update_port(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/ports/{id}``"""
    body = call.body["port"]
    port, addresses = await networks.database.run(_update, call.caller, call.params["port_id"], body)
    return Reply(200, {"port": port_view(port, addresses, call.caller.is_admin)})


def _update(connection: Connection, caller: Caller, port_id: str, body: dict[str, Any]) -> tuple[Port, list[FixedIp]]:
    port, addresses = _locked(connection, caller, port_id)
    _check_attributes(caller, port.project_id, body)
    changes: dict[str, object] = {name: value for name, value in body.items() if name in _KEPT}
    was = {"device_id": port.device_id, "device_owner": port.device_owner}
    moved = [name for name, value in was.items() if changes.get(name, value) != value]
    if port.binding and moved:
        raise Conflict(f"Port {port.id} is in use by server {port.device_id}; detach it there.")
    changed = queries.update(connection, Port, port.id, changes)
    assert changed is not None
    return changed, addresses


def _locked(connection: Connection, caller: Caller, port_id: str) -> tuple[Port, list[FixedIp]]:
    """The port as it is once nobody else can bind it."""
    port, _ = _show(connection, caller, port_id)
    queries.subnet_of(connection, port.network_id, lock=True)
    return _show(connection, caller, port_id)


async def delete_port(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/ports/{id}``"""
    await networks.database.run(_delete, call.caller, call.params["port_id"])
    return Reply(204)


def _delete(connection: Connection, caller: Caller, port_id: str) -> None:
    port, _ = _locked(connection, caller, port_id)
    if port.binding:
        raise Conflict(f"Port {port.id} is in use by server {port.device_id}; detach it there.")
    queries.delete_port(connection, port.id)
