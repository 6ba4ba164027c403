"""The OpenAPI document: valid, open to everybody, and about every operation of the table."""

import re
from pathlib import Path
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from kilonova.api.openapi import openapi
from kilonova.api.table import compute_routes
from tests.functional.front_door import front_door


def _document() -> dict[str, Any]:
    return openapi(compute_routes(), "/compute")


def test_the_document_is_valid() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(_document()).iter_errors()] == []


def test_every_operation_is_in_it_with_its_window_and_rule() -> None:
    paths = _document()["paths"]
    for route in compute_routes().routes:
        path = route.path if route.role == "none" else f"/v2.1{route.path}"
        facts = paths[path][route.method.lower()]["x-openstack"]
        if route.action is not None:
            facts = facts[route.action]
        assert facts["rule"] == route.rule
        assert facts["role"] == route.role


def test_operations_that_have_ended_are_marked() -> None:
    ended = {(row.method, row.path) for row in compute_routes().routes if row.until is not None}
    alive = {(row.method, row.path) for row in compute_routes().routes if row.until is None}
    for method, path in ended - alive:
        assert _document()["paths"][f"/v2.1{path}"][method.lower()]["deprecated"], path


def test_bodies_and_queries_are_those_of_the_newest_microversion() -> None:
    paths = _document()["paths"]
    body = paths["/v2.1/os-keypairs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    keypair = body["properties"]["keypair"]
    assert "public_key" in keypair["required"]  # since 2.92
    names = {parameter.get("name") for parameter in paths["/v2.1/os-keypairs"]["get"]["parameters"]}
    assert {"user_id", "limit", "marker"} <= names  # since 2.35


def test_names_of_operations_are_their_own() -> None:
    found = [operation["operationId"] for path in _document()["paths"].values() for operation in path.values()]
    assert len(found) == len(set(found))
    assert all(re.fullmatch(r"\w+", name) for name in found)


async def test_it_is_served_without_a_token(tmp_path: Path) -> None:
    async with front_door(tmp_path) as door:
        answer = await door.http.get("/openapi.json", headers={"x-auth-token": "nonsense"})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == _document()
