"""Values out of a JSON Schema: ones that fit, and small wrongs done to them.

Nothing here decides what fits: candidates are made by guess and by mutation, and Nova's own validator tells them apart.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

Schema = dict[str, Any]
Fits = Callable[[Schema, Any], bool]

UUID = "6b5d4c5e-8a3c-4a49-b04c-5be0b2c4c1a7"
WORDS = (
    "x",
    UUID,
    "1",
    "0",
    "true",
    "10.11.12.13",
    "2001:db8::7",
    "10.11.12.0/24",
    "2026-01-02T03:04:05Z",
    "2026-01-02T03:04:05",
    "aGVsbG8=",
    "http://127.0.0.1/image",
    "nova",
    "auto",
    "none",
    "asc",
    "id",
    "-1",
    "SOFT",
    "active",
    "compute:x",
    "host1",
)
ODD: tuple[Any, ...] = (
    None, "", " ", " x ", "x" * 256, "é", "a/b", "a b", "-1", "1", "1.5", "on", -1, 0, 1, 1.5, 2**31, True, [], {}, ["x"],
)  # fmt: skip
"""What is put in the place of each value in turn."""

_DEPTH = 8


def fitting(schema: Schema, fits: Fits, depth: int = 0) -> list[Any]:
    """A few values the schema accepts; empty if none was found."""
    if depth > _DEPTH:
        return []
    candidates = list(_candidates(schema, fits, depth))
    found: list[Any] = []
    for value in candidates:
        if value not in found and fits(schema, value):
            found.append(value)
    return found[:6]


def _candidates(schema: Schema, fits: Fits, depth: int) -> Iterator[Any]:
    if "enum" in schema:
        yield from schema["enum"]
        return
    if "const" in schema:
        yield schema["const"]
    for key in ("oneOf", "anyOf", "allOf"):
        for branch in schema.get(key, ()):
            rest = {name: value for name, value in schema.items() if name != key}
            yield from fitting(_merged(rest, branch), fits, depth + 1)
    types = schema.get("type", ("object", "string") if "properties" in schema else "string")
    for kind in [types] if isinstance(types, str) else types:
        yield from _OF_TYPE.get(kind, _nothing)(schema, fits, depth)


def _merged(rest: Schema, branch: Schema) -> Schema:
    properties = {**rest.get("properties", {}), **branch.get("properties", {})}
    required = [*rest.get("required", ()), *branch.get("required", ())]
    merged = {**rest, **branch}
    if properties:
        merged["properties"] = properties
    if required:
        merged["required"] = required
    return merged


def _nothing(schema: Schema, fits: Fits, depth: int) -> Iterator[Any]:
    yield None


def _strings(schema: Schema, fits: Fits, depth: int) -> Iterator[Any]:
    yield from WORDS
    yield "x" * max(int(schema.get("minLength", 0)), 1)
    yield "x" * int(schema.get("maxLength", 0))


def _numbers(schema: Schema, fits: Fits, depth: int) -> Iterator[Any]:
    yield from (1, 0, schema.get("minimum", 0), schema.get("maximum", 7), -1)


def _booleans(schema: Schema, fits: Fits, depth: int) -> Iterator[Any]:
    yield from (True, False)


def _arrays(schema: Schema, fits: Fits, depth: int) -> Iterator[Any]:
    items = fitting(schema.get("items", {}), fits, depth + 1) if schema.get("items") is not False else []
    least = int(schema.get("minItems", 0))
    if items:
        yield [items[0]] * max(least, 1)
        yield items[: max(least, 2)]
    yield []


def _objects(schema: Schema, fits: Fits, depth: int) -> Iterator[Any]:
    known = {name: fitting(sub, fits, depth + 1) for name, sub in schema.get("properties", {}).items()}
    known = {name: values for name, values in known.items() if values}
    least = {name: known[name][0] for name in schema.get("required", ()) if name in known}
    yield least
    yield {name: values[0] for name, values in known.items()}
    yield {name: values[-1] for name, values in known.items()}
    for name, values in known.items():
        for value in values[:4]:
            yield {**least, name: value}
    free = schema.get("additionalProperties")
    patterns = schema.get("patternProperties", {})
    for sub in [*([free] if isinstance(free, dict) else []), *patterns.values()]:
        for value in fitting(sub, fits, depth + 1)[:2]:
            for key in ("key", "image1", "nova", "cpu"):
                yield {**least, key: value}


_OF_TYPE = {
    "string": _strings,
    "integer": _numbers,
    "number": _numbers,
    "boolean": _booleans,
    "array": _arrays,
    "object": _objects,
    "null": _nothing,
}


def wronged(value: Any) -> Iterator[Any]:
    """The value with one thing changed, at each place in turn: odd values, keys taken away, an unknown key added."""
    for place in _places(value):
        for odd in ODD:
            yield _with(value, place, odd)
        if place and isinstance(_at(value, place[:-1]), dict):
            yield _without(value, place)
        if isinstance(_at(value, place), dict):
            yield _with(value, (*place, "nobody_knows_this"), "x")


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*place, key))
    elif isinstance(value, list) and value:
        yield from _places(value[0], (*place, 0))


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        value = value[step]
    return value


def _with(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return deepcopy(new)
    changed = deepcopy(value)
    _at(changed, place[:-1])[place[-1]] = deepcopy(new)
    return changed


def _without(value: Any, place: tuple[Any, ...]) -> Any:
    changed = deepcopy(value)
    del _at(changed, place[:-1])[place[-1]]
    return changed
