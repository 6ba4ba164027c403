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


def _explain(error: Any, what: str) -> str:
    path = "/".join(str(part) for part in error.instance_path)
    message = error.message if len(error.message) <= 400 else error.message[:400] + "…"
    if not path:
        return f"Invalid input for {what}. {message}"
    return f"Invalid input for field/attribute {path}. {message}"


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
