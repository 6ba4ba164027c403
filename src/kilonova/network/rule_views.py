"""A security group's rule in Network v2.0's words."""

from ipaddress import ip_network
from typing import Any

from kilonova.model.network import SecurityGroupRule
from kilonova.web.moments import iso_z


def normalized(prefix: str | None) -> str | None:
    """The address range itself, whichever of its addresses it was written with."""
    return None if prefix is None else str(ip_network(prefix, strict=False))


def rule_view(rule: SecurityGroupRule) -> dict[str, Any]:
    """As it stands in its group, and alone."""
    return {
        "id": rule.id,
        "security_group_id": rule.security_group_id,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_range_min,
        "port_range_max": rule.port_range_max,
        "remote_ip_prefix": rule.remote_ip_prefix,
        "normalized_cidr": normalized(rule.remote_ip_prefix),
        "remote_group_id": rule.remote_group_id,
        "remote_address_group_id": None,
        "description": rule.description,
        "tenant_id": rule.project_id,
        "project_id": rule.project_id,
        "revision_number": rule.revision,
        "created_at": iso_z(rule.created_at),
        "updated_at": iso_z(rule.updated_at),
    }
