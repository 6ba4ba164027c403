"""What may be in the body of a request about servers, at each microversion."""

from collections.abc import Callable
from functools import cache
from typing import Any

from kilonova.api.compute.inputs import BOOLEAN, PRINTABLE_NAME
from kilonova.api.compute.personality import PERSONALITY
from kilonova.web.schema import NON_NEGATIVE, TEXT, Schema, Versioned, always

NAME = PRINTABLE_NAME
_TEXT_OR_NULL: Schema = {"type": ["string", "null"], "maxLength": 255, "pattern": r"^[^\x00-\x1f\x7f]*$"}
_UUID: Schema = {"type": "string", "format": "uuid"}
_POSITIVE: Schema = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]*$"}]}
METADATA: Schema = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": "string", "maxLength": 255}},
    "additionalProperties": False,
}
_DISK_CONFIG: Schema = {"enum": ["AUTO", "MANUAL"]}
_ACCESS_V4: Schema = {"type": "string", "anyOf": [{"format": "ipv4"}, {"const": ""}]}
_ACCESS_V6: Schema = {"type": "string", "anyOf": [{"format": "ipv6"}, {"const": ""}]}
_HOSTNAME: Schema = {
    "type": "string",
    "minLength": 2,
    "maxLength": 63,
    "pattern": r"^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$",
}
_FQDN: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[a-zA-Z0-9._-]*$",
}
TAGS: Schema = {
    "type": "array",
    "maxItems": 50,
    "items": {"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"},
}
_BLOCK_DEVICE: Schema = {
    "type": "object",
    "properties": {
        "boot_index": {"type": ["integer", "string", "null"]},
        "uuid": {"type": "string"},
        "source_type": {"enum": ["volume", "image", "snapshot", "blank"]},
        "destination_type": {"enum": ["local", "volume"]},
        "volume_size": {"type": ["integer", "string"]},
        "delete_on_termination": BOOLEAN,
        "device_name": {"type": "string", "maxLength": 255},
        "device_type": {"type": "string"},
        "disk_bus": {"type": "string"},
        "guest_format": {"type": "string"},
        "no_device": {},
        "tag": {"type": "string", "minLength": 1, "maxLength": 60},
        "volume_type": {"type": ["string", "null"]},
    },
    "additionalProperties": False,
}


def _network(tag: bool) -> Schema:
    properties: dict[str, Any] = {
        "uuid": {"type": "string"},  # what it must be is checked with what it names
        "port": {"anyOf": [_UUID, {"type": "null"}]},
        "fixed_ip": {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    }
    if tag:
        properties["tag"] = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"}
    return {"type": "array", "items": {"type": "object", "properties": properties, "additionalProperties": False}}


_UUIDS: Schema = {"type": "array", "items": _UUID}
_TEXT: Schema = {"type": "string", "maxLength": 255}
_HINTS: Schema = {
    "type": "object",
    "properties": {
        "group": {"anyOf": [_UUID, _UUIDS]},
        "different_host": {"anyOf": [_UUID, _UUIDS]},
        "same_host": {"anyOf": [{"type": "string"}, _UUIDS]},
        "query": {"type": ["string", "object"]},
        "target_cell": _TEXT,
        "different_cell": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
        "build_near_host_ip": {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
        "cidr": {"type": "string", "pattern": r"^/[0-9a-f.:]+$"},
    },
    "additionalProperties": True,
}


def _create(version: int) -> Schema:
    """The schema of ``POST /servers`` at one minor; each addition stands with the minor that brought it."""
    properties: dict[str, Any] = {
        "name": NAME,
        "imageRef": {"type": "string"},
        "flavorRef": {"type": ["string", "integer"], "minLength": 1},
        "adminPass": TEXT,  # bounded by the body; it is kept nowhere
        "metadata": METADATA,
        "networks": _network(tag=32 <= version <= 36 or version >= 42),
        "OS-DCF:diskConfig": _DISK_CONFIG,
        "accessIPv4": _ACCESS_V4,
        "accessIPv6": _ACCESS_V6,
        "availability_zone": {"type": "string", "minLength": 1, "maxLength": 255},
        "block_device_mapping": {"type": "array", "items": {"type": "object"}},
        "block_device_mapping_v2": {"type": "array", "items": _BLOCK_DEVICE},
        "config_drive": {**BOOLEAN, "enum": [*BOOLEAN["enum"], None, ""]},
        "key_name": {"type": "string", "minLength": 1, "maxLength": 255},
        "min_count": _POSITIVE,
        "max_count": _POSITIVE,
        "return_reservation_id": BOOLEAN,
        "security_groups": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False},
        },
        "user_data": {"type": "string", "maxLength": 65535, "contentEncoding": "base64"},
    }
    required = ["name", "flavorRef"]
    additions: list[tuple[int, dict[str, Any]]] = [
        (19, {"description": _TEXT_OR_NULL}),
        (37, {"networks": {"oneOf": [properties["networks"], {"enum": ["auto", "none"]}]}}),
        (52, {"tags": TAGS}),
        (
            63,
            {"trusted_image_certificates": {"type": ["array", "null"], "maxItems": 50, "items": {"type": "string"}}},
        ),
        (74, {"host": {"type": "string", "minLength": 1, "maxLength": 255}}),
        (74, {"hypervisor_hostname": {"type": "string", "minLength": 1, "maxLength": 255}}),
        (90, {"hostname": _HOSTNAME}),
        (94, {"hostname": _FQDN}),
    ]
    for since, addition in additions:
        if version >= since:
            properties |= addition
    if version <= 56:
        properties["personality"] = PERSONALITY
    if version >= 37:
        required.append("networks")
    return {
        "type": "object",
        "properties": {
            "server": {
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": False,
            },
            "os:scheduler_hints": _HINTS,
            "OS-SCH-HNT:scheduler_hints": _HINTS,
        },
        "required": ["server"],
        "additionalProperties": False,
    }


def _update(version: int) -> Schema:
    properties: dict[str, Any] = {
        "name": NAME,
        "OS-DCF:diskConfig": _DISK_CONFIG,
        "accessIPv4": {"type": "string", "format": "ipv4"},
        "accessIPv6": {"type": "string", "format": "ipv6"},
    }
    if version >= 19:
        properties["description"] = _TEXT_OR_NULL
    if version >= 90:
        properties["hostname"] = _HOSTNAME if version < 94 else _FQDN
    if version >= 104:
        properties["pinned_availability_zone"] = {**_TEXT_OR_NULL, "minLength": 1}
    return {
        "type": "object",
        "properties": {"server": {"type": "object", "properties": properties, "additionalProperties": False}},
        "required": ["server"],
        "additionalProperties": False,
    }


def _rebuild(version: int) -> Schema:
    """The schema of ``rebuild`` at one minor."""
    properties: dict[str, Any] = {
        "name": NAME,
        "imageRef": _UUID,
        "adminPass": {"type": "string", "maxLength": 4096},
        "metadata": METADATA,
        "preserve_ephemeral": BOOLEAN,
        "OS-DCF:diskConfig": _DISK_CONFIG,
        "accessIPv4": {"type": "string", "format": "ipv4"},
        "accessIPv6": {"type": "string", "format": "ipv6"},
    }
    if version <= 56:
        properties["personality"] = PERSONALITY
    additions: list[tuple[int, dict[str, Any]]] = [
        (19, {"description": _TEXT_OR_NULL}),
        (54, {"key_name": {"type": ["string", "null"], "minLength": 1, "maxLength": 255}}),
        (57, {"user_data": {"type": ["string", "null"], "maxLength": 65535, "contentEncoding": "base64"}}),
        (
            63,
            {
                "trusted_image_certificates": {
                    "type": ["array", "null"],
                    "minItems": 1,
                    "maxItems": 50,
                    "uniqueItems": True,
                    "items": {"type": "string", "minLength": 1, "maxLength": 65535},
                }
            },
        ),
        (90, {"hostname": _HOSTNAME}),
        (94, {"hostname": _FQDN}),
    ]
    for since, addition in additions:
        if version >= since:
            properties |= addition
    rebuild: Schema = {
        "type": "object",
        "properties": properties,
        "required": ["imageRef"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"rebuild": rebuild},
        "required": ["rebuild"],
        "additionalProperties": False,
    }


@cache
def _by_version(make: Callable[[int], Schema], *starts: int) -> tuple[Versioned, ...]:
    ends: list[int | None] = [*(start - 1 for start in starts[1:]), None]
    return tuple(Versioned(make(start), since=start, until=end) for start, end in zip(starts, ends, strict=True))


CREATE = _by_version(_create, 1, 19, 32, 37, 42, 52, 57, 63, 74, 90, 94)
UPDATE = _by_version(_update, 1, 19, 90, 94, 104)
REBUILD = _by_version(_rebuild, 1, 19, 54, 57, 63, 90, 94)

REBOOT = always(
    {
        "type": "object",
        "properties": {
            "reboot": {
                "type": "object",
                "properties": {"type": {"enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]}},
                "required": ["type"],
                "additionalProperties": False,
            }
        },
        "required": ["reboot"],
        "additionalProperties": False,
    }
)
CONSOLE_OUTPUT = always(
    {
        "type": "object",
        "properties": {
            "os-getConsoleOutput": {
                "type": "object",
                "properties": {
                    "length": {
                        "anyOf": [
                            {"type": "integer", "minimum": -1},
                            {"type": "string", "pattern": "^-?[0-9]+$"},
                            {"type": "null"},
                        ]
                    }
                },
                "additionalProperties": False,
            }
        },
        "required": ["os-getConsoleOutput"],
        "additionalProperties": False,
    }
)


def word(action: str) -> tuple[Versioned, ...]:
    """An action without parameters: Nova takes anything as its value."""
    schema: Schema = {
        "type": "object",
        "properties": {action: {}},
        "required": [action],
        "additionalProperties": False,
    }
    return (Versioned(schema),)


_FILTERS = """
    name status host node image flavor ip ip6 changes-since changes-before deleted all_tenants tenant_id
    project_id user_id uuid reservation_id key_name availability_zone vm_state task_state power_state
    locked tags tags-any not-tags not-tags-any marker sort_key sort_dir access_ip_v4 access_ip_v6
    config_drive created_at description display_description display_name hostname image_ref launch_index
    launched_at progress root_device_name terminated_at updated_at disk_config kernel_id ramdisk_id
    auto_disk_config block_device_mapping services metadata system_metadata security_groups info_cache
    cell_name instance_type_id pci_devices default_ephemeral_device default_swap_device internal_id
    ramdisk soft_deleted tenant
"""


def _list(*, strict: bool) -> Schema:
    properties = {**dict.fromkeys(_FILTERS.split(), TEXT), "limit": NON_NEGATIVE}
    return {
        "type": "object",
        "properties": {name: {"type": "array", "items": schema} for name, schema in properties.items()},
        "additionalProperties": not strict,
    }


LIST = (Versioned(_list(strict=False), since=1, until=74), Versioned(_list(strict=True), since=75))
