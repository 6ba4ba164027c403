"""Ports that users make, change and delete themselves. Reference: Networking API v2.0, "Ports".

A port that Compute has bound to a server can be neither moved nor deleted: it is detached at the server. One that a router
holds is removed at the router.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import networks as queries
from kilonova.database import port_groups
from kilonova.model.clock import Ids
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Forbidden, Invalid
from kilonova.model.network import Network, Port
from kilonova.network import quotas, server_rows, trunk_ports
from kilonova.network.addresses import read_address, read_prefix
from kilonova.network.allocation import Segment, WantedIp, free_mac
from kilonova.network.allocation import create_port as insert_port
from kilonova.network.default_group import default_group
from kilonova.network.networks import NETWORKS
from kilonova.network.port_views import PORTS
from kilonova.network.resource import View, only_admins, owner_of, written
from kilonova.network.security_groups import GROUPS
from kilonova.network.service import EmbeddedNetworks
from kilonova.network.trunk_ports import SUB_PORT
from kilonova.web.call import Call, Reply

_RESERVED_OWNERS = ("compute:", "network:", "baremetal:", "trunk:")
_OF_NETWORK = "network:"
_ADMINS = ("binding:host_id", "binding:profile")
_COLUMNS = {
    "name": "name",
    "description": "description",
    "admin_state_up": "admin_state_up",
    "device_id": "device_id",
    "device_owner": "device_owner",
    "port_security_enabled": "port_security_enabled",
    "dns_name": "dns_name",
    "extra_dhcp_opts": "extra_dhcp_opts",
    "binding:vnic_type": "vnic_type",
    "binding:host_id": "host",
    "binding:profile": "binding_profile",
    "mac_address": "mac_address",
    "allowed_address_pairs": "allowed_address_pairs",
}
"""What may be written, and where it is kept."""


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of a port beside its columns; None: nothing."""

    addresses: list[WantedIp] | None
    groups: list[str] | None


def _asked(body: dict[str, Any]) -> _Asked:
    addresses = body.get("fixed_ips")
    groups = body["security_groups"] or [] if "security_groups" in body else None
    wanted = None if addresses is None else [_wanted(entry) for entry in addresses]
    if wanted and len(set(_said(wanted))) != len(_said(wanted)):
        raise Invalid("Duplicate IP address in fixed_ips.")
    return _Asked(addresses=wanted, groups=groups)


def _wanted(entry: dict[str, str]) -> WantedIp:
    address = entry.get("ip_address")
    text = None if address is None else str(read_address(address, "fixed_ips"))
    return WantedIp(subnet_id=entry.get("subnet_id"), ip_address=text)


def _said(wanted: Iterable[WantedIp]) -> list[str]:
    return [entry.ip_address for entry in wanted if entry.ip_address is not None]


def _kept(body: dict[str, Any]) -> dict[str, Any]:
    found = {_COLUMNS[name]: value for name, value in body.items() if name in _COLUMNS}
    if "mac_address" in found:
        found["mac_address"] = found["mac_address"].lower()
    if found.get("binding_profile", {}) is None:
        found["binding_profile"] = {}
    if "extra_dhcp_opts" in found:
        found["extra_dhcp_opts"] = [option for option in found["extra_dhcp_opts"] or [] if option.get("opt_value")]
    if "allowed_address_pairs" in found:
        found["allowed_address_pairs"] = _pairs(found["allowed_address_pairs"])
    return found


def _pairs(wanted: list[dict[str, str]]) -> list[dict[str, str]]:
    found = []
    for pair in wanted:
        target = read_prefix(pair["ip_address"], "allowed_address_pairs")
        text = str(target) if "/" in pair["ip_address"] else str(target.network_address)
        entry = {
            "ip_address": text,
            **({"mac_address": pair["mac_address"].lower()} if "mac_address" in pair else {}),
        }
        if entry in found:
            raise Invalid("Request contains duplicate address pair.", name="DuplicateAddressPairInRequest")
        found.append(entry)
    return found


def _check_owner(caller: Caller, body: dict[str, Any]) -> None:
    if (body.get("device_owner") or "").startswith(_RESERVED_OWNERS) and not caller.is_admin:
        raise Forbidden(
            "This device_owner is the services' own: rule:create_port:device_owner is disallowed by policy"
        )


# --- create ------------------------------------------------------------------------------------------------


async def create_port(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``POST /v2.0/ports``"""
    body = written(call, "port")
    project_id = owner_of(call, body)
    only_admins(call.caller, "port", body, _ADMINS)
    _check_owner(call.caller, body)
    now = networks.clock.now()
    kept: dict[str, Any] = {"mac_address": "", **_kept(body)}
    port = Port(
        id=networks.ids.uuid(),
        network_id=body["network_id"],
        project_id=project_id,
        created_at=now,
        updated_at=now,
        **kept,
    )
    secured = body.get("port_security_enabled")
    view = await networks.database.run(
        _create, networks.ids, call.caller, port, _asked(body), secured, networks.settings.quotas
    )
    return Reply(201, {"port": view})


def _create(
    connection: Connection,
    ids: Ids,
    caller: Caller,
    port: Port,
    asked: _Asked,
    secured: bool | None,
    limits: dict[str, int],
) -> View:
    network = NETWORKS.visible(connection, caller, port.network_id)
    if not caller.is_admin and not network.shared and network.project_id != caller.project_id:
        raise Forbidden("Ports on an external network are made with routers and floating addresses.")
    quotas.admit(connection, limits, Port, port.project_id)
    segment = Segment.lock(connection, network.id)
    if not port.mac_address:
        port = msgspec.structs.replace(port, mac_address=free_mac(connection, network.id, ids))
    if secured is None:
        port = msgspec.structs.replace(port, port_security_enabled=network.port_security_enabled)
    groups = asked.groups
    if groups is None:
        trusted = port.device_owner.startswith(_OF_NETWORK) or not port.port_security_enabled
        groups = [] if trusted else [default_group(connection, port.project_id, port.created_at).id]
    _check_security(connection, caller, port, groups)
    insert_port(connection, segment, port, asked.addresses, groups)
    return PORTS.view(connection, caller, port)


def _check_security(connection: Connection, caller: Caller, port: Port, groups: list[str]) -> None:
    """The groups are there and the caller's, and nobody deletes them now; without port security there are none."""
    if not port.port_security_enabled and groups:
        raise Conflict(
            "Port Security must be enabled in order to have security groups on a port.",
            name="PortSecurityAndIPRequiredForSecurityGroups",
        )
    if not port.port_security_enabled and port.allowed_address_pairs:
        raise Conflict("Port Security must be enabled in order to have allowed address pairs on a port.")
    known = {
        group.id: group
        for group in port_groups.keep(connection, groups)
        if caller.is_admin or group.project_id == caller.project_id
    }
    for group_id in groups:
        if group_id not in known:
            raise GROUPS.absent(group_id)


# --- update ------------------------------------------------------------------------------------------------


async def update_port(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/ports/{id}``"""
    body = written(call, "port")
    only_admins(call.caller, "port", body, (*_ADMINS, "mac_address"))
    _check_owner(call.caller, body)
    view = await networks.database.run(_update, call.caller, call.params["id"], body, networks.clock.now())
    return Reply(200, {"port": view})


def _update(connection: Connection, caller: Caller, port_id: str, body: dict[str, Any], now: int) -> View:
    port = _locked(connection, caller, port_id)
    asked, changes = _asked(body), _kept(body)
    changed = msgspec.structs.replace(port, **changes)
    if (port.binding or port.device_owner == SUB_PORT) and any(
        getattr(port, name) != getattr(changed, name) for name in ("device_id", "device_owner", "mac_address", "host")
    ):
        raise Conflict(f"Port {port.id} is in use by {port.device_id}; detach it there.", name="PortInUse")
    if changed.mac_address != port.mac_address and held.mac_taken(connection, port.network_id, changed.mac_address):
        raise Conflict(f"MAC address {changed.mac_address} is in use.", name="MacAddressInUse")
    carried = port_groups.groups_of(connection, [port.id])[port.id]
    groups = carried if asked.groups is None else asked.groups
    _check_security(connection, caller, changed, groups)
    if asked.groups is not None:
        port_groups.replace(connection, port.id, groups)
    if asked.addresses is not None:
        _readdress(connection, port, asked.addresses)
    revised = queries.revise(connection, port, changes, now)
    if revised is port and (asked.groups is not None or asked.addresses is not None):
        revised = queries.touch(connection, port, now)
    if port.binding:
        server_rows.refresh(connection, port.device_id)
    return PORTS.view(connection, caller, revised)


def _readdress(connection: Connection, port: Port, wanted: list[WantedIp]) -> None:
    """Give back what is not wanted any more, take what is new; a wish for any address of a subnet keeps one it has there."""
    have = {entry.ip_address: entry for entry in held.addresses_of(connection, [port.id])[port.id]}
    keep, take = set(), []
    for entry in wanted:
        if entry.ip_address is None:
            there = [ip for ip, own in have.items() if own.subnet_id == entry.subnet_id and ip not in keep]
            keep.update(there[:1])
            take += [] if there else [entry]
        elif entry.ip_address in have:
            keep.add(entry.ip_address)
        else:
            take.append(entry)
    for address in have.keys() - keep:
        if any(fixed == address for _, fixed in held.floating_of(connection, [port.id])[port.id]):
            raise Conflict(f"A floating address stands for {address} of port {port.id}; disassociate it first.")
        held.free(connection, port.id, address)
    Segment.lock(connection, port.network_id).take(port.id, port.device_owner, take)


def _locked(connection: Connection, caller: Caller, port_id: str) -> Port:
    """The port as it is once nobody else can bind it."""
    port = PORTS.visible(connection, caller, port_id)
    queries.get(connection, Network, port.network_id, lock=True)
    return PORTS.owned(connection, caller, port_id)


# --- delete ------------------------------------------------------------------------------------------------


async def delete_port(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/ports/{id}``"""
    await networks.database.run(_delete, call.caller, call.params["id"])
    return Reply(204)


def _delete(connection: Connection, caller: Caller, port_id: str) -> None:
    port = _locked(connection, caller, port_id)
    if port.binding:
        raise Conflict(f"Port {port.id} is in use by server {port.device_id}; detach it there.", name="PortInUse")
    if port.device_owner.startswith((_OF_NETWORK + "router", _OF_NETWORK + "floatingip")) and port.device_id:
        raise Conflict(
            f"Port {port.id} cannot be deleted directly via the port API: has device owner {port.device_owner}.",
            name="ServicePortInUse",
        )
    trunk_ports.refuse_carried(connection, port)
    held.remove_port(connection, port.id)
