"""JSON Schemas of the requests, after Networking API v2.0. What no column could hold is refused here."""

from typing import Any

from kilonova.web.schema import Schema, Schemas, always

_TEXT: Schema = {"type": "string", "maxLength": 255, "pattern": "^[^\\u0000]*$"}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-]+$"}
_ID_OR_NULL: Schema = {"anyOf": [_ID, {"type": "null"}]}
_ADDRESS: Schema = {"type": "string", "maxLength": 64}
_ADDRESS_OR_NULL: Schema = {"type": ["string", "null"], "maxLength": 64}
_BOOLEAN: Schema = {"enum": [True, False, "true", "false", "True", "False", "TRUE", "FALSE", "1", "0", 1, 0]}
_DIGITS: Schema = {"type": "string", "pattern": "^[0-9]{1,9}$"}
_MAC: Schema = {"type": "string", "pattern": "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"}
_NOTHING: Schema = {"enum": [None, []]}
_OWNER: dict[str, Any] = {"tenant_id": _ID, "project_id": _ID}
_DESCRIBED: dict[str, Any] = {"name": _TEXT, "description": _TEXT}


def _object(properties: dict[str, Any], *required: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _request(name: str, properties: dict[str, Any], *required: str) -> Schemas:
    return always(
        {
            "type": "object",
            "properties": {name: _object(properties, *required)},
            "required": [name],
            "additionalProperties": False,
        }
    )


def _list(item: Schema, most: int) -> Schema:
    return {"type": "array", "items": item, "maxItems": most}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


# --- networks and subnets ----------------------------------------------------------------------------------

_NETWORK: dict[str, Any] = {
    **_DESCRIBED,
    "admin_state_up": _BOOLEAN,
    "shared": _BOOLEAN,
    "router:external": _BOOLEAN,
    "is_default": _BOOLEAN,
    "mtu": {
        "anyOf": [
            {"type": "integer", "minimum": 68, "maximum": 65535},
            {"type": "string", "pattern": "^(6[89]|[789][0-9]|[1-9][0-9]{2,3}|[1-5][0-9]{4})$"},
        ]
    },
    "port_security_enabled": _BOOLEAN,
    "dns_domain": _TEXT,
    "provider:network_type": _or_null({"type": "string", "maxLength": 32}),
    "provider:physical_network": _or_null(_TEXT),
    "provider:segmentation_id": {"anyOf": [{"type": ["integer", "null"]}, _DIGITS]},
    "availability_zone_hints": {"type": "array", "items": {"const": "nova"}, "maxItems": 1},
    "qos_policy_id": {"type": "null"},
}
NETWORK_CREATE = _request("network", {**_NETWORK, **_OWNER})
NETWORK_UPDATE = _request("network", _NETWORK)

_ROUTE = _object({"destination": _ADDRESS, "nexthop": _ADDRESS}, "destination", "nexthop")
_SUBNET: dict[str, Any] = {
    **_DESCRIBED,
    "gateway_ip": _ADDRESS_OR_NULL,
    "enable_dhcp": _BOOLEAN,
    "allocation_pools": _list(_object({"start": _ADDRESS, "end": _ADDRESS}, "start", "end"), 100),
    "dns_nameservers": _or_null(_list(_ADDRESS, 5)),
    "host_routes": _or_null(_list(_ROUTE, 20)),
    "service_types": _NOTHING,
    "segment_id": {"type": "null"},
}
_IPV6_MODE: Schema = {"enum": ["dhcpv6-stateful", "dhcpv6-stateless", "slaac", None]}
SUBNET_CREATE = _request(
    "subnet",
    {
        **_SUBNET,
        **_OWNER,
        "network_id": _ID,
        "ip_version": {"enum": [4, 6, "4", "6"]},
        "cidr": _ADDRESS_OR_NULL,
        "ipv6_ra_mode": _IPV6_MODE,
        "ipv6_address_mode": _IPV6_MODE,
        "subnetpool_id": {"type": "null"},
    },
    "network_id",
    "ip_version",
)
SUBNET_UPDATE = _request("subnet", _SUBNET)

# --- ports -------------------------------------------------------------------------------------------------

_FIXED_IP: Schema = {**_object({"ip_address": _ADDRESS, "subnet_id": _ID}), "minProperties": 1}
_PAIR = _object({"ip_address": _ADDRESS, "mac_address": _MAC}, "ip_address")
_DHCP_OPTION = _object(
    {"opt_name": _TEXT, "opt_value": _or_null(_TEXT), "ip_version": {"enum": [4, 6, "4", "6"]}}, "opt_name"
)
_PROFILE: Schema = {"type": ["object", "null"], "maxProperties": 20, "additionalProperties": _TEXT}
_PORT: dict[str, Any] = {
    **_DESCRIBED,
    "admin_state_up": _BOOLEAN,
    "device_id": _TEXT,
    "device_owner": _TEXT,
    "port_security_enabled": _BOOLEAN,
    "dns_name": {"type": "string", "maxLength": 63, "pattern": "^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)?$"},
    "extra_dhcp_opts": _or_null(_list(_DHCP_OPTION, 50)),
    "allowed_address_pairs": _list(_PAIR, 10),
    "security_groups": _or_null(_list(_ID, 100)),
    "fixed_ips": _list(_FIXED_IP, 16),
    "mac_address": _MAC,
    "binding:vnic_type": {"const": "normal"},
    "binding:host_id": _TEXT,
    "binding:profile": _PROFILE,
    "qos_policy_id": {"type": "null"},
}
PORT_CREATE = _request("port", {**_PORT, **_OWNER, "network_id": _ID}, "network_id")
PORT_UPDATE = _request("port", _PORT)

# --- security groups ---------------------------------------------------------------------------------------

_GROUP: dict[str, Any] = {**_DESCRIBED, "stateful": _BOOLEAN}
SECURITY_GROUP_CREATE = _request("security_group", {**_GROUP, **_OWNER})
SECURITY_GROUP_UPDATE = _request("security_group", _GROUP)

_PORT_NUMBER: Schema = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": 65535},
        {"type": "string", "pattern": "^[0-9]{1,5}$"},
        {"type": "null"},
    ]
}
SECURITY_GROUP_RULE_CREATE = _request(
    "security_group_rule",
    {
        **_OWNER,
        "security_group_id": _ID,
        "direction": {"enum": ["ingress", "egress"]},
        "ethertype": {"enum": ["IPv4", "IPv6", "ipv4", "ipv6", "IPV4", "IPV6", None]},
        "protocol": {"anyOf": [{"type": "string", "maxLength": 40}, {"type": "integer"}, {"type": "null"}]},
        "port_range_min": _PORT_NUMBER,
        "port_range_max": _PORT_NUMBER,
        "remote_ip_prefix": _ADDRESS_OR_NULL,
        "remote_group_id": _ID_OR_NULL,
        "remote_address_group_id": {"type": "null"},
        "description": _or_null(_TEXT),
    },
    "security_group_id",
    "direction",
)

# --- routers and floating addresses ------------------------------------------------------------------------

_GATEWAY: Schema = _or_null(
    _object({"network_id": _ID, "enable_snat": _BOOLEAN, "external_fixed_ips": _list(_FIXED_IP, 4)})
)
_ROUTER: dict[str, Any] = {
    **_DESCRIBED,
    "admin_state_up": _BOOLEAN,
    "external_gateway_info": _GATEWAY,
    "routes": _or_null(_list(_ROUTE, 30)),
    "distributed": _or_null(_BOOLEAN),
    "ha": _or_null(_BOOLEAN),
    "availability_zone_hints": {"type": "array", "items": {"const": "nova"}, "maxItems": 1},
}
ROUTER_CREATE = _request("router", {**_ROUTER, **_OWNER})
ROUTER_UPDATE = _request("router", _ROUTER)
ROUTER_INTERFACE = always({**_object({"subnet_id": _ID, "port_id": _ID}), "minProperties": 1})

_FLOATING: dict[str, Any] = {
    "port_id": _ID_OR_NULL,
    "fixed_ip_address": _ADDRESS_OR_NULL,
    "description": _TEXT,
    "qos_policy_id": {"type": "null"},
}
FLOATING_IP_CREATE = _request(
    "floatingip",
    {
        **_FLOATING,
        **_OWNER,
        "floating_network_id": _ID,
        "floating_ip_address": _ADDRESS_OR_NULL,
        "subnet_id": _ID_OR_NULL,
        "dns_name": _TEXT,
        "dns_domain": _TEXT,
    },
    "floating_network_id",
)
FLOATING_IP_UPDATE = _request("floatingip", _FLOATING)

# --- trunks ------------------------------------------------------------------------------------------------

_TAG_NUMBER: Schema = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 4094}, _DIGITS]}
_SUB_PORT = _object(
    {"port_id": _ID, "segmentation_type": {"const": "vlan"}, "segmentation_id": _TAG_NUMBER},
    *("port_id", "segmentation_type", "segmentation_id"),
)
_TRUNK: dict[str, Any] = {**_DESCRIBED, "admin_state_up": _BOOLEAN}
TRUNK_CREATE = _request(
    "trunk", {**_TRUNK, **_OWNER, "port_id": _ID, "sub_ports": _or_null(_list(_SUB_PORT, 500))}, "port_id"
)
TRUNK_UPDATE = _request("trunk", _TRUNK)
SUB_PORTS_ADD = always(_object({"sub_ports": _list(_SUB_PORT, 500)}, "sub_ports"))
SUB_PORTS_REMOVE = always(_object({"sub_ports": _list({**_SUB_PORT, "required": ["port_id"]}, 500)}, "sub_ports"))

# --- the rest ----------------------------------------------------------------------------------------------

TAG: Schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^\\u0000,/]*$"}
TAGS = always(
    {
        "type": "object",
        "properties": {"tags": {"type": "array", "items": TAG, "maxItems": 50}},
        "required": ["tags"],
        "additionalProperties": False,
    }
)


def quota(names: list[str]) -> Schemas:
    """Limits by name; -1 is none."""
    number: Schema = {"type": "integer", "minimum": -1, "maximum": 2_147_483_647}
    limit: Schema = {"anyOf": [number, {"type": "string", "pattern": "^(-1|[0-9]{1,9})$"}]}
    return _request("quota", {**_OWNER, **dict.fromkeys(names, limit), "check_limit": _BOOLEAN, "force": _BOOLEAN})
