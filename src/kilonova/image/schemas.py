"""JSON Schemas of Image v2's requests; the first two are also what ``GET /v2/schemas`` shows."""

from kilonova.image.inspect import ACCEPTED
from kilonova.web.schema import Schema, always

_TEXT: Schema = {"type": ["string", "null"], "maxLength": 255, "pattern": "^[^\\u0000]*$"}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2_147_483_647}

IMAGE: Schema = {
    "name": "image",
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "name": _TEXT,
        "visibility": {"type": "string", "enum": ["community", "public", "private", "shared"]},
        "protected": {"type": "boolean"},
        "os_hidden": {"type": "boolean"},
        "min_disk": _COUNT,
        "min_ram": _COUNT,
        "owner": {"type": ["string", "null"], "maxLength": 64, "pattern": "^[^\\u0000]*$"},
        "tags": {"type": "array", "maxItems": 128, "items": {"type": "string", "maxLength": 255}},
        "disk_format": {"type": ["string", "null"], "enum": [None, *ACCEPTED]},
        "container_format": {"type": ["string", "null"], "enum": [None, "bare"]},
    },
    "additionalProperties": {"type": "string", "maxLength": 65_535},
    "propertyNames": {"maxLength": 255, "minLength": 1},
    "maxProperties": 160,
}
CREATE = always(IMAGE)
OPERATIONS = ("add", "replace", "remove")
_PATH: Schema = {"type": "string", "maxLength": 512}
PATCH = always(
    {
        "type": "array",
        "maxItems": 256,
        "items": {
            "type": "object",
            "oneOf": [{"required": ["op", "path"]}, *({"required": [op]} for op in OPERATIONS)],
            "properties": {
                "op": {"type": "string", "enum": list(OPERATIONS)},
                "path": _PATH,
                **dict.fromkeys(OPERATIONS, _PATH),  # how a patch of v2.0 writes it: {"add": path, …}
            },
        },
    }
)
IMAGES: Schema = {
    "name": "images",
    "properties": {
        "images": {"type": "array", "items": IMAGE},
        "first": {"type": "string"},
        "next": {"type": "string"},
        "schema": {"type": "string"},
    },
    "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}],
}

_MEMBER_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-]+$"}
_MEMBER_STATUS: Schema = {"type": "string", "enum": ["pending", "accepted", "rejected"]}
MEMBER_CREATE = always({"type": "object", "properties": {"member": _MEMBER_ID}, "required": ["member"]})
MEMBER_UPDATE = always({"type": "object", "properties": {"status": _MEMBER_STATUS}, "required": ["status"]})
MEMBER: Schema = {
    "name": "member",
    "properties": {
        "image_id": {"type": "string"},
        "member_id": _MEMBER_ID,
        "status": _MEMBER_STATUS,
        "created_at": {"type": "string"},
        "updated_at": {"type": "string"},
        "schema": {"type": "string"},
    },
}
MEMBERS: Schema = {
    "name": "members",
    "properties": {"members": {"type": "array", "items": MEMBER}, "schema": {"type": "string"}},
    "links": [{"rel": "describedby", "href": "{schema}"}],
}
SHOWN: dict[str, Schema] = {"image": IMAGE, "images": IMAGES, "member": MEMBER, "members": MEMBERS}
"""What ``GET /v2/schemas/{name}`` knows."""
