"""Networks, subnets, ports and security groups in Network v2.0's words."""

from typing import Any
from uuid import UUID, uuid5

from kilonova.model.network import FixedIp, Network, Port, Subnet
from kilonova.web.moments import iso_z

_NAMESPACE = UUID("0f4c8f0f-2b8e-5ad1-9c55-7f0e2a7c4b1e")


def network_view(network: Network, subnets: list[str], admin: bool) -> dict[str, Any]:
    """A network; what it is made of (``provider``) is only for administrators."""
    view: dict[str, Any] = {
        "id": network.id,
        "name": network.name,
        "tenant_id": network.project_id,
        "project_id": network.project_id,
        "admin_state_up": network.admin_state_up,
        "status": "ACTIVE",
        "shared": network.shared,
        "router:external": network.external,
        "mtu": network.mtu,
        "subnets": subnets,
        "availability_zone_hints": [],
        "availability_zones": ["nova"],
        "ipv4_address_scope": None,
        "ipv6_address_scope": None,
        "description": network.description,
        "tags": [],
        "revision_number": 1,
        "created_at": iso_z(network.created_at),
        "updated_at": iso_z(network.created_at),
    }
    if admin:
        view["provider:network_type"] = "flat"
        view["provider:physical_network"] = network.bridge
        view["provider:segmentation_id"] = None
    return view


def subnet_view(subnet: Subnet) -> dict[str, Any]:
    """A subnet."""
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
        "allocation_pools": [{"start": subnet.pool_start, "end": subnet.pool_end}],
        "dns_nameservers": subnet.dns_nameservers,
        "host_routes": [],
        "ipv6_ra_mode": None,
        "ipv6_address_mode": None,
        "subnetpool_id": None,
        "service_types": [],
        "description": "",
        "tags": [],
        "revision_number": 1,
        "created_at": iso_z(subnet.created_at),
        "updated_at": iso_z(subnet.created_at),
    }


def port_view(port: Port, addresses: list[FixedIp], admin: bool) -> dict[str, Any]:
    """A port; where it is bound is only for administrators."""
    view: dict[str, Any] = {
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
        "security_groups": [security_group_id(port.project_id)] if port.project_id else [],
        "allowed_address_pairs": [],
        "extra_dhcp_opts": [],
        "binding:vnic_type": "normal",
        "description": "",
        "tags": [],
        "revision_number": 1,
        "created_at": iso_z(port.created_at),
        "updated_at": iso_z(port.created_at),
    }
    if admin:
        view["binding:host_id"] = port.host
        view["binding:vif_type"] = "bridge" if port.host else "unbound"
        view["binding:vif_details"] = {}
        view["binding:profile"] = {}
    return view


# --- the one security group of every project ---------------------------------------------------------------


def security_group_id(project_id: str) -> str:
    """The id of a project's ``default`` group: always the same, stored nowhere."""
    return str(uuid5(_NAMESPACE, f"group/{project_id}"))


def security_group_view(project_id: str) -> dict[str, Any]:
    """A project's ``default`` group with the rules every OpenStack project starts with."""
    return {
        "id": security_group_id(project_id),
        "name": "default",
        "description": "Default security group",
        "tenant_id": project_id,
        "project_id": project_id,
        "stateful": True,
        "shared": False,
        "tags": [],
        "revision_number": 1,
        "created_at": "1970-01-01T00:00:00Z",
        "updated_at": "1970-01-01T00:00:00Z",
        "security_group_rules": security_group_rules(project_id),
    }


def security_group_rules(project_id: str) -> list[dict[str, Any]]:
    """Everything out; in from members of the group."""
    group = security_group_id(project_id)
    return [
        {
            "id": str(uuid5(_NAMESPACE, f"rule/{project_id}/{direction}/{family}")),
            "security_group_id": group,
            "direction": direction,
            "ethertype": family,
            "protocol": None,
            "port_range_min": None,
            "port_range_max": None,
            "remote_ip_prefix": None,
            "remote_group_id": group if direction == "ingress" else None,
            "remote_address_group_id": None,
            "normalized_cidr": None,
            "description": "",
            "tenant_id": project_id,
            "project_id": project_id,
            "revision_number": 0,
            "created_at": "1970-01-01T00:00:00Z",
            "updated_at": "1970-01-01T00:00:00Z",
        }
        for direction in ("egress", "ingress")
        for family in ("IPv4", "IPv6")
    ]
