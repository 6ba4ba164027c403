"""Subnets. Reference: Networking API v2.0, "Subnets".

Addresses are per subnet: the same ones may be used on any number of networks, but not twice on one.
"""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import addresses
from kilonova.database import networks as queries
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Forbidden, Invalid
from kilonova.model.network import Network, Subnet
from kilonova.network import quotas
from kilonova.network.addresses import (
    AddressRange,
    default_pools,
    gateway,
    host_bounds,
    read_address,
    read_cidr,
    read_pools,
    read_prefix,
)
from kilonova.network.networks import NETWORKS
from kilonova.network.resource import Resource, View, owner_of, written
from kilonova.network.service import EmbeddedNetworks
from kilonova.network.shared import SHARED_SUBNET_ID
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_z

_PLAIN = ("name", "description", "enable_dhcp")


def _views(connection: Connection, found: Sequence[Subnet], admin: bool) -> list[View]:
    tags = queries.tags_of(connection, [subnet.id for subnet in found])
    return [_view(subnet, tags[subnet.id]) for subnet in found]


def _view(subnet: Subnet, tags: list[str]) -> View:
    return {
        "id": subnet.id,
        "name": subnet.name,
        "network_id": subnet.network_id,
        "tenant_id": subnet.project_id,
        "project_id": subnet.project_id,
        "ip_version": subnet.ip_version,
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway_ip,
        "enable_dhcp": subnet.enable_dhcp,
        "allocation_pools": subnet.allocation_pools,
        "dns_nameservers": subnet.dns_nameservers,
        "host_routes": subnet.host_routes,
        "ipv6_ra_mode": subnet.ipv6_ra_mode,
        "ipv6_address_mode": subnet.ipv6_address_mode,
        "subnetpool_id": None,
        "service_types": [],
        "description": subnet.description,
        "tags": tags,
        "revision_number": subnet.revision,
        "created_at": iso_z(subnet.created_at),
        "updated_at": iso_z(subnet.updated_at),
    }


SUBNETS = Resource(kind=Subnet, name="subnet", title="Subnet", missing="SubnetNotFound", views=_views)


async def create_subnet(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``POST /v2.0/subnets``"""
    body = written(call, "subnet")
    project_id = owner_of(call, body)
    if body.get("cidr") is None:
        raise Invalid("A cidr must be specified: there are no subnet pools here.")
    ip_version = body["ip_version"]
    _check_ipv6_modes(body, ip_version)
    cidr = read_cidr(body["cidr"], ip_version)
    gateway_ip = _gateway(cidr, body["gateway_ip"]) if "gateway_ip" in body else str(gateway(cidr))
    now = networks.clock.now()
    subnet = Subnet(
        id=networks.ids.uuid(),
        network_id=body["network_id"],
        project_id=project_id,
        name=body.get("name", ""),
        description=body.get("description", ""),
        ip_version=ip_version,
        cidr=str(cidr),
        gateway_ip=gateway_ip,
        enable_dhcp=body.get("enable_dhcp", True),
        allocation_pools=_pools(cidr, body.get("allocation_pools"), gateway_ip),
        dns_nameservers=_servers(body.get("dns_nameservers")),
        host_routes=_routes(body.get("host_routes"), ip_version),
        created_at=now,
        updated_at=now,
        ipv6_ra_mode=body.get("ipv6_ra_mode"),
        ipv6_address_mode=body.get("ipv6_address_mode"),
    )
    view = await networks.database.run(_create, call.caller, subnet, networks.settings.quotas)
    return Reply(201, {"subnet": view})


def _pools(cidr: AddressRange, wanted: list[dict[str, str]] | None, gateway_ip: str | None) -> list[dict[str, str]]:
    """The pools asked for, else everything."""
    if not wanted:
        return default_pools(cidr, gateway_ip)
    return read_pools(cidr, wanted, gateway_ip)


def _gateway(cidr: AddressRange, text: str | None) -> str | None:
    if text is None:
        return None
    found = read_address(text, "gateway_ip")
    if found.version != cidr.version:
        raise Invalid(
            f"Invalid input for operation: gateway_ip '{found}' does not match the ip_version '{cidr.version}'."
        )
    first, last = host_bounds(cidr)
    if found in cidr and not int(first) <= int(found) <= int(last):
        raise Invalid(f"Invalid input for operation: Gateway '{found}' is not valid on the subnet {cidr}.")
    return str(found)


def _servers(wanted: list[str] | None) -> list[str]:
    found = [str(read_address(text, "dns_nameservers")) for text in wanted or []]
    if len(set(found)) != len(found):
        raise Invalid("Invalid input for dns_nameservers: a name server is named twice.")
    return found


def _routes(wanted: list[dict[str, str]] | None, ip_version: int) -> list[dict[str, str]]:
    found = []
    for route in wanted or []:
        target, hop = read_prefix(route["destination"], "host_routes"), read_address(route["nexthop"], "host_routes")
        if target.version != ip_version or hop.version != ip_version:
            raise Invalid(f"Invalid input for host_routes: '{target}' does not match the ip_version '{ip_version}'.")
        found.append({"destination": str(target), "nexthop": str(hop)})
    return found


def _check_ipv6_modes(body: dict[str, Any], ip_version: int) -> None:
    said = {body.get("ipv6_ra_mode"), body.get("ipv6_address_mode")} - {None}
    if said and ip_version == 4:
        raise Invalid("Invalid input for operation: ipv6_ra_mode and ipv6_address_mode are for ip_version 6 only.")
    if len(said) > 1:
        raise Invalid("Invalid input for operation: ipv6_ra_mode and ipv6_address_mode do not agree.")


def _create(connection: Connection, caller: Caller, subnet: Subnet, limits: dict[str, int]) -> View:
    network = NETWORKS.visible(connection, caller, subnet.network_id)
    if not caller.is_admin and network.project_id != caller.project_id:
        raise Forbidden("(rule:create_subnet and rule:create_subnet:network_owner) is disallowed by policy")
    quotas.admit(connection, limits, Subnet, subnet.project_id)
    if queries.get(connection, Network, network.id, lock=True) is None:
        raise NETWORKS.absent(network.id)
    _check_overlap(connection, subnet)
    queries.insert(connection, subnet)
    return SUBNETS.view(connection, caller, subnet)


def _check_overlap(connection: Connection, subnet: Subnet) -> None:
    wanted = ip_network(subnet.cidr)
    for other in addresses.subnets_of(connection, subnet.network_id):
        theirs = ip_network(other.cidr)
        if theirs.version == wanted.version and theirs.overlaps(wanted):
            raise Invalid(
                f"Invalid input for operation: subnet {wanted} of network {subnet.network_id} overlaps with another subnet.",
                name="InvalidInput",
            )


async def update_subnet(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/subnets/{id}``"""
    body = written(call, "subnet")
    view = await networks.database.run(_update, call.caller, call.params["id"], body, networks.clock.now())
    return Reply(200, {"subnet": view})


def _update(connection: Connection, caller: Caller, subnet_id: str, body: dict[str, Any], now: int) -> View:
    subnet = _held(connection, caller, subnet_id)
    cidr = ip_network(subnet.cidr)
    changes: dict[str, Any] = {name: body[name] for name in _PLAIN if name in body}
    if "dns_nameservers" in body:
        changes["dns_nameservers"] = _servers(body["dns_nameservers"])
    if "host_routes" in body:
        changes["host_routes"] = _routes(body["host_routes"], subnet.ip_version)
    if "gateway_ip" in body:
        changes["gateway_ip"] = _gateway(cidr, body["gateway_ip"])
        _check_gateway(connection, subnet, changes["gateway_ip"])
    gateway_ip = changes.get("gateway_ip", subnet.gateway_ip)
    if "allocation_pools" in body or "gateway_ip" in changes:
        changes["allocation_pools"] = read_pools(
            cidr, body.get("allocation_pools", subnet.allocation_pools), gateway_ip
        )
    return SUBNETS.view(connection, caller, queries.revise(connection, subnet, changes, now))


def _check_gateway(connection: Connection, subnet: Subnet, wanted: str | None) -> None:
    if wanted == subnet.gateway_ip:
        return
    if subnet.id == SHARED_SUBNET_ID:
        raise Conflict("The gateway of this subnet is the hosts' own address, made by the cloud's configuration.")
    if subnet.gateway_ip is not None and addresses.is_taken(connection, subnet.id, subnet.gateway_ip):
        raise Conflict(
            f"Current gateway ip {subnet.gateway_ip} already in use by a router; unable to update.",
            name="GatewayIpInUse",
        )
    if wanted is not None and addresses.is_taken(connection, subnet.id, str(ip_address(wanted))):
        raise Conflict(f"Gateway ip {wanted} is in use by a port.", name="GatewayIpInUse")


async def delete_subnet(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/subnets/{id}``"""
    await networks.database.run(_delete, call.caller, call.params["id"])
    return Reply(204)


def _held(connection: Connection, caller: Caller, subnet_id: str) -> Subnet:
    """A subnet of the caller's for changing it, while nobody takes or gives an address of it."""
    subnet = SUBNETS.visible(connection, caller, subnet_id)
    queries.get(connection, Network, subnet.network_id, lock=True)  # before the subnet's own row, as all do
    return SUBNETS.owned(connection, caller, subnet_id)


def _delete(connection: Connection, caller: Caller, subnet_id: str) -> None:
    subnet = _held(connection, caller, subnet_id)
    if subnet.id == SHARED_SUBNET_ID:
        raise Conflict("This subnet is made by the cloud's configuration (section network).", name="SubnetInUse")
    if addresses.ports_on(connection, subnet.id):
        raise Conflict(
            f"Unable to complete operation on subnet {subnet.id}: "
            "One or more ports have an IP allocation from this subnet.",
            name="SubnetInUse",
        )
    queries.remove(connection, Subnet, subnet.id)
