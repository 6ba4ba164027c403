"""Requests that Nova accepts and ones that it refuses for their shape, for every operation wherever its schema changes."""

import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from tests.conformance.oracle.operations import NEWEST, Operation, objection, operations
from tests.conformance.oracle.samples import UUID, fitting, wronged

MOST = 150
"""Requests of one kind for one operation and band."""


def requests(seed: int = 1) -> Iterator[dict[str, Any]]:
    """Each as method, path, version, body; the ids in the paths are nobody's."""
    chance = random.Random(seed)
    for operation in operations():
        if operation.removed:
            yield _request(operation, NEWEST, _first_body(operation))
            continue
        yield from _outside(operation)
        since, until = operation.window
        for schema, begin, end in operation.bindings("request_body"):
            version = max(begin, since)
            if version <= min(end, until):
                for body in _mixed(schema, chance, is_body=True):
                    yield _request(operation, version, _under(operation, body))
        for schema, begin, end in operation.bindings("request_query"):
            version = max(begin, since)
            if version <= min(end, until):
                for query in _mixed(schema, chance, is_body=False):
                    yield _request(operation, version, None, query)


def _outside(operation: Operation) -> Iterator[dict[str, Any]]:
    """The operation just before and just after its window."""
    since, until = operation.window
    for version in (since - 1, until + 1):
        if 1 <= version <= NEWEST:
            yield _request(operation, version, _first_body(operation))


def _mixed(schema: dict[str, Any], chance: random.Random, *, is_body: bool) -> Iterator[Any]:
    """Good and bad ones, as Nova tells them apart; each kind at most ``MOST`` times."""

    def fits(of: dict[str, Any], value: Any) -> bool:
        return objection(of, value, is_body=is_body) is None

    good = [value for value in fitting(schema, fits) if is_body or _is_query(value)]
    changed = [value for whole in good for value in wronged(whole)]
    chance.shuffle(changed)
    kinds: dict[bool, dict[str, Any]] = {True: {json.dumps(value): value for value in good}, False: {}}
    for value in changed:
        if not is_body and not _is_query(value):
            continue
        kind = kinds[fits(schema, value)]
        if len(kind) < MOST:
            kind.setdefault(json.dumps(value), value)
    for kind in kinds.values():
        yield from kind.values()


def _is_query(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(values, list) and values and all(isinstance(one, str) for one in values)
        for values in value.values()
    )


def _under(operation: Operation, body: Any) -> Any:
    """A body that still names its action: without it, it would be another request."""
    if operation.action is None or (isinstance(body, dict) and list(body) == [operation.action]):
        return body
    return {operation.action: body}


def _first_body(operation: Operation) -> Any:
    if operation.action is not None:
        return {operation.action: None}
    return {} if operation.method in ("POST", "PUT") else None


def _request(
    operation: Operation, version: int, body: Any, query: dict[str, list[str]] | None = None
) -> dict[str, Any]:
    if query is not None and body is None:
        body = _first_body(operation)
    path = "/".join(UUID if part.startswith("{") else part for part in operation.path.split("/"))
    suffix = f"?{urlencode(query, doseq=True)}" if query else ""
    return {"method": operation.method, "path": f"/v2.1{path}{suffix}", "version": version, "body": body}
