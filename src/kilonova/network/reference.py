"""What the network service says of itself: versions, extensions, zones. Data, no state."""

from typing import Any

_EXTENSIONS = {
    "external-net": "Neutron external network",
    "provider": "Provider Network",
    "binding": "Port Binding",
    "net-mtu": "Network MTU",
    "net-mtu-writable": "Network MTU (writable)",
    "project-id": "project_id field enabled",
    "quotas": "Quota management support",
    "quota-check-limit": "Quota engine limit check",
    "quota_details": "Quota details management support",
    "security-group": "security-group",
    "port-security": "Port Security",
    "allowed-address-pairs": "Allowed Address Pairs",
    "extra_dhcp_opt": "Neutron Extra DHCP options",
    "dns-integration": "DNS Integration",
    "router": "Neutron L3 Router",
    "ext-gw-mode": "Neutron L3 Configurable external gateway mode",
    "extraroute": "Neutron Extra Route",
    "fip-port-details": "Floating IP Port Details Extension",
    "auto-allocated-topology": "Auto Allocated Topology Services",
    "availability_zone": "Availability Zone",
    "network_availability_zone": "Network Availability Zone",
    "agent": "agent",
    "pagination": "Pagination support",
    "sorting": "Sorting support",
    "ip-substring-filtering": "IP address substring filtering",
    "standard-attr-description": "standard-attr-description",
    "standard-attr-revisions": "Resource revision numbers",
    "standard-attr-tag": "Tag support for resources with standard attribute",
    "tag-creation": "Tag creation extension",
    "standard-attr-timestamp": "Resource timestamps",
    "trunk": "Trunk Extension",
    "stateful-security-group": "Stateful security group",
}
EXTENSIONS: list[dict[str, Any]] = [
    {"alias": alias, "name": name, "description": name, "updated": "2016-01-01T00:00:00-00:00", "links": []}
    for alias, name in _EXTENSIONS.items()
]
"""Only what works: clients switch their own features by these aliases."""

ZONES = [
    {"name": "nova", "resource": "network", "state": "available"},
    {"name": "nova", "resource": "router", "state": "available"},
]

NOT_OFFERED_LISTS = (
    "subnetpools",
    "address-scopes",
    "address-groups",
    "rbac-policies",
    "service-providers",
)
"""Collections that exist in the API and are always empty here, as clients look into them."""


def version_document(base_url: str) -> dict[str, Any]:
    """``GET /``"""
    link = {"rel": "self", "href": f"{base_url}/v2.0/"}
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}


def resources_document(base_url: str) -> dict[str, Any]:
    """``GET /v2.0``"""
    offered = (
        "network",
        "subnet",
        "port",
        "router",
        "floatingip",
        "trunk",
        "security-group",
        "security-group-rule",
        "extension",
    )
    return {
        "resources": [
            {
                "name": name,
                "collection": f"{name}s".replace("-", "_"),
                "links": [{"rel": "self", "href": f"{base_url}/v2.0/{name}s"}],
            }
            for name in offered
        ]
    }
