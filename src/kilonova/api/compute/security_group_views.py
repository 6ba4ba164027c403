"""Security groups in Compute's old words: rules about what comes in, with the source as an address range or a group."""

from collections.abc import Mapping
from typing import Any

Group = dict[str, Any]

_WHOLE = {"tcp": (1, 65535), "udp": (1, 65535)}


def group_view(group: Group, sources: Mapping[str, Group]) -> Group:
    """``sources`` are the groups that rules name, by id; a rule whose group is gone is left out."""
    rules = (rule for rule in group["security_group_rules"] if rule["direction"] == "ingress")
    return {
        "id": group["id"],
        "name": group["name"],
        "description": group["description"],
        "tenant_id": group["project_id"],
        "rules": [rule_view(rule, sources) for rule in rules if rule["remote_group_id"] in {None, *sources}],
    }


def rule_view(rule: Group, sources: Mapping[str, Group]) -> Group:
    """One rule; a protocol without ports means all of them."""
    low, high = rule["port_range_min"], rule["port_range_max"]
    if rule["protocol"] and low is None and high is None:
        low, high = _WHOLE.get(rule["protocol"].lower(), (-1, -1))
    source = sources.get(rule["remote_group_id"] or "")
    return {
        "id": rule["id"],
        "parent_group_id": rule["security_group_id"],
        "ip_protocol": rule["protocol"],
        "from_port": low,
        "to_port": high,
        "group": {"name": source["name"], "tenant_id": source["project_id"]} if source else {},
        "ip_range": {} if source else {"cidr": rule["remote_ip_prefix"] or "0.0.0.0/0"},
    }


def named_sources(groups: list[Group]) -> set[str]:
    """The ids of all groups that their rules name."""
    rules = (rule for group in groups for rule in group["security_group_rules"])
    return {rule["remote_group_id"] for rule in rules if rule["remote_group_id"]}
