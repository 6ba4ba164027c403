"""An image in Image v2's words, and back: which attributes may be written, and how."""

from typing import Any

import msgspec

from kilonova.model.errors import Conflict, Forbidden, Invalid
from kilonova.model.image import StoredImage
from kilonova.web.moments import iso_z

WRITABLE = {
    "name": "name",
    "visibility": "visibility",
    "min_disk": "min_disk_gb",
    "min_ram": "min_memory_mb",
    "protected": "protected",
    "os_hidden": "hidden",
    "tags": "tags",
    "disk_format": "disk_format",
    "container_format": "container_format",
    "owner": "owner",
}
READ_ONLY = frozenset(
    {"id", "status", "checksum", "size", "virtual_size", "created_at", "updated_at", "self", "file", "schema"}
    | {"direct_url", "locations", "os_hash_algo", "os_hash_value", "deleted", "deleted_at", "stores"}
)


def image_view(image: StoredImage) -> dict[str, Any]:
    """The body of one image; its own properties stand beside the attributes, and never hide one."""
    return {
        **image.properties,
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "owner": image.owner,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "checksum": image.checksum,
        "os_hash_algo": "sha512" if image.sha512 else None,
        "os_hash_value": image.sha512,
        "min_disk": image.min_disk_gb,
        "min_ram": image.min_memory_mb,
        "protected": image.protected,
        "os_hidden": image.hidden,
        "tags": image.tags,
        "created_at": iso_z(image.created_at),
        "updated_at": iso_z(image.updated_at),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }


def split(body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Columns and properties of a create request. Raises ``Forbidden`` for what nobody may write."""
    for name in body:
        if name in READ_ONLY and name != "id":
            raise Forbidden(f"Attribute '{name}' is read-only.")
    columns = {WRITABLE[name]: value for name, value in body.items() if name in WRITABLE}
    properties = {name: value for name, value in body.items() if name not in WRITABLE and name != "id"}
    return columns, properties


def attributes(image: StoredImage) -> dict[str, Any]:
    """What a patch works on: the writable attributes and the properties, flat."""
    return {**image.properties, **{name: getattr(image, field) for name, field in WRITABLE.items()}}


def patched(image: StoredImage, operations: list[dict[str, Any]]) -> dict[str, Any]:
    """The attributes after a JSON patch of single-level paths (OpenStack's ``images-v2.1-json-patch``)."""
    state = attributes(image)
    for operation in operations:
        _apply(state, operation["op"], _name(operation["path"]), operation)
    return state


def _name(path: str) -> str:
    parts = path.split("/")
    if len(parts) != 2 or parts[0] or not parts[1]:
        raise Invalid(f"The path '{path[:64]}' is not that of one attribute.")
    return parts[1].replace("~1", "/").replace("~0", "~")


def _apply(state: dict[str, Any], verb: str, name: str, operation: dict[str, Any]) -> None:
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if verb == "remove":
        if name in WRITABLE:
            raise Forbidden(f"Attribute '{name}' may not be removed.")
        if name not in state:
            raise Conflict(f"Property {name} does not exist.")
        del state[name]
        return
    if "value" not in operation:
        raise Invalid(f"Operation '{verb}' needs a value.")
    if verb == "replace" and name not in state:
        raise Conflict(f"Property {name} does not exist.")
    state[name] = operation["value"]


def rebuilt(image: StoredImage, state: dict[str, Any]) -> StoredImage:
    """The image with these attributes."""
    columns, properties = split(state)
    return msgspec.structs.replace(image, **columns, properties=properties)
