"""Pieces of schemas that many resources share, and the values behind what Compute accepts in several spellings."""

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from kilonova.model.errors import Invalid
from kilonova.web.schema import Schema, Schemas, Versioned

LARGEST = 2**31 - 1
"""The largest number a column of the database takes."""

_IDENTITY_ID = re.compile(r"[a-zA-Z0-9-]{1,64}")
_TRUE = ["True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"]
_FALSE = ["False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"]

BOOLEAN: Schema = {"enum": [True, False, *_TRUE, *_FALSE]}
QUERY_BOOLEAN: Schema = {"type": "string", "enum": [*_TRUE, *_FALSE]}
HOSTNAME: Schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9._-]*$"}
PRINTABLE_NAME: Schema = {  # neither control characters nor spaces at the ends
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$",
}


def number(lowest: int) -> Schema:
    """A whole number from ``lowest``, or its digits as text."""
    digits = "^-?[0-9]{1,10}$" if lowest < 0 else "^[0-9]{1,10}$"
    return {"type": ["integer", "string"], "pattern": digits, "minimum": lowest, "maximum": LARGEST}


def document(required: list[str], properties: dict[str, Schema]) -> Schema:
    """An object with these properties and no others."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def query_object(properties: Mapping[str, Schema], *, strict: bool = False) -> Schema:
    """A query string, where every key holds the list of its values. Loose: unknown keys are ignored."""
    return {
        "type": "object",
        "properties": {key: {"type": "array", "items": schema} for key, schema in properties.items()},
        "additionalProperties": not strict,
    }


def queries(strict_since: int, properties: Mapping[str, Schema] | None = None) -> Schemas:
    """A query string whose unknown keys are ignored below 2.``strict_since``, and refused from there on."""
    return (
        Versioned(query_object(properties or {}), 0, strict_since - 1),
        Versioned(query_object(properties or {}, strict=True), strict_since),
    )


def as_address(value: str | None) -> str | None:
    """An address that the schema let pass, in the one way of writing that is compared and shown; None for no address."""
    return str(ipaddress.ip_address(value)) if value else None


def is_base64(text: str) -> bool:
    """Whether it is what Nova takes for base64: letters of other alphabets, such as line breaks, stand for nothing."""
    try:
        base64.b64decode(text)
    except ValueError:
        return False
    return "\x00" not in text  # no database could keep it


def as_bool(value: Any) -> bool:
    """What a value that ``BOOLEAN`` let pass means."""
    return value is True or value in _TRUE


def as_identity_id(value: str, what: str) -> str:
    """The id of a user or project, as the identity service makes them. Raises ``Invalid`` for what can be none."""
    if not _IDENTITY_ID.fullmatch(value):
        raise Invalid(f"{what} ID {value[:64]} is not a valid {what.lower()}.")
    return value


def as_int(value: Any, field: str, lowest: int) -> int:
    """What a value that ``number(lowest)`` let pass means. Raises ``Invalid`` when its digits say too little or much."""
    amount = int(value)
    if not lowest <= amount <= LARGEST:
        raise Invalid(f"Invalid input for field/attribute {field}. {amount} is not between {lowest} and {LARGEST}.")
    return amount


def as_number(text: str) -> int | None:
    """The number of a row as a path names it; None for what cannot be one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
