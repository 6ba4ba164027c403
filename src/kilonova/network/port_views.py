"""Ports in Network v2.0's words."""

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import networks as queries
from kilonova.database import port_groups
from kilonova.model.network import FixedIp, Port
from kilonova.network.resource import Resource, View
from kilonova.web.moments import iso_z


def _views(connection: Connection, found: Sequence[Port], admin: bool) -> list[View]:
    ids = [port.id for port in found]
    addresses, groups = held.addresses_of(connection, ids), port_groups.groups_of(connection, ids)
    tags = queries.tags_of(connection, ids)
    return [_view(port, addresses[port.id], groups[port.id], tags[port.id], admin) for port in found]


def _view(port: Port, addresses: Sequence[FixedIp], groups: list[str], tags: list[str], admin: bool) -> View:
    """Where it is bound is only for administrators."""
    view: View = {
        "id": port.id,
        "name": port.name,
        "network_id": port.network_id,
        "tenant_id": port.project_id,
        "project_id": port.project_id,
        "mac_address": port.mac_address,
        "admin_state_up": port.admin_state_up,
        "status": port.status,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "fixed_ips": [{"subnet_id": entry.subnet_id, "ip_address": entry.ip_address} for entry in addresses],
        "security_groups": groups,
        "port_security_enabled": port.port_security_enabled,
        "allowed_address_pairs": port.allowed_address_pairs,
        "extra_dhcp_opts": port.extra_dhcp_opts,
        "dns_name": port.dns_name,
        "dns_assignment": _names(port, addresses),
        "binding:vnic_type": port.vnic_type,
        "description": port.description,
        "tags": tags,
        "revision_number": port.revision,
        "created_at": iso_z(port.created_at),
        "updated_at": iso_z(port.updated_at),
    }
    if admin:
        view["binding:host_id"] = port.host
        view["binding:vif_type"] = "bridge" if port.host else "unbound"
        view["binding:vif_details"] = {}
        view["binding:profile"] = port.binding_profile
    return view


def _names(port: Port, addresses: Sequence[FixedIp]) -> list[View]:
    """The name of each address: the port's own, or one made of the address."""
    found = []
    for entry in addresses:
        name = port.dns_name or "host-" + entry.ip_address.replace(".", "-").replace(":", "-")
        found.append({"hostname": name, "ip_address": entry.ip_address, "fqdn": f"{name}.openstacklocal."})
    return found


PORTS = Resource(kind=Port, name="port", title="Port", missing="PortNotFound", views=_views)
