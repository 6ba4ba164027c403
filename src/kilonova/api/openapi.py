"""The Compute API as an OpenAPI 3.1 document, made out of the route table.

Each operation is described at the newest microversion it exists at. The document says which that is
(``x-openstack``), and which policy rule and role the operation asks for. Operations on one path that differ by the
one key of their body (``…/action``) are one OpenAPI operation whose body is one of theirs.
"""

import re
from collections.abc import Iterable
from typing import Any

from kilonova.api.microversion import MAXIMUM
from kilonova.web.policy import NOBODY_NEEDED
from kilonova.web.routes import Route, RouteTable
from kilonova.web.schema import Schema, Schemas

Document = dict[str, Any]

_FAULT: Schema = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": {
        "type": "object",
        "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
        "required": ["code", "message"],
    },
}
_VERSION_HEADER = {"$ref": "#/components/parameters/microversion"}


def openapi(table: RouteTable, mount: str) -> Document:
    """The document; ``mount`` is the path the Compute API is served below."""
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "OpenStack Compute API",
            "version": f"2.{MAXIMUM}",
            "description": "Each operation as of the newest microversion it exists at.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": mount}],
        "security": [{"token": []}],
        "paths": _paths(table.routes),
        "components": {
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
            "parameters": {
                "microversion": {
                    "name": "OpenStack-API-Version",
                    "in": "header",
                    "description": "The microversion the call speaks: compute 2.N, or compute latest.",
                    "schema": {"type": "string", "pattern": r"^compute (2\.[0-9]+|latest)$"},
                }
            },
            "schemas": {"fault": _FAULT},
            "responses": {
                "fault": {
                    "description": "What went wrong.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/fault"}}},
                }
            },
        },
    }


def _paths(routes: Iterable[Route]) -> dict[str, Document]:
    together: dict[tuple[str, str], list[Route]] = {}
    for route in routes:
        together.setdefault((_full(route), route.method.lower()), []).append(route)
    paths: dict[str, Document] = {}
    for (path, method), rows in together.items():
        paths.setdefault(path, {})[method] = _operation(_newest(rows))
    return paths


def _full(route: Route) -> str:
    """Version documents stand above the version, everything else below it."""
    return route.path if route.role == NOBODY_NEEDED else f"/v2.1{route.path}"


def _newest(rows: list[Route]) -> list[Route]:
    """Of rows for one operation, that of the newest microversion."""
    newest: dict[str | None, Route] = {}
    for row in rows:
        known = newest.get(row.action)
        if known is None or row.since > known.since:
            newest[row.action] = row
    return [newest[action] for action in sorted(newest, key=str)]


def _operation(rows: list[Route]) -> Document:
    first = rows[0]
    operation: Document = {
        "operationId": _identifier(first),
        "summary": first.summary if len(rows) == 1 else "One of the actions its body names",
        "tags": [_tag(first)],
        "parameters": [*_path_parameters(first), *_query_parameters(first)],
        "responses": {"2XX": {"description": "Done, or accepted."}, "4XX": {"$ref": "#/components/responses/fault"}},
    }
    if first.role == NOBODY_NEEDED:
        operation["security"] = []
    else:
        operation["parameters"].append(_VERSION_HEADER)
    body = _body(rows)
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if all(row.until is not None for row in rows):
        operation["deprecated"] = True
    operation["x-openstack"] = _facts(first) if first.action is None else {str(r.action): _facts(r) for r in rows}
    return operation


def _identifier(route: Route) -> str:
    words = re.findall(r"\w+", f"{route.method.lower()} {route.path}")
    return "_".join(words) if len(words) > 1 else f"{words[0]}_versions"


def _tag(route: Route) -> str:
    return next((part for part in route.path.split("/") if part and not part.startswith("{")), "versions")


def _facts(route: Route) -> Document:
    facts: Document = {"since": f"2.{route.since}", "rule": route.rule, "role": route.role}
    if route.until is not None:
        facts["until"] = f"2.{route.until}"
    return facts


def _path_parameters(route: Route) -> list[Document]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _query_parameters(route: Route) -> list[Document]:
    """The keys of a query schema, where each key holds the list of its values; a parameter shows one value."""
    schema = _in_force(route.query, _spoken(route)) or {}
    return [
        {"name": name, "in": "query", "schema": values.get("items", {})}
        for name, values in schema.get("properties", {}).items()
    ]


def _body(rows: list[Route]) -> Schema | None:
    schemas = [_in_force(row.body, _spoken(row)) or _anything(row) for row in rows]
    found = [schema for schema in schemas if schema is not None]
    if not found:
        return None
    return found[0] if len(found) == 1 else {"oneOf": found}


def _anything(row: Route) -> Schema | None:
    """An action without a schema still has its one key."""
    if row.action is None:
        return None
    return {"type": "object", "properties": {row.action: {}}, "required": [row.action], "additionalProperties": False}


def _spoken(route: Route) -> int:
    return MAXIMUM if route.until is None else min(route.until, MAXIMUM)


def _in_force(schemas: Schemas, version: int) -> Schema | None:
    for versioned in schemas:
        if versioned.since <= version and (versioned.until is None or version <= versioned.until):
            return versioned.schema
    return None
