"""JSON Schema checks of bodies and query strings, compiled once and chosen by microversion.

OpenStack's API is defined by such schemas, so that is how input is checked here: before any handler sees it.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jsonschema_rs
import msgspec

from kilonova.model.errors import Invalid

Schema = dict[str, Any]


class Versioned(msgspec.Struct, frozen=True):
    """A schema and the window of minors (2.``since`` … 2.``until``, None: open) it is in force."""

    schema: Schema
    since: int = 0
    until: int | None = None


Schemas = Sequence[Versioned]


def always(schema: Schema) -> Schemas:
    """One schema for every microversion."""
    return (Versioned(schema),)


_UUID = re.compile(r"^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$", re.IGNORECASE)


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a UUID, dashed or not (Nova accepts both)."""
    return bool(_UUID.match(text))


_FORMATS: dict[str, Callable[[str], bool]] = {"uuid": is_uuid}


@cache
def _validator(key: int) -> Any:
    return jsonschema_rs.validator_for(_known[key], validate_formats=True, formats=_FORMATS)


_known: dict[int, Schema] = {}


def validate(schemas: Schemas, value: Any, version: int, what: str) -> None:
    """Check ``value`` against the schema in force at 2.``version``. Raises ``Invalid``; no schema, no objection."""
    for versioned in schemas:
        if versioned.since <= version and (versioned.until is None or version <= versioned.until):
            key = id(versioned.schema)
            _known.setdefault(key, versioned.schema)  # keeps it alive, so the id stays its own
            for error in _validator(key).iter_errors(value):
                raise Invalid(_explain(error, what))
            return


_SHOWN = 300
"""Letters of a value that are repeated to whoever sent it."""


def _explain(error: Any, what: str) -> str:
    """In the form that clients know from Nova: the innermost name, the value if it is a plain one, what is wrong with it."""
    message = _message(error)
    if not error.instance_path:
        return f"Invalid input for {what}. {message}"
    value = error.instance
    plain = isinstance(value, str | int | float) and len(str(value)) <= _SHOWN
    shown = f" Value: {value}." if plain else ""
    return f"Invalid input for field/attribute {error.instance_path[-1]}.{shown} {message}"


def _message(error: Any) -> str:
    if error.kind.name == "maxLength" and len(error.instance) <= _SHOWN:
        return f"'{error.instance}' is too long"
    return str(error.message if len(error.message) <= _SHOWN + 100 else error.message[:_SHOWN] + "…")


def query_schema(strict: bool = False, **properties: Schema) -> Schema:
    """A schema for a query string, where every key holds the list of its values. Loose: unknown keys are ignored."""
    return {
        "type": "object",
        "properties": {
            name.replace("__", "-"): {"type": "array", "items": schema} for name, schema in properties.items()
        },
        "additionalProperties": not strict,
    }


NON_NEGATIVE: Schema = {"type": "string", "pattern": "^[0-9]+$"}
TEXT: Schema = {"type": "string"}
