"""JSON Schemas of the ports' requests, after Networking API v2.0, "Ports"."""

from typing import Any

from kilonova.web.schema import Schema, Schemas, always

_TEXT: Schema = {"type": "string", "maxLength": 255, "pattern": "^[^\\u0000]*$"}
_ID: Schema = {"type": "string", "maxLength": 64, "pattern": "^[a-zA-Z0-9-]*$"}
_FIXED_IP: Schema = {
    "type": "object",
    "properties": {"ip_address": {"type": "string", "maxLength": 64}, "subnet_id": _ID},
    "additionalProperties": False,
    "minProperties": 1,
}
_CHANGEABLE: dict[str, Any] = {
    "name": _TEXT,
    "admin_state_up": {"type": "boolean"},
    "device_id": {"type": "string", "maxLength": 64, "pattern": "^[^\\u0000]*$"},
    "device_owner": _TEXT,
    "description": {"const": ""},
    "security_groups": {"type": ["array", "null"], "items": _ID, "maxItems": 1},
    "binding:vnic_type": {"const": "normal"},
    "binding:host_id": _TEXT,
}
_FIXED: dict[str, Any] = {
    "network_id": {**_ID, "minLength": 1},
    "tenant_id": _ID,
    "project_id": _ID,
    "mac_address": {"type": "string", "pattern": "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"},
    "fixed_ips": {"type": "array", "items": _FIXED_IP, "maxItems": 1},
}


def _port(properties: dict[str, Any], required: list[str]) -> Schemas:
    inner = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return always({"type": "object", "properties": {"port": inner}, "required": ["port"]})


PORT_CREATE = _port({**_CHANGEABLE, **_FIXED}, ["network_id"])
PORT_UPDATE = _port(_CHANGEABLE, [])
