"""What the network service says of itself: versions, extensions, zones, quotas. Data, no state."""

from typing import Any

_EXTENSIONS = {
    "external-net": "Neutron external network",
    "provider": "Provider Network",
    "binding": "Port Binding",
    "net-mtu": "Network MTU",
    "project-id": "project_id field enabled",
    "quotas": "Quota management support",
    "quota_details": "Quota details management support",
    "security-group": "security-group",
    "availability_zone": "Availability Zone",
    "network_availability_zone": "Network Availability Zone",
    "auto-allocated-topology": "Auto Allocated Topology Services",
    "agent": "agent",
    "pagination": "Pagination support",
    "standard-attr-timestamp": "Resource timestamps",
}
EXTENSIONS: list[dict[str, Any]] = [
    {"alias": alias, "name": name, "description": "", "updated": "2016-01-01T00:00:00-00:00", "links": []}
    for alias, name in _EXTENSIONS.items()
]

ZONES = [
    {"name": "nova", "resource": "network", "state": "available"},
    {"name": "nova", "resource": "router", "state": "available"},
]

_RESOURCES = (
    "network",
    "subnet",
    "subnetpool",
    "port",
    "router",
    "floatingip",
    "rbac_policy",
    "security_group",
    "security_group_rule",
)


def quota(port_quota: int) -> dict[str, int]:
    """The limits of a project: ports are counted; of what is not offered one may have none."""
    return {name: port_quota if name == "port" else 1 if name == "security_group" else 0 for name in _RESOURCES}


def quota_details(port_quota: int, ports: int) -> dict[str, dict[str, int]]:
    """Limits and use."""
    limits = quota(port_quota)
    return {
        name: {"limit": limit, "used": ports if name == "port" else 0, "reserved": 0}
        for name, limit in limits.items()
    }


NOT_OFFERED_LISTS = ("floatingips", "routers", "subnetpools", "address-scopes", "trunks", "rbac-policies")
"""Collections that exist in the API and are always empty here, as clients look into them."""


def version_document(base_url: str) -> dict[str, Any]:
    """``GET /``"""
    link = {"rel": "self", "href": f"{base_url}/v2.0/"}
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}


def resources_document(base_url: str) -> dict[str, Any]:
    """``GET /v2.0``"""
    offered = {
        "networks": "network",
        "subnets": "subnet",
        "ports": "port",
        "security-groups": "security-group",
        "security-group-rules": "security-group-rule",
        "extensions": "extension",
    }
    return {
        "resources": [
            {
                "name": name,
                "collection": plural.replace("-", "_"),
                "links": [{"rel": "self", "href": f"{base_url}/v2.0/{plural}"}],
            }
            for plural, name in offered.items()
        ]
    }
