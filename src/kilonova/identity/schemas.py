"""JSON Schemas of Identity v3's request bodies, after the parameter tables of its API reference."""

from typing import Any

from kilonova.web.schema import Schema, Schemas, always

TEXT: Schema = {"type": "string", "maxLength": 255, "pattern": "^[^\\u0000]*$"}
NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$",
}
LONG: Schema = {"type": ["string", "null"], "maxLength": 8192, "pattern": "^[^\\u0000]*$"}
ID: Schema = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-]+$"}
PASSWORD: Schema = {"type": "string", "minLength": 1, "maxLength": 4096}
FLAG: Schema = {"type": "boolean"}


def _body(key: str, properties: dict[str, Any], required: list[str], extra: bool = False) -> Schemas:
    inner = {"type": "object", "properties": properties, "required": required, "additionalProperties": extra}
    return always({"type": "object", "properties": {key: inner}, "required": [key], "additionalProperties": False})


_DOMAIN_REF: Schema = {"type": "object", "properties": {"id": ID, "name": TEXT}}
_USER_PROPERTIES: Schema = {"id": ID, "name": TEXT, "domain": _DOMAIN_REF}
_USER_REF: Schema = {"type": "object", "properties": _USER_PROPERTIES}
_IDENTITY = {
    "type": "object",
    "required": ["methods"],
    "properties": {
        "methods": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 8},
        "password": {
            "type": "object",
            "required": ["user"],
            "properties": {
                "user": {
                    **_USER_REF,
                    "properties": {**_USER_PROPERTIES, "password": {"type": "string", "maxLength": 4096}},
                    "required": ["password"],
                }
            },
        },
        "token": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string", "maxLength": 1024}}},
        "application_credential": {
            "type": "object",
            "required": ["secret"],
            "properties": {
                "id": ID,
                "name": TEXT,
                "secret": {"type": "string", "maxLength": 4096},
                "user": _USER_REF,
            },
        },
    },
}
_SCOPE = {
    "anyOf": [
        {"const": "unscoped"},
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {
                "project": {"type": "object", "properties": {"id": ID, "name": TEXT, "domain": _DOMAIN_REF}},
                "domain": _DOMAIN_REF,
                "system": {"type": "object", "properties": {"all": {"const": True}}, "required": ["all"]},
                "unscoped": {"type": "object"},
            },
        },
    ]
}
AUTH = _body("auth", {"identity": _IDENTITY, "scope": _SCOPE}, ["identity"])

_DOMAIN_FIELDS = {"name": {**NAME, "maxLength": 64}, "description": LONG, "enabled": FLAG}
DOMAIN_CREATE = _body("domain", _DOMAIN_FIELDS, ["name"], extra=True)
DOMAIN_UPDATE = _body("domain", _DOMAIN_FIELDS, [], extra=True)

_PROJECT_FIELDS = {
    "name": {**NAME, "maxLength": 64},
    "description": LONG,
    "enabled": FLAG,
    "domain_id": ID,
    "parent_id": {"anyOf": [ID, {"type": "null"}]},
    "is_domain": FLAG,
}
TAG: Schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^,/\\u0000]*$"}
_TAGS: Schema = {"type": "array", "items": TAG, "maxItems": 80, "uniqueItems": True}
_PROJECT_FIELDS["tags"] = _TAGS
PROJECT_TAGS = always(
    {"type": "object", "properties": {"tags": _TAGS}, "required": ["tags"], "additionalProperties": False}
)
PROJECT_CREATE = _body("project", _PROJECT_FIELDS, ["name"], extra=True)
PROJECT_UPDATE = _body("project", _PROJECT_FIELDS, [], extra=True)

_USER_FIELDS = {
    "name": NAME,
    "enabled": FLAG,
    "domain_id": ID,
    "default_project_id": {"anyOf": [ID, {"type": "null"}]},
    "password": {"anyOf": [PASSWORD, {"type": "null"}]},
    "email": {"type": ["string", "null"], "maxLength": 255},
    "description": LONG,
}
USER_CREATE = _body("user", _USER_FIELDS, ["name"], extra=True)
USER_UPDATE = _body("user", _USER_FIELDS, [], extra=True)
PASSWORD_CHANGE = _body(
    "user", {"password": PASSWORD, "original_password": PASSWORD}, ["password", "original_password"]
)

_ROLE_FIELDS = {"name": NAME, "description": LONG, "options": {"type": "object"}}
ROLE_CREATE = _body("role", _ROLE_FIELDS, ["name"])
ROLE_UPDATE = _body("role", _ROLE_FIELDS, [])

CREDENTIAL_CREATE = _body(
    "application_credential",
    {
        "name": NAME,
        "secret": {"anyOf": [{"type": "string", "minLength": 8, "maxLength": 4096}, {"type": "null"}]},
        "description": LONG,
        "expires_at": {"type": ["string", "null"], "maxLength": 64},
        "unrestricted": {"type": ["boolean", "null"]},
        "project_id": ID,
        "roles": {
            "type": "array",
            "maxItems": 64,
            "items": {"type": "object", "properties": {"id": ID, "name": TEXT}, "minProperties": 1},
        },
        # Rules we would not enforce must not be accepted: an empty list is all that means nothing.
        "access_rules": {"type": "array", "maxItems": 0},
    },
    ["name"],
)
