"""Security groups in the Compute API's old words."""

from typing import Any


def security_group(group: dict[str, Any]) -> dict[str, Any]:
    """A group as Network v2.0 shows it (its rules say of a ``remote_group`` the name and the project)."""
    return {
        "id": group["id"],
        "name": group["name"],
        "description": group["description"],
        "tenant_id": group["project_id"],
        "rules": [security_group_rule(rule) for rule in group["security_group_rules"]],
    }


def security_group_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule: all ports of a protocol that has some are 1 to 65535, of one that has none -1."""
    first, last = rule["port_range_min"], rule["port_range_max"]
    if rule["protocol"] is not None and first is None and last is None:
        first, last = (1, 65535) if rule["protocol"] in ("tcp", "udp") else (-1, -1)
    remote = rule.get("remote_group")
    return {
        "id": rule["id"],
        "parent_group_id": rule["security_group_id"],
        "ip_protocol": rule["protocol"],
        "from_port": first,
        "to_port": last,
        "group": {"name": remote["name"], "tenant_id": remote["project_id"]} if remote else {},
        "ip_range": {} if remote else {"cidr": rule["remote_ip_prefix"] or "0.0.0.0/0"},
    }
